// An object store over the protocol of S3: AWS, Ceph, MinIO, R2, and others that honour `If-None-Match: *` of a put.
//
// Invariants: "stored" and "was there" are told only for an answer that nobody but S3 gives, and "not there" only where the bucket
// is (marks.hpp says how an answer is known). Whatever else comes back is no answer. A put if absent is sent once for each call,
// and the log repeats it; all else is made again, with pauses.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "iqdb/persist/storage/object_key.hpp"
#include "iqdb/persist/storage/object_store.hpp"
#include "iqdb/persist/storage/s3/client.hpp"
#include "iqdb/persist/storage/s3/config.hpp"
#include "iqdb/persist/storage/s3/marks.hpp"
#include "iqdb/persist/storage/s3/reply.hpp"
#include "iqdb/persist/storage/s3/signature.hpp"
#include "iqdb/persist/storage/s3/uploads.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// An ObjectStore over the protocol of S3. One thread uses an object at a time, and it has one connection: for requests that are
/// to be under way at once, make several. Not usable in the child of a fork: make one there.
///
/// Each call throws PersistError invalid_config where the store refuses and would again (credentials, a policy, the clock, the
/// bucket, the region), where the certificate of the server is not trusted, and for a key that is not valid or that is too long
/// with the prefix; unsupported for a request that the store does not know; poisoned in the child of a fork; io if there is no
/// answer after S3Config::most_attempts; and what the source of the credentials throws. The message names the key, the status, S3's
/// code and the id of the request, and no secret.
class S3ObjectStore {
 public:
  /// Asks nobody yet. Throws PersistError invalid_config for settings that cannot be used; unsupported if libcurl cannot be used.
  explicit S3ObjectStore(S3Config config) : client_(std::make_unique<s3::Client>(std::move(config))) {}

  S3ObjectStore(S3ObjectStore&&) noexcept = default;
  S3ObjectStore& operator=(S3ObjectStore&&) noexcept = default;
  /// The same bucket, by a connection of its own. Any thread may make it, while another one uses `other`. S3Config::credentials is
  /// called by each for itself.
  S3ObjectStore(const S3ObjectStore& other) : S3ObjectStore(other.client_->config()) {}
  S3ObjectStore& operator=(const S3ObjectStore& other) {
    if (this != &other) {
      *this = S3ObjectStore(other);
    }
    return *this;
  }
  ~S3ObjectStore() = default;

  /// Stores an object unless there is one of its key, with one request. `unknown` for no answer, an error of the server, and an
  /// answer that is not S3's. Throws as above, but never io.
  [[nodiscard]] PutOutcome put_if_absent(std::string_view key, std::span<const std::byte> bytes) {
    s3::Request request = put_of(key, bytes);
    request.headers.emplace_back("if-none-match", "*");
    const s3::Answer answer = client_->send(request);
    if (answer.http.end == s3::HttpEnd::answered && s3::is_stored(answer)) {
      return PutOutcome::stored;
    }
    if (answer.http.end == s3::HttpEnd::answered && s3::was_there(answer)) {
      return PutOutcome::was_there;
    }
    client_->require_worth_repeating("store", key, answer);
    return PutOutcome::unknown;
  }

  /// Stores an object in place of one that may be there. Throws as above.
  void put(std::string_view key, std::span<const std::byte> bytes) {
    static_cast<void>(client_->ask("store", key, put_of(key, bytes), [](const s3::Answer& answer) {
      return s3::is_stored(answer) ? std::optional(true) : std::nullopt;
    }));
  }

  /// The whole object, or nothing if none is there. Throws as above; invalid_config for one of more than
  /// S3Config::largest_whole_object.
  [[nodiscard]] std::optional<ObjectBytes> get(std::string_view key) {
    const s3::Request request{
        .method = "GET", .path = client_->path_of(key), .most_bytes = client_->config().largest_whole_object};
    return client_->ask("read", key, request, [&](s3::Answer& answer) -> Found<ObjectBytes> {
      if (s3::is_too_large(answer)) {
        client_->refuse_size(key, answer);
      }
      if (answer.http.status == 200 && s3::is_object(answer)) {
        return Found<ObjectBytes>(std::move(answer.http.body));
      }
      return absent<ObjectBytes>(answer);
    });
  }

