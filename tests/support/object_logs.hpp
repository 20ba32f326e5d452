// Logs on an object store, for tests: bodies of frames, objects of any content, and a store that answers by a script.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/storage/object_store.hpp"
#include "iqdb/persist/wal/frame_body.hpp"
#include "iqdb/persist/wal/log_object.hpp"
#include "iqdb/persist/wal/mutation.hpp"
#include "iqdb/persist/wal/object_format.hpp"
#include "iqdb/persist/wal/object_requests.hpp"

namespace iqdb_test {

/// The body of a frame that erases one vector.
[[nodiscard]] inline std::vector<std::byte> erase_of_id(std::uint64_t id) {
  return iqdb::bytes_of([&](iqdb::Writer& to) { iqdb::write_mutation(to, {.op = iqdb::FrameOp::erase, .id = id}); });
}

/// The body of a batch that erases vectors 1 to `count`.
[[nodiscard]] inline std::vector<std::byte> batch_of_erases(std::uint64_t count) {
  std::vector<iqdb::Mutation> mutations;
  for (std::uint64_t id = 1; id <= count; ++id) {
    mutations.push_back({.op = iqdb::FrameOp::erase, .id = id});
  }
  return iqdb::bytes_of([&](iqdb::Writer& to) { iqdb::write_batch(to, mutations); });
}

/// Bodies as a writer takes them. Valid as long as these.
[[nodiscard]] inline std::vector<std::span<const std::byte>> spans_of(
    const std::vector<std::vector<std::byte>>& bodies) {
  return {bodies.begin(), bodies.end()};
}

/// The bytes of an object with one frame for each of these bodies.
[[nodiscard]] inline iqdb::ObjectBytes object_of(const iqdb::LogObjectHeader& header,
                                                 const std::vector<std::vector<std::byte>>& bodies) {
  return iqdb::encode_log_object(header, spans_of(bodies));
}

/// Options that wait for nothing.
[[nodiscard]] inline iqdb::ObjectLogOptions hasty_options(unsigned most_attempts = 4) {
  iqdb::ObjectLogOptions options;
  options.most_attempts = most_attempts;
  options.most_beginnings = 5;
  options.pause = [](unsigned) {};
  return options;
}

/// An ObjectStore in memory. A test may do something before each call, and answer a put or a listing in its place.
struct ScriptedStore {
  std::map<std::string, iqdb::ObjectBytes, std::less<>> objects = {};
  /// "put KEY", "get KEY", "head KEY", "list", "remove KEY", "begin KEY", "part N of KEY", "complete KEY", "abort KEY", "list uploads"
  std::vector<std::string> calls = {};
  std::map<std::string, std::map<std::uint32_t, iqdb::ObjectBytes>> parts = {};  ///< of pending uploads, by their ids
  std::map<std::string, std::string> uploads = {};                               ///< their keys, by their ids
  std::uint64_t last_upload = 0;
  std::function<void(const std::string& call)> before = [](const std::string&) {};
  /// Returns what a put if absent answers, or nothing if it is made as it should be.
  std::function<std::optional<iqdb::PutOutcome>(std::string_view key, std::span<const std::byte> bytes)> answer_put =
      {};
  std::function<bool(const std::string& key)> is_listed = [](const std::string&) { return true; };

  iqdb::PutOutcome put_if_absent(std::string_view key, std::span<const std::byte> bytes) {
    called("put " + std::string(key));
    if (answer_put) {
      if (const auto answer = answer_put(key, bytes)) {
        return *answer;
      }
    }
    return objects.emplace(key, iqdb::ObjectBytes(bytes.begin(), bytes.end())).second ? iqdb::PutOutcome::stored
                                                                                      : iqdb::PutOutcome::was_there;
  }

  void put(std::string_view key, std::span<const std::byte> bytes) {
    called("put " + std::string(key));
    objects.insert_or_assign(std::string(key), iqdb::ObjectBytes(bytes.begin(), bytes.end()));
  }

  std::optional<iqdb::ObjectBytes> get(std::string_view key) {
    called("get " + std::string(key));
    const auto found = objects.find(key);
    return found == objects.end() ? std::nullopt : std::optional(found->second);
  }

  std::optional<iqdb::ObjectBytes> get(std::string_view key, std::uint64_t offset, std::size_t count) {
    auto found = get(key);
    if (found) {
      found->resize(std::min(found->size(), static_cast<std::size_t>(offset) + count));
      found->erase(found->begin(), found->begin() + static_cast<std::ptrdiff_t>(offset));
    }
    return found;
  }

  std::optional<std::uint64_t> head(std::string_view key) {
    called("head " + std::string(key));
    const auto found = objects.find(key);
    return found == objects.end() ? std::nullopt : std::optional<std::uint64_t>(found->second.size());
  }

  std::vector<std::string> list(std::string_view prefix, std::string_view behind, std::size_t most) {
    called("list");
    std::vector<std::string> keys;
    for (const auto& [key, bytes] : objects) {
      if (key.starts_with(prefix) && key > behind && keys.size() < most && is_listed(key)) {
        keys.push_back(key);
      }
    }
    return keys;
  }

  void remove(std::string_view key) {
    called("remove " + std::string(key));
    objects.erase(std::string(key));
  }

