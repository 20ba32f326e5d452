// What is asked of S3 about uploads in parts, and by which marks its answers are known.
//
// Invariant: an upload is completed only by S3's own word in the body. A store may answer 200 before it has done anything, to keep
// the connection, and say in the body that it has failed.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "iqdb/persist/storage/object_store.hpp"
#include "iqdb/persist/storage/s3/percent.hpp"
#include "iqdb/persist/storage/s3/reply.hpp"
#include "iqdb/persist/storage/s3/xml.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace s3 {

/// What S3 takes: parts of 5 MiB to 5 GiB, of which the last one may be smaller, and at most 10,000 of them.
inline constexpr PartLimits part_limits{
    .least_bytes = std::uint64_t{5} << 20U, .most_bytes = std::uint64_t{5} << 30U, .most_parts = 10000};

/// The id in the answer to the beginning of an upload; nothing if it has none. Any thread may call it, as all below.
[[nodiscard]] inline std::optional<std::string> upload_id_of(const Answer& answer) {
  const auto document = answer.http.status == 200 ? read_xml(answer.http.text()) : std::nullopt;
  if (!document || document->name != "InitiateMultipartUploadResult") {
    return std::nullopt;
  }
  const auto id = document->text_of("UploadId");
  return id && !id->empty() ? id : std::nullopt;
}

/// Whether an answer says that there is no such upload, in a bucket that is there.
[[nodiscard]] inline bool has_no_upload(const Answer& answer) {
  return answer.http.status == 404 && answer.code == "NoSuchUpload";
}

/// The body of a request that completes an upload.
[[nodiscard]] inline std::string completion_of(std::span<const UploadedPart> parts) {
  std::string text = "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">";
  for (const UploadedPart& part : parts) {
    text += "<Part><PartNumber>" + std::to_string(part.number) + "</PartNumber><ETag>";
    for (const char each : part.tag) {
      const auto number = std::to_string(static_cast<unsigned>(static_cast<unsigned char>(each)));
      text +=
          std::string_view("&<>\"").find(each) == std::string_view::npos ? std::string(1, each) : "&#" + number + ";";
    }
    text += "</ETag></Part>";
  }
  return text + "</CompleteMultipartUpload>";
}

/// What became of an upload by the answer to its completion; nothing if that says neither. An error that stands in the body of an
/// answer with the status 200 becomes the code of `answer`.
[[nodiscard]] inline std::optional<UploadOutcome> completion_by(Answer& answer) {
  if (has_no_upload(answer)) {
    return UploadOutcome::absent;
  }
  const auto document = answer.http.status == 200 ? read_xml(answer.http.text()) : std::nullopt;
  if (!document) {
    return std::nullopt;
  }
  if (document->name == "Error") {
    answer.code = detail::token_of(document->text_of("Code").value_or(""));
    return answer.code == "NoSuchUpload" ? std::optional(UploadOutcome::absent) : std::nullopt;
  }
  return document->name == "CompleteMultipartUploadResult" ? std::optional(UploadOutcome::completed) : std::nullopt;
}

/// A part of a listing of uploads.
struct UploadPage {
  std::vector<ObjectUpload> uploads;  ///< with their keys as they are in the bucket
  bool is_cut = false;                ///< whether there are more
};

/// What an answer lists of uploads; nothing if it is no listing of at most `most` uploads whose keys begin with `prefix`, without
/// `behind`. They are in an order of the store's: that of Ceph is not quite the one of their keys.
[[nodiscard]] inline std::optional<UploadPage> upload_page_of(const Answer& answer, std::string_view prefix,
                                                              const ObjectUpload& behind, std::size_t most) {
  const auto document = answer.http.status == 200 ? read_xml(answer.http.text()) : std::nullopt;
  if (!document || document->name != "ListMultipartUploadsResult") {
    return std::nullopt;
  }
  // Nobody is asked to encode the keys: Ceph then does it without saying so.
  const bool is_encoded = document->text_of("EncodingType") == "url";
  const std::string cut = document->text_of("IsTruncated").value_or("");
  UploadPage page{.uploads = {}, .is_cut = cut == "true"};
  for (const XmlElement& each : document->children) {
    if (each.name != "Upload") {
      continue;
    }
    const std::string written = each.text_of("Key").value_or("");
    auto key = is_encoded ? percent_decoded(written) : std::optional(written);
    ObjectUpload upload{.key = std::move(key).value_or(""), .id = each.text_of("UploadId").value_or("")};
    if (upload.id.empty() || !upload.key.starts_with(prefix) || upload == behind) {
      return std::nullopt;
    }
    page.uploads.push_back(std::move(upload));
  }
  // A part without an upload does not say where to go on.
  const bool makes_sense = cut == "false" || (page.is_cut && !page.uploads.empty());
  return makes_sense && page.uploads.size() <= most ? std::optional(std::move(page)) : std::nullopt;
}

}  // namespace s3
}  // namespace iqdb