  /// Up to `count` bytes of the object from `offset` on, or nothing if none is there. Throws as get().
  [[nodiscard]] std::optional<ObjectBytes> get(std::string_view key, std::uint64_t offset, std::size_t count) {
    constexpr std::uint64_t largest = std::numeric_limits<std::int64_t>::max();  // that servers can read
    if (count == 0 || offset > largest) {
      return head(key) ? std::optional(ObjectBytes()) : std::nullopt;
    }
    const std::uint64_t last = offset + std::min<std::uint64_t>(count - 1, largest - offset);
    const s3::Request request = range_of(key, offset, last, std::min(count, client_->config().largest_whole_object));
    return client_->ask("read", key, request, [&](s3::Answer& answer) -> Found<ObjectBytes> {
      if (s3::is_too_large(answer) && count > client_->config().largest_whole_object) {
        client_->refuse_size(key, answer);
      }
      if (s3::is_range(answer, offset, last)) {
        return Found<ObjectBytes>(std::move(answer.http.body));
      }
      if (s3::is_behind_end(answer)) {
        return Found<ObjectBytes>(ObjectBytes());
      }
      return absent<ObjectBytes>(answer);
    });
  }

  /// The object's size in bytes, or nothing if none is there. Throws as above.
  [[nodiscard]] std::optional<std::uint64_t> head(std::string_view key) {
    const s3::Request request{.method = "HEAD", .path = client_->path_of(key)};
    return client_->ask("find out the size of", key, request, [&](s3::Answer& answer) -> Found<std::uint64_t> {
      if (answer.http.status == 200 && s3::is_object(answer)) {
        return Found<std::uint64_t>(s3::number_of(answer.http.header("content-length").value_or("")));
      }
      // The answer to a HEAD has no body, so it does not say what is missing: the object, or the bucket. A GET does.
      answer = client_->send(range_of(key, 0, 0, 1));
      return absent<std::uint64_t>(answer);
    });
  }

  /// The first keys, at most `most` and at most 1,000, that begin with `prefix` and are larger than `behind`. Leaves out what is
  /// under no valid key. Throws as above.
  [[nodiscard]] std::vector<std::string> list(std::string_view prefix, std::string_view behind, std::size_t most) {
    const std::string& root = client_->config().prefix;
    const std::string full_prefix = root + std::string(prefix);
    std::string full_behind = behind.empty() ? std::string() : root + std::string(behind);
    for (;;) {
      s3::Request request{.method = "GET", .path = client_->bucket_path(), .most_bytes = most_bytes_of_listing};
      request.query = {{"encoding-type", "url"},
                       {"list-type", "2"},
                       {"max-keys", std::to_string(std::min(most, most_listed))},
                       {"prefix", full_prefix}};
      if (!full_behind.empty()) {
        request.query.emplace_back("start-after", full_behind);
      }
      const s3::Page page =
          client_->ask("list the objects that begin with", prefix, request,
                       [&](const s3::Answer& answer) { return s3::page_of(answer, full_prefix, full_behind, most); });
      std::vector<std::string> keys;
      for (const std::string& each : page.keys) {
        if (std::string key = each.substr(root.size()); object_keys::wrong_with(key).empty()) {
          keys.push_back(std::move(key));
        }
      }
      if (!keys.empty() || !page.is_cut) {
        return keys;
      }
      full_behind = page.keys.back();
    }
  }

  /// Deletes an object. Does nothing if there is none. Throws as above.
  void remove(std::string_view key) {
    const s3::Request request{.method = "DELETE", .path = client_->path_of(key)};
    static_cast<void>(client_->ask("delete", key, request, [](const s3::Answer& answer) {
      return answer.http.status == 204 || s3::is_absent(answer) ? std::optional(true) : std::nullopt;
    }));
  }

  /// What S3 takes.
  [[nodiscard]] PartLimits part_limits() const noexcept { return s3::part_limits; }

  /// Begins an upload, and returns its id. Throws as above.
  [[nodiscard]] std::string begin_upload(std::string_view key) {
    s3::Request request{.method = "POST", .path = client_->path_of(key)};
    request.query = {{"uploads", ""}};
    request.headers = {{"content-type", "application/octet-stream"}};
    return client_->ask("begin an upload of", key, request,
                        [](const s3::Answer& answer) { return s3::upload_id_of(answer); });
  }

  /// Stores a part, and returns its ETag; nothing if there is no such upload. Throws as above.
  [[nodiscard]] std::optional<std::string> put_part(const ObjectUpload& upload, std::uint32_t number,
                                                    std::span<const std::byte> bytes) {
    s3::Request request{.method = "PUT", .path = client_->path_of(upload.key)};
    request.query = {{"partNumber", std::to_string(number)}, {"uploadId", upload.id}};
    request.body = bytes;
    return client_->ask("store a part of", upload.key, request, [](const s3::Answer& answer) -> Found<std::string> {
      if (s3::is_stored(answer)) {
        return Found<std::string>(answer.http.header("etag"));
      }
      return s3::has_no_upload(answer) ? Found<std::string>(std::in_place) : std::nullopt;
    });
  }