  [[nodiscard]] iqdb::PartLimits part_limits() const {
    return {.least_bytes = 1, .most_bytes = std::uint64_t{1} << 30U, .most_parts = 10000};
  }

  std::string begin_upload(std::string_view key) {
    called("begin " + std::string(key));
    const std::string id = std::to_string(++last_upload);
    uploads[id] = key;
    return id;
  }

  std::optional<std::string> put_part(const iqdb::ObjectUpload& upload, std::uint32_t number,
                                      std::span<const std::byte> bytes) {
    called("part " + std::to_string(number) + " of " + upload.key);
    if (!uploads.contains(upload.id)) {
      return std::nullopt;
    }
    parts[upload.id][number].assign(bytes.begin(), bytes.end());
    return "tag " + std::to_string(number);
  }

  iqdb::UploadOutcome complete_upload(const iqdb::ObjectUpload& upload, std::span<const iqdb::UploadedPart> named) {
    called("complete " + upload.key);
    if (!uploads.contains(upload.id)) {
      return iqdb::UploadOutcome::absent;
    }
    iqdb::ObjectBytes object;
    for (const iqdb::UploadedPart& part : named) {
      const iqdb::ObjectBytes& bytes = parts[upload.id].at(part.number);
      object.insert(object.end(), bytes.begin(), bytes.end());
    }
    objects.insert_or_assign(upload.key, object);
    uploads.erase(upload.id);
    parts.erase(upload.id);
    return iqdb::UploadOutcome::completed;
  }

  void abort_upload(const iqdb::ObjectUpload& upload) {
    called("abort " + upload.key);
    uploads.erase(upload.id);
    parts.erase(upload.id);
  }

  std::vector<iqdb::ObjectUpload> list_uploads(std::string_view prefix, const iqdb::ObjectUpload& behind,
                                               std::size_t most) {
    called("list uploads");
    std::vector<iqdb::ObjectUpload> found;
    for (const auto& [id, key] : uploads) {
      const bool is_behind = std::tie(key, id) > std::tie(behind.key, behind.id);
      if (key.starts_with(prefix) && is_behind) {
        found.push_back({.key = key, .id = id});
      }
    }
    std::ranges::sort(found, {}, [](const iqdb::ObjectUpload& of) { return std::pair(of.key, of.id); });
    found.resize(std::min(found.size(), most));
    return found;
  }

  /// How many objects it has whose keys begin so.
  [[nodiscard]] std::size_t objects_below(std::string_view prefix) const {
    return static_cast<std::size_t>(
        std::ranges::count_if(objects, [&](const auto& object) { return object.first.starts_with(prefix); }));
  }

  /// How many calls were made that begin so.
  [[nodiscard]] std::size_t calls_that_begin(std::string_view with) const {
    return static_cast<std::size_t>(
        std::ranges::count_if(calls, [&](const std::string& call) { return call.starts_with(with); }));
  }

 private:
  void called(const std::string& call) {
    calls.push_back(call);
    before(call);
  }
};

static_assert(iqdb::ObjectStore<ScriptedStore> && iqdb::UploadsObjects<ScriptedStore>);

/// A way to a ScriptedStore, which must outlive it. Copies lead to the same one.
class WayToStore {
 public:
  explicit WayToStore(ScriptedStore& store) : store_(&store) {}

  iqdb::PutOutcome put_if_absent(std::string_view key, std::span<const std::byte> bytes) {
    return store_->put_if_absent(key, bytes);
  }
  void put(std::string_view key, std::span<const std::byte> bytes) { store_->put(key, bytes); }
  std::optional<iqdb::ObjectBytes> get(std::string_view key) { return store_->get(key); }
  std::optional<iqdb::ObjectBytes> get(std::string_view key, std::uint64_t offset, std::size_t count) {
    return store_->get(key, offset, count);
  }
  std::optional<std::uint64_t> head(std::string_view key) { return store_->head(key); }
  std::vector<std::string> list(std::string_view prefix, std::string_view behind, std::size_t most) {
    return store_->list(prefix, behind, most);
  }
  void remove(std::string_view key) { store_->remove(key); }
  [[nodiscard]] iqdb::PartLimits part_limits() const { return store_->part_limits(); }
  std::string begin_upload(std::string_view key) { return store_->begin_upload(key); }
  std::optional<std::string> put_part(const iqdb::ObjectUpload& upload, std::uint32_t number,
                                      std::span<const std::byte> bytes) {
    return store_->put_part(upload, number, bytes);
  }
  iqdb::UploadOutcome complete_upload(const iqdb::ObjectUpload& upload, std::span<const iqdb::UploadedPart> parts) {
    return store_->complete_upload(upload, parts);
  }
  void abort_upload(const iqdb::ObjectUpload& upload) { store_->abort_upload(upload); }
  std::vector<iqdb::ObjectUpload> list_uploads(std::string_view prefix, const iqdb::ObjectUpload& behind,
                                               std::size_t most) {
    return store_->list_uploads(prefix, behind, most);
  }

 private:
  ScriptedStore* store_;
};

static_assert(iqdb::ObjectStore<WayToStore> && iqdb::UploadsObjects<WayToStore>);

}  // namespace iqdb_test
