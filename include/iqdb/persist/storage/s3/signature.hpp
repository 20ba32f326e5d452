// Signs requests by AWS's signature, version 4, as a store of S3 wants it.
//
// Every header that the library sets is signed. So a proxy that drops the condition of a put makes the store refuse the request,
// where it would else overwrite an object.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "iqdb/persist/storage/s3/credentials.hpp"
#include "iqdb/persist/storage/s3/digest.hpp"
#include "iqdb/persist/storage/s3/percent.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace s3 {

/// Names and values, of headers or of a query.
using Fields = std::vector<std::pair<std::string, std::string>>;

/// A request to be signed.
struct RequestToSign {
  std::string method;        ///< "PUT"
  std::string path;          ///< from the slash behind the host on, percent-encoded
  Fields query = {};         ///< not encoded, in any order
  Fields headers = {};       ///< names in lower case, with host and x-amz-date; values without space around them
  std::string payload_hash;  ///< the SHA-256 of the body, in hexadecimal
};

/// A moment as signatures name it, in UTC: "20130524T000000Z". Any thread may call it.
[[nodiscard]] inline std::string amz_date(std::chrono::system_clock::time_point moment) {
  const auto day = std::chrono::floor<std::chrono::days>(moment);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss time(std::chrono::floor<std::chrono::seconds>(moment - day));
  const auto digits = [](long value, std::size_t count) {
    std::string text = std::to_string(value);
    return std::string(count - std::min(count, text.size()), '0') + text;
  };
  return digits(static_cast<int>(date.year()), 4) + digits(static_cast<long>(static_cast<unsigned>(date.month())), 2) +
         digits(static_cast<long>(static_cast<unsigned>(date.day())), 2) + "T" + digits(time.hours().count(), 2) +
         digits(time.minutes().count(), 2) + digits(time.seconds().count(), 2) + "Z";
}

/// A query as it is signed and sent: encoded, and sorted.
[[nodiscard]] inline std::string canonical_query(const Fields& query) {
  Fields encoded;
  for (const auto& [name, value] : query) {
    encoded.emplace_back(percent_encoded(name, false), percent_encoded(value, false));
  }
  std::ranges::sort(encoded);
  std::string text;
  for (const auto& [name, value] : encoded) {
    text.append(text.empty() ? "" : "&").append(name).append("=").append(value);
  }
  return text;
}

/// The value of the header Authorization of a request that is made at `date` (amz_date) in `region`. Throws PersistError
/// unsupported if libcrypto refuses. Any thread may call it.
[[nodiscard]] inline std::string authorization(const RequestToSign& request, const S3Credentials& credentials,
                                               std::string_view region, const std::string& date) {
  Fields headers = request.headers;
  std::ranges::sort(headers);
  std::string lines;
  std::string names;
  for (const auto& [name, value] : headers) {
    lines.append(name).append(":").append(value).append("\n");
    names.append(names.empty() ? "" : ";").append(name);
  }
  const std::string canonical = request.method + "\n" + request.path + "\n" + canonical_query(request.query) + "\n" +
                                lines + "\n" + names + "\n" + request.payload_hash;
  const std::string day = date.substr(0, date.find('T'));
  const std::string scope = day + "/" + std::string(region) + "/s3/aws4_request";
  const auto bytes_of_text = [](const std::string& text) { return std::as_bytes(std::span(text)); };
  const std::string to_sign = "AWS4-HMAC-SHA256\n" + date + "\n" + scope + "\n" + hex(sha256(bytes_of_text(canonical)));

  Digest key = hmac_sha256(bytes_of_text("AWS4" + credentials.secret_key), day);
  key = hmac_sha256(key, region);
  key = hmac_sha256(key, "s3");
  key = hmac_sha256(key, "aws4_request");
  return "AWS4-HMAC-SHA256 Credential=" + credentials.access_key + "/" + scope + ",SignedHeaders=" + names +
         ",Signature=" + hex(hmac_sha256(key, to_sign));
}

}  // namespace s3
}  // namespace iqdb
