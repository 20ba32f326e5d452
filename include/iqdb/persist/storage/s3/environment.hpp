// Where a store of S3 is, from the variables that other programs of S3 read, too.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/storage/s3/config.hpp"
#include "iqdb/persist/storage/s3/credentials.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// What a command line says of a store of S3. What is empty is taken from the environment.
struct S3Place {
  std::string endpoint = {};                           ///< as S3Config::endpoint
  std::string region = {};                             ///< as S3Config::region
  std::optional<S3AddressStyle> style = std::nullopt;  ///< as S3Config::style
};

/// The settings for a bucket. What `given` leaves out is taken from the environment: the endpoint from AWS_ENDPOINT_URL_S3, else
/// AWS_ENDPOINT_URL, else it is AWS's own of the region; the region from AWS_REGION, else AWS_DEFAULT_REGION, else it is us-east-1
/// if there is an endpoint; the certificates from AWS_CA_BUNDLE. The style is S3AddressStyle::host for AWS and a bucket without a
/// dot, else path. Nothing is read from ~/.aws/config but credentials. Throws PersistError invalid_config if neither an endpoint
/// nor a region is known. Nobody may change the environment meanwhile.
[[nodiscard]] inline S3Config s3_config_of_environment(std::string bucket, std::string prefix, S3Place given = {}) {
  const auto first_of = [](std::string chosen, std::initializer_list<const char*> variables) {
    for (const char* const variable : variables) {
      if (chosen.empty()) {
        chosen = s3::detail::environment(variable);
      }
    }
    return chosen;
  };
  constexpr std::string_view of_aws = ".amazonaws.com";
  S3Config config{.endpoint = first_of(std::move(given.endpoint), {"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"}),
                  .region = first_of(std::move(given.region), {"AWS_REGION", "AWS_DEFAULT_REGION"}),
                  .bucket = std::move(bucket),
                  .prefix = std::move(prefix),
                  .certificates = s3::detail::environment("AWS_CA_BUNDLE")};
  if (config.endpoint.empty() && config.region.empty()) {
    throw_persist_error(PersistErrorKind::invalid_config,
                        "it is not known where the object store is: neither its endpoint nor its region was given; set "
                        "AWS_ENDPOINT_URL, as http://127.0.0.1:8000, or for AWS AWS_REGION, as eu-central-1");
  }
  if (config.endpoint.empty()) {
    config.endpoint = "https://s3." + config.region + std::string(of_aws);
  }
  if (config.region.empty()) {
    config.region = S3Config().region;
  }
  const bool is_aws = s3::parse_endpoint(config.endpoint).host.ends_with(of_aws);
  const bool has_dot = config.bucket.find('.') != std::string::npos;
  config.style = given.style.value_or(is_aws && !has_dot ? S3AddressStyle::host : S3AddressStyle::path);
  return config;
}

}  // namespace iqdb
