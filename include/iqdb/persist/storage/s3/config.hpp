// How a store of S3 is reached: where it is, who asks, and how long an answer is waited for.
#pragma once

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/native_process.hpp"
#include "iqdb/persist/storage/s3/credentials.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/text.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Where the bucket stands in an address.
enum class S3AddressStyle : std::uint8_t {
  path,  ///< https://host/bucket/key: Ceph, MinIO, and each other server
  host,  ///< https://bucket.host/key: AWS asks for it; the name of the bucket has no dot then
};

/// Waits before a request is made again: 100 ms after the first failure and twice as long after each further one, at most 5 s; of
/// that between half and all, drawn anew each time, so that many clients do not come back at once.
inline void s3_pause(unsigned failures) {
  constexpr unsigned most_doublings = 6;
  constexpr std::chrono::milliseconds first{100};
  constexpr std::chrono::milliseconds longest{5000};
  const auto whole = std::min(longest, first * (1U << std::min(failures - 1, most_doublings)));
  std::uint16_t drawn = 0;
  if (!native_entropy::fill(&drawn, sizeof drawn)) {
    drawn = 0;  // no jitter is no harm
  }
  std::this_thread::sleep_for(whole / 2 + whole / 2 * drawn / 65536);
}

/// How a store of S3 is used.
struct S3Config {
  /// Scheme, host and port: "https://s3.eu-central-1.amazonaws.com", "http://127.0.0.1:8000". Only what begins with http:// is
  /// asked without TLS: then everyone on the way can read the objects, and change answers.
  std::string endpoint = {};
  /// The region that signatures name. Ceph and MinIO have us-east-1 unless told otherwise.
  std::string region = "us-east-1";
  /// The bucket, which exists.
  std::string bucket = {};
  /// In front of each key in the bucket, as it is: it ends with a slash where it is to be a folder. May be empty.
  std::string prefix = {};
  /// Where the bucket stands in an address.
  S3AddressStyle style = S3AddressStyle::path;
  /// Who asks.
  S3CredentialsSource credentials = s3_usual_credentials;
  /// A file in PEM with the certificates that are trusted, in place of the system's. Empty: the system's.
  std::string certificates = {};
  /// How long it may take to connect. At least 1 ms.
  std::chrono::milliseconds connect_timeout{5000};
  /// How long a request may take in all. At least 1 ms. An object must be able to pass the line in this time.
  std::chrono::milliseconds request_timeout{60000};
  /// How often a request is made that has no answer, or none that is understood. A put if absent is made once: who puts repeats it.
  /// At least 1.
  unsigned most_attempts = 4;
  /// The largest object that is read as a whole, in bytes: so much memory an answer may take.
  std::size_t largest_whole_object = std::size_t{1} << 30U;
  /// Waits between two attempts; its argument is how many have failed, from 1 on.
  std::function<void(unsigned failures)> pause = s3_pause;
  /// What time it is. A store refuses what was signed more than 15 minutes ago, by its own clock.
  std::function<std::chrono::system_clock::time_point()> now = std::chrono::system_clock::now;
};

namespace s3 {

/// The parts of an endpoint.
struct Endpoint {
  bool is_encrypted = true;  ///< https
  std::string host;          ///< with the port, unless it is that of the scheme, as the header Host has it
};

/// Takes an endpoint apart. Throws PersistError invalid_config, without a word of it that could be a password. Any thread may call
/// it.
[[nodiscard]] inline Endpoint parse_endpoint(std::string_view text) {
  const auto refuse = [](const std::string& why) {
    throw_persist_error(PersistErrorKind::invalid_config,
                        "cannot use the endpoint of the object store: it " + why +
                            "; write it as https://host, https://host:port or http://host:port");
  };
  Endpoint endpoint;
  if (text.starts_with("https://")) {
    text.remove_prefix(std::string_view("https://").size());
  } else if (text.starts_with("http://")) {
    endpoint.is_encrypted = false;
    text.remove_prefix(std::string_view("http://").size());
  } else {
    refuse("begins with neither https:// nor http://");
  }
  if (text.ends_with("/")) {
    text.remove_suffix(1);
  }
  constexpr std::string_view in_hosts = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_[]:";
  if (text.find('@') != std::string_view::npos) {
    refuse("holds a user's name or a password; give these to S3Config::credentials");
  }
  if (text.empty() || text.find_first_not_of(in_hosts) != std::string_view::npos) {
    refuse("has no host, or something behind the host and the port");
  }
  endpoint.host = text;
  std::ranges::transform(endpoint.host, endpoint.host.begin(), [](char each) {
    return each >= 'A' && each <= 'Z' ? static_cast<char>(each - 'A' + 'a') : each;
  });
  const std::size_t colon = endpoint.host.rfind(':');
  if (colon != std::string::npos && endpoint.host.back() != ']') {
    const std::string_view digits = std::string_view(endpoint.host).substr(colon + 1);
    unsigned port = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
    if (error != std::errc() || end != digits.data() + digits.size() || port == 0 || port > 65535U || colon == 0) {
      refuse("has a port that is no number from 1 to 65535, or no host in front of it");
    }
    if (port == (endpoint.is_encrypted ? 443U : 80U)) {
      endpoint.host.resize(colon);
    }
  }
  return endpoint;
}

/// Throws PersistError invalid_config unless the settings can be used.
inline void require_usable(const S3Config& config) {
  const auto refuse = [](const std::string& why) {
    throw_persist_error(PersistErrorKind::invalid_config, "cannot use this object store: " + why);
  };
  static_cast<void>(parse_endpoint(config.endpoint));
  constexpr std::string_view in_buckets = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_";
  constexpr std::size_t longest_bucket = 255;
  if (config.bucket.empty() || config.bucket.size() > longest_bucket || config.bucket.front() == '.' ||
      config.bucket.find_first_not_of(in_buckets) != std::string::npos) {
    refuse("S3Config::bucket is " + printable(config.bucket) +
           ", which is no name of a bucket; write one of letters, digits, "
           "dots, dashes and underscores");
  }
  if (config.style == S3AddressStyle::host && config.bucket.find('.') != std::string::npos) {
    refuse("the bucket " + printable(config.bucket) +
           " has a dot, and no certificate of a host covers that; use "
           "S3AddressStyle::path, or a bucket without a dot");
  }
  if (config.region.empty() || config.region.find_first_not_of(in_buckets) != std::string::npos) {
    refuse("S3Config::region is " + printable(config.region) + "; write it as in us-east-1");
  }
  if (!config.credentials || !config.pause || !config.now) {
    refuse("S3Config::credentials, pause and now must be callable; leave them as they are, or set them");
  }
  if (config.connect_timeout.count() < 1 || config.request_timeout.count() < 1 || config.most_attempts < 1) {
    refuse("S3Config::connect_timeout, request_timeout and most_attempts must be at least 1");
  }
}

}  // namespace s3
}  // namespace iqdb
