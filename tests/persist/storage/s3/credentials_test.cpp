#include "iqdb/persist/storage/s3/credentials.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>
#include <string>

#include "iqdb/persist/error.hpp"
#include "support/aws_environment.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"
#include "support/temporary_directory.hpp"

namespace of_s3_credentials {

using iqdb::PersistErrorKind;
using iqdb::S3Credentials;
using iqdb_test::AwsEnvironment;
using iqdb_test::mentions;
using iqdb_test::require_kind;

std::optional<S3Credentials> read(const std::string& text, const std::string& section) {
  std::istringstream from(text);
  return iqdb::s3::read_credentials(from, section);
}

TEST_CASE("read_credentials: takes the keys of its section and passes over the rest", "[s3_credentials]") {
  const std::string text =
      "# a comment = x\naws_access_key_id = outside\n[ default ]\r\naws_access_key_id=A\r\n ; aws_secret_access_key = "
      "no\n"
      "aws_secret_access_key = s/e+c=r\nregion = eu\nno equals\n[other]\naws_access_key_id = B\naws_secret_access_key "
      "= t\n"
      "aws_session_token = u\n[empty]\n";
  CHECK(read(text, "default") == S3Credentials{.access_key = "A", .secret_key = "s/e+c=r", .session_token = ""});
  CHECK(read(text, "other") == S3Credentials{.access_key = "B", .secret_key = "t", .session_token = "u"});
  CHECK_FALSE(read(text, "empty"));
  CHECK_FALSE(read(text, "none"));
}

TEST_CASE("read_credentials: half a pair is an error that does not say the other half", "[s3_credentials]") {
  const auto error = require_kind(PersistErrorKind::invalid_config,
                                  [&] { return read("[a]\naws_secret_access_key = verysecret\n", "a"); });
  CHECK_FALSE(mentions(error, "verysecret"));
}

TEST_CASE("s3_usual_credentials: the environment comes before the files", "[s3_credentials]") {
  const iqdb_test::TemporaryDirectory home;
  std::filesystem::create_directory(home / ".aws");
  std::ofstream(home / ".aws/credentials")
      << "[default]\naws_access_key_id=F\naws_secret_access_key=f\n[p]\naws_access_key_id="
         "P\naws_secret_access_key=p\n";
  std::ofstream(home / ".aws/config") << "[profile q]\naws_access_key_id=Q\naws_secret_access_key=q\n";
  {
    const AwsEnvironment set({{"HOME", home.path()},
                              {"AWS_ACCESS_KEY_ID", "E"},
                              {"AWS_SECRET_ACCESS_KEY", "e"},
                              {"AWS_SESSION_TOKEN", "t"}});
    CHECK(iqdb::s3_usual_credentials() == S3Credentials{.access_key = "E", .secret_key = "e", .session_token = "t"});
  }
  {
    const AwsEnvironment set(std::map<std::string, std::string>{{"HOME", home.path()}});
    CHECK(iqdb::s3_usual_credentials().access_key == "F");
    CHECK(iqdb::s3_credentials_of_profile("p").value().access_key == "P");
  }
  {
    const AwsEnvironment set({{"HOME", home.path()}, {"AWS_PROFILE", "q"}});
    CHECK(iqdb::s3_usual_credentials().access_key == "Q");
  }
  {
    const AwsEnvironment set(
        std::map<std::string, std::string>{{"AWS_SHARED_CREDENTIALS_FILE", home / ".aws/credentials"}});
    CHECK(iqdb::s3_usual_credentials().access_key == "F");
  }
}

TEST_CASE("s3_usual_credentials: says where it has looked if there are none", "[s3_credentials]") {
  const iqdb_test::TemporaryDirectory home;
  const AwsEnvironment set(std::map<std::string, std::string>{{"HOME", home.path()}});
  CHECK(mentions(require_kind(PersistErrorKind::invalid_config, [] { return iqdb::s3_usual_credentials(); }),
                 "AWS_ACCESS_KEY_ID"));
}

TEST_CASE("s3_credentials_of_environment: half a pair is an error", "[s3_credentials]") {
  const AwsEnvironment set(std::map<std::string, std::string>{{"AWS_SECRET_ACCESS_KEY", "verysecret"}});
  const auto error =
      require_kind(PersistErrorKind::invalid_config, [] { return iqdb::s3_credentials_of_environment(); });
  CHECK_FALSE(mentions(error, "verysecret"));
}

}  // namespace of_s3_credentials