  /// Makes the object of its parts. Throws as above; invalid_config also if a part is too small, or is not there with this tag.
  [[nodiscard]] UploadOutcome complete_upload(const ObjectUpload& upload, std::span<const UploadedPart> parts) {
    const std::string body = s3::completion_of(parts);
    s3::Request request{.method = "POST", .path = client_->path_of(upload.key)};
    request.query = {{"uploadId", upload.id}};
    request.headers = {{"content-type", "application/xml"}};
    request.body = std::as_bytes(std::span(body));
    return client_->ask("complete the upload of", upload.key, request,
                        [&](s3::Answer& answer) -> std::optional<UploadOutcome> {
                          if (const auto outcome = s3::completion_by(answer)) {
                            return outcome;
                          }
                          // Ceph answers so also where there is no such upload, each time. Asked for the parts, it says that there are none.
                          bool is_telling = false;
                          if (answer.code == "InternalError") {
                            const s3::Answer listed = client_->send(parts_of(upload));
                            is_telling = s3::has_no_upload(listed) || s3::is_absent(listed);
                          }
                          return is_telling ? std::optional(UploadOutcome::absent) : std::nullopt;
                        });
  }

  /// Ends an upload. Does nothing if there is none. Throws as above.
  void abort_upload(const ObjectUpload& upload) {
    s3::Request request{.method = "DELETE", .path = client_->path_of(upload.key)};
    request.query = {{"uploadId", upload.id}};
    static_cast<void>(client_->ask("abort the upload of", upload.key, request, [](const s3::Answer& answer) {
      return answer.http.status == 204 || s3::has_no_upload(answer) ? std::optional(true) : std::nullopt;
    }));
  }

  /// The first pending uploads, at most `most` and at most 1,000, whose keys begin with `prefix`, and which stand behind `upload`.
  /// Leaves out what is under no valid key. Throws as above.
  [[nodiscard]] std::vector<ObjectUpload> list_uploads(std::string_view prefix, const ObjectUpload& upload,
                                                       std::size_t most) {
    const std::string& root = client_->config().prefix;
    const std::string full_prefix = root + std::string(prefix);
    ObjectUpload behind{.key = upload.key.empty() ? std::string() : root + upload.key, .id = upload.id};
    for (;;) {
      s3::Request request{.method = "GET", .path = client_->bucket_path(), .most_bytes = most_bytes_of_listing};
      request.query = {
          {"uploads", ""}, {"max-uploads", std::to_string(std::min(most, most_listed))}, {"prefix", full_prefix}};
      if (!behind.key.empty()) {
        request.query.emplace_back("key-marker", behind.key);
        request.query.emplace_back("upload-id-marker", behind.id);
      }
      s3::UploadPage page =
          client_->ask("list the uploads of objects that begin with", prefix, request,
                       [&](const s3::Answer& answer) { return s3::upload_page_of(answer, full_prefix, behind, most); });
      std::vector<ObjectUpload> uploads;
      for (const ObjectUpload& each : page.uploads) {
        if (std::string key = each.key.substr(root.size()); object_keys::wrong_with(key).empty()) {
          uploads.push_back({.key = std::move(key), .id = each.id});
        }
      }
      if (!uploads.empty() || !page.is_cut) {
        return uploads;
      }
      behind = std::move(page.uploads.back());
    }
  }

 private:
  static constexpr std::size_t most_listed = 1000;  // that a store lists at once
  // So many of the longest keys, encoded, and what is beside them.
  static constexpr std::size_t most_bytes_of_listing = std::size_t{16} << 20U;

  // What a read found: an object, or that there is none; or nothing, for an answer that says neither.
  template <class T>
  using Found = std::optional<std::optional<T>>;

  template <class T>
  static Found<T> absent(const s3::Answer& answer) {
    return s3::is_absent(answer) ? Found<T>(std::in_place) : std::nullopt;
  }

  [[nodiscard]] s3::Request put_of(std::string_view key, std::span<const std::byte> bytes) const {
    return {.method = "PUT",
            .path = client_->path_of(key),
            .headers = {{"content-type", "application/octet-stream"}},
            .body = bytes};
  }

  [[nodiscard]] s3::Request parts_of(const ObjectUpload& upload) const {
    return {
        .method = "GET", .path = client_->path_of(upload.key), .query = {{"max-parts", "1"}, {"uploadId", upload.id}}};
  }

  [[nodiscard]] s3::Request range_of(std::string_view key, std::uint64_t first, std::uint64_t last,
                                     std::size_t most_bytes) const {
    return {.method = "GET",
            .path = client_->path_of(key),
            .headers = {{"range", "bytes=" + std::to_string(first) + "-" + std::to_string(last)}},
            .most_bytes = most_bytes};
  }

  std::unique_ptr<s3::Client> client_;  // null once it was moved from
};

static_assert(ObjectStore<S3ObjectStore> && UploadsObjects<S3ObjectStore>);

}  // namespace iqdb
