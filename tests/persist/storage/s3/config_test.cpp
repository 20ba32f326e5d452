#include "iqdb/persist/storage/s3/config.hpp"

#include <chrono>
#include <functional>
#include <string>

#include "iqdb/persist/error.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"

namespace of_s3_config {

using iqdb::PersistErrorKind;
using iqdb::S3Config;
using iqdb::s3::parse_endpoint;
using iqdb_test::require_kind;

TEST_CASE("parse_endpoint: the host is as the header Host has it", "[s3_config]") {
  CHECK(parse_endpoint("https://s3.eu-central-1.amazonaws.com").host == "s3.eu-central-1.amazonaws.com");
  CHECK(parse_endpoint("https://s3.eu-central-1.amazonaws.com").is_encrypted);
  CHECK(parse_endpoint("https://Store.example:443/").host == "store.example");
  CHECK(parse_endpoint("https://store.example:80").host == "store.example:80");
  CHECK(parse_endpoint("http://127.0.0.1:80").host == "127.0.0.1");
  CHECK(parse_endpoint("http://127.0.0.1:8000").host == "127.0.0.1:8000");
  CHECK_FALSE(parse_endpoint("http://127.0.0.1:8000").is_encrypted);
  CHECK(parse_endpoint("http://[::1]:8000").host == "[::1]:8000");
  CHECK(parse_endpoint("https://[::1]").host == "[::1]");
}

TEST_CASE("parse_endpoint: refuses what is no address, and says no password", "[s3_config]") {
  for (const char* text : {"", "store", "ftp://store", "https://", "https:///", "https://store/path", "https://store:0",
                           "https://store:", "https://store:65536", "https://store:x", "https://:80", "https://sto re",
                           "https://store?x", "https://sto\r\nre", "https://user:verysecret@store"}) {
    INFO(text);
    const auto error = require_kind(PersistErrorKind::invalid_config, [&] { return parse_endpoint(text); });
    CHECK_FALSE(iqdb_test::mentions(error, "verysecret"));
  }
}

TEST_CASE("require_usable: refuses settings that cannot be used", "[s3_config]") {
  const S3Config good{.endpoint = "https://store", .bucket = "b"};
  iqdb::s3::require_usable(good);
  const auto refused = [&](const std::function<void(S3Config&)>& change) {
    S3Config config = good;
    change(config);
    require_kind(PersistErrorKind::invalid_config, [&] { iqdb::s3::require_usable(config); });
  };
  refused([](S3Config& config) { config.endpoint = "store"; });
  refused([](S3Config& config) { config.bucket = ""; });
  refused([](S3Config& config) { config.bucket = "a/b"; });
  refused([](S3Config& config) { config.bucket = ".."; });
  refused([](S3Config& config) { config.bucket = std::string(256, 'b'); });
  refused([](S3Config& config) {
    config.bucket = "a.b";
    config.style = iqdb::S3AddressStyle::host;
  });
  refused([](S3Config& config) { config.region = ""; });
  refused([](S3Config& config) { config.region = "eu\r\nx: y"; });
  refused([](S3Config& config) { config.credentials = nullptr; });
  refused([](S3Config& config) { config.pause = nullptr; });
  refused([](S3Config& config) { config.now = nullptr; });
  refused([](S3Config& config) { config.connect_timeout = std::chrono::milliseconds(0); });
  refused([](S3Config& config) { config.request_timeout = std::chrono::milliseconds(0); });
  refused([](S3Config& config) { config.most_attempts = 0; });
}

}  // namespace of_s3_config
