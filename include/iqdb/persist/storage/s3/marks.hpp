// By which marks an answer of S3 is known for what it says.
//
// Invariant: no page of a proxy has them, and no part of an answer. That a put was stored says 200 with an ETag and without a body:
// a page may come with any status, but has a body; and a proxy that swallows a put answers without an ETag. An id in
// x-amz-request-id is not asked for, since not every store sends one. An object is read only from an answer that has an ETag and a
// length, and is no HTML: one of unknown length, which ends where the connection does, could be a part of it.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "iqdb/persist/storage/s3/percent.hpp"
#include "iqdb/persist/storage/s3/reply.hpp"
#include "iqdb/persist/storage/s3/xml.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace s3 {

/// The number that these digits are, or nothing. Any thread may call it, as all below.
[[nodiscard]] inline std::optional<std::uint64_t> number_of(std::string_view digits) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  const bool is_number = !digits.empty() && error == std::errc() && end == digits.data() + digits.size();
  return is_number ? std::optional(number) : std::nullopt;
}

/// Whether the answer to a put says that the object is stored.
[[nodiscard]] inline bool is_stored(const Answer& answer) {
  return answer.http.status == 200 && answer.http.body.empty() && !answer.http.header("etag").value_or("").empty();
}

/// Whether the answer to a put if absent says that an object is there.
[[nodiscard]] inline bool was_there(const Answer& answer) {
  return answer.http.status == 412 && answer.code == "PreconditionFailed";
}

/// Whether an answer says that there is no such object, in a bucket that is there.
[[nodiscard]] inline bool is_absent(const Answer& answer) {
  return answer.http.status == 404 && answer.code == "NoSuchKey";
}

/// Whether an answer is to a read of an object, or of a part of it.
[[nodiscard]] inline bool is_object(const Answer& answer) {
  return !answer.http.header("etag").value_or("").empty() &&
         number_of(answer.http.header("content-length").value_or("")).has_value() &&
         !answer.http.header("content-type").value_or("").starts_with("text/html");
}

/// Whether the body is the part of the object from byte `first` to `last`, or to the object's end.
[[nodiscard]] inline bool is_range(const Answer& answer, std::uint64_t first, std::uint64_t last) {
  const std::string range = answer.http.header("content-range").value_or("");
  const std::string begin = "bytes " + std::to_string(first) + "-";
  const std::size_t slash = range.find('/');
  if (answer.http.end != HttpEnd::answered || answer.http.status != 206 || !is_object(answer) ||
      !range.starts_with(begin) || slash == std::string::npos) {
    return false;
  }
  const auto size = number_of(std::string_view(range).substr(slash + 1));
  return size && *size > first && answer.http.body.size() == std::min(last, *size - 1) - first + 1;
}

/// Whether an answer is an object, or a part of one, of more bytes than may be read at once.
[[nodiscard]] inline bool is_too_large(const Answer& answer) {
  return answer.http.end == HttpEnd::too_large && is_object(answer);
}

/// Whether an answer says that the object ends in front of the range that was asked for.
[[nodiscard]] inline bool is_behind_end(const Answer& answer) {
  return answer.http.status == 416 && answer.code == "InvalidRange";
}

/// A part of a listing.
struct Page {
  std::vector<std::string> keys;  ///< as they are in the bucket
  bool is_cut = false;            ///< whether there are more
};

/// What an answer lists; nothing if it is no listing of at most `most` keys that begin with `prefix` and are larger than `behind`,
/// in the order of their bytes.
[[nodiscard]] inline std::optional<Page> page_of(const Answer& answer, std::string_view prefix, std::string_view behind,
                                                 std::size_t most) {
  const auto document = answer.http.status == 200 ? read_xml(answer.http.text()) : std::nullopt;
  if (!document || document->name != "ListBucketResult" || document->text_of("EncodingType") != "url") {
    return std::nullopt;
  }
  const std::string cut = document->text_of("IsTruncated").value_or("");
  Page page{.keys = {}, .is_cut = cut == "true"};
  for (const XmlElement& each : document->children) {
    if (each.name != "Contents") {
      continue;
    }
    const auto key = percent_decoded(each.text_of("Key").value_or(""));
    const std::string_view last = page.keys.empty() ? behind : std::string_view(page.keys.back());
    if (!key || !key->starts_with(prefix) || *key <= last) {
      return std::nullopt;
    }
    page.keys.push_back(*key);
  }
  // A part without a key does not say where to go on.
  const bool makes_sense = cut == "false" || (page.is_cut && !page.keys.empty());
  return makes_sense && page.keys.size() <= most ? std::optional(std::move(page)) : std::nullopt;
}

}  // namespace s3
}  // namespace iqdb
