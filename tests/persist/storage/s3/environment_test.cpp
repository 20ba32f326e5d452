#include "iqdb/persist/storage/s3/environment.hpp"

#include <map>
#include <string>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/storage/s3/config.hpp"
#include "support/aws_environment.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"

namespace of_s3_environment {

using iqdb::s3_config_of_environment;
using iqdb::S3AddressStyle;
using iqdb_test::AwsEnvironment;
using Variables = std::map<std::string, std::string>;

TEST_CASE("s3_config_of_environment: what is given goes before what the environment says", "[s3_environment]") {
  const AwsEnvironment environment({{"AWS_ENDPOINT_URL_S3", "http://one:1"},
                                    {"AWS_ENDPOINT_URL", "http://two:2"},
                                    {"AWS_REGION", "r1"},
                                    {"AWS_DEFAULT_REGION", "r2"}});
  const auto given =
      s3_config_of_environment("b", "p/", {.endpoint = "https://three", .region = "r3", .style = S3AddressStyle::host});
  CHECK(given.endpoint == "https://three");
  CHECK(given.region == "r3");
  CHECK(given.style == S3AddressStyle::host);
  CHECK(given.bucket == "b");
  CHECK(given.prefix == "p/");
  const auto found = s3_config_of_environment("b", "");
  CHECK(found.endpoint == "http://one:1");
  CHECK(found.region == "r1");
  CHECK(found.style == S3AddressStyle::path);
}

TEST_CASE("s3_config_of_environment: the more general variables count where the others are not set",
          "[s3_environment]") {
  const AwsEnvironment environment(
      {{"AWS_ENDPOINT_URL", "http://two:2"}, {"AWS_DEFAULT_REGION", "r2"}, {"AWS_CA_BUNDLE", "/certificates"}});
  const auto found = s3_config_of_environment("b", "");
  CHECK(found.endpoint == "http://two:2");
  CHECK(found.region == "r2");
  CHECK(found.certificates == "/certificates");
}

TEST_CASE("s3_config_of_environment: an endpoint without a region has the usual one", "[s3_environment]") {
  const AwsEnvironment environment(Variables{{"AWS_ENDPOINT_URL", "http://two:2"}});
  CHECK(s3_config_of_environment("b", "").region == "us-east-1");
}

TEST_CASE("s3_config_of_environment: a region without an endpoint is AWS", "[s3_environment]") {
  const AwsEnvironment environment(Variables{{"AWS_REGION", "eu-central-1"}});
  const auto found = s3_config_of_environment("b", "");
  CHECK(found.endpoint == "https://s3.eu-central-1.amazonaws.com");
  CHECK(found.style == S3AddressStyle::host);
  CHECK(s3_config_of_environment("with.dot", "").style == S3AddressStyle::path);
}

TEST_CASE("s3_config_of_environment: without an endpoint and a region it is refused", "[s3_environment]") {
  const AwsEnvironment environment(Variables{});
  const auto error = iqdb_test::require_kind(iqdb::PersistErrorKind::invalid_config,
                                             [] { static_cast<void>(s3_config_of_environment("b", "")); });
  CHECK(iqdb_test::mentions(error, "AWS_ENDPOINT_URL"));
}

}  // namespace of_s3_environment
