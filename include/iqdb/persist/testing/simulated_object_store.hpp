// An object store in memory whose network loses, repeats and delays what is sent.
//
// A request may be carried out although its reply is lost; not at all; twice, so that the second answer is the one that is seen;
// or later, past requests that were sent after it, and after the death of who sent it. For a moment after a put whose reply was
// lost, a read may say that the object is not there, while a put if absent and a listing know it. Else reads and listings are
// right when they answer at all. Everything follows from the seed.
//
// Uploads in parts are pending until they are completed or aborted, whoever began them, and also one whose id nobody was told. The
// tag of a part follows from its bytes, and a completion must name it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "iqdb/persist/bytes/checksum.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/storage/object_key.hpp"
#include "iqdb/persist/storage/object_store.hpp"
#include "iqdb/persist/testing/clients_in_turn.hpp"
#include "iqdb/persist/testing/random.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace testing {

/// How often a request goes wrong: once in so many times, or never if it is 0.
struct ObjectFaults {
  std::uint64_t reply_lost = 8;    ///< carried out, and its sender learns nothing
  std::uint64_t request_lost = 8;  ///< not carried out, and its sender learns nothing
  std::uint64_t delayed = 8;       ///< carried out later, and its sender learns nothing
  std::uint64_t repeated = 8;      ///< carried out twice, at once or later; the sender learns one of the answers
  std::uint64_t client_dies = 60;  ///< the sender ends, with any of these fates of its request
};

/// The objects that all clients of a simulation share, and the requests under way. Used by one thread at a time.
class SimulatedObjects {
 public:
  explicit SimulatedObjects(std::uint64_t seed, const ObjectFaults& faults = {}) : random_(seed), faults_(faults) {}

  /// What is there now.
  [[nodiscard]] const std::map<std::string, ObjectBytes, std::less<>>& objects() const noexcept { return objects_; }

  /// How many uploads are pending now, and how many were ever completed and aborted.
  [[nodiscard]] std::size_t pending_uploads() const noexcept { return uploads_.size(); }
  [[nodiscard]] std::uint64_t completed_uploads() const noexcept { return completed_; }
  [[nodiscard]] std::uint64_t aborted_uploads() const noexcept { return aborted_; }

  /// From now on nothing goes wrong.
  void calm() noexcept { meet({.reply_lost = 0, .request_lost = 0, .delayed = 0, .repeated = 0, .client_dies = 0}); }

  /// From now on requests go wrong as often as that.
  void meet(const ObjectFaults& faults) noexcept { faults_ = faults; }

  /// Each request that is still under way is carried out or lost, in any order.
  void settle() {
    while (!late_.empty()) {
      const bool arrives = random_.one_in(2);
      take_late(static_cast<std::size_t>(random_.below(late_.size())), arrives);
    }
    hidden_.clear();
  }

 private:
  friend class SimulatedObjectStore;

  enum class Fate : std::uint8_t { done, reply_lost, request_lost, delayed, repeated, repeated_later };
  using Request = std::function<void()>;

  struct Upload {
    std::string key;
    std::map<std::uint32_t, ObjectBytes> parts = {};
  };

  struct Late {
    Request request;
    std::uint64_t not_before;
  };

  static std::string tag_of(const ObjectBytes& part) {
    return std::to_string(part.size()) + "-" + std::to_string(Crc32(part).value());
  }

  // What becomes of an upload that is to be completed; nothing if a part is not there with this tag.
  std::optional<UploadOutcome> complete(const ObjectUpload& upload, const std::vector<UploadedPart>& parts) {
    const auto found = uploads_.find(upload.id);
    if (found == uploads_.end() || found->second.key != upload.key) {
      return UploadOutcome::absent;
    }
    ObjectBytes object;
    std::uint32_t last = 0;
    for (const UploadedPart& part : parts) {
      const auto stored = found->second.parts.find(part.number);
      if (stored == found->second.parts.end() || tag_of(stored->second) != part.tag || part.number <= last) {
        return std::nullopt;
      }
      last = part.number;
      object.insert(object.end(), stored->second.begin(), stored->second.end());
    }
    objects_.insert_or_assign(upload.key, std::move(object));
    uploads_.erase(found);
    ++completed_;
    return UploadOutcome::completed;
  }

  bool happens(std::uint64_t once_in) { return once_in != 0 && random_.one_in(once_in); }

  Fate next_fate() {
    if (happens(faults_.reply_lost)) {
      return Fate::reply_lost;
    }
    if (happens(faults_.request_lost)) {
      return Fate::request_lost;
    }
    if (happens(faults_.delayed)) {
      return Fate::delayed;
    }
    if (happens(faults_.repeated)) {
      return random_.one_in(2) ? Fate::repeated : Fate::repeated_later;
    }
    return Fate::done;
  }

  // Requests under way arrive before the next one is carried out, in any order.
  void let_late_arrive() {
    ++requests_;
    for (std::size_t at = late_.size(); at > 0; --at) {
      if (late_[at - 1].not_before <= requests_ && random_.one_in(2)) {
        take_late(at - 1, true);
      }
    }
  }

  void take_late(std::size_t at, bool arrives) {
    std::swap(late_[at], late_.back());
    const Late late = std::move(late_.back());
    late_.pop_back();
    if (arrives) {
      late.request();
    }
  }

  // Makes a request that changes something. Returns whether its sender learns what the last call of `request` found.
  bool change(const Request& request) {
    const Fate fate = next_fate();
    if (fate != Fate::request_lost && fate != Fate::delayed) {
      request();
    }
    if (fate == Fate::repeated) {
      request();
    }
    if (fate == Fate::delayed || fate == Fate::repeated_later) {
      late_.push_back({request, requests_ + 1 + random_.below(random_.one_in(2) ? 4 : 600)});
    }
    if (happens(faults_.client_dies)) {
      throw ClientDied();
    }
    return fate == Fate::done || fate == Fate::repeated || fate == Fate::repeated_later;
  }

  // Whether a request that changes nothing has an answer.
  bool is_answered() { return !happens(faults_.reply_lost * 2); }

  // For the next requests a read may not see the object of this key, whose sender does not know that it is there.
  void hide(std::string_view key) {
    if (random_.one_in(4)) {
      hidden_.insert_or_assign(std::string(key), requests_ + random_.below(6));
    }
  }

  [[nodiscard]] bool is_hidden(std::string_view key) const {
    const auto found = hidden_.find(key);
    return found != hidden_.end() && found->second >= requests_;
  }

  Random random_;
  ObjectFaults faults_;
  std::map<std::string, std::uint64_t, std::less<>> hidden_;  // until which request
  std::map<std::string, ObjectBytes, std::less<>> objects_;
  std::map<std::string, Upload> uploads_;  // by their ids
  std::uint64_t last_upload_ = 0;
  std::uint64_t completed_ = 0;
  std::uint64_t aborted_ = 0;
  std::vector<Late> late_;
  std::uint64_t requests_ = 0;
};

/// An ObjectStore: one client's way to SimulatedObjects.
class SimulatedObjectStore {
 public:
  /// `objects` must outlive this. `before_request` is called before each request: there another client may go on.
  explicit SimulatedObjectStore(
      SimulatedObjects& objects, std::function<void()> before_request = [] {})
      : objects_(&objects), before_request_(std::move(before_request)) {}

  PutOutcome put_if_absent(std::string_view key, std::span<const std::byte> bytes) {
    begin(key);
    // Behind a pointer: a copy of the request that arrives later must not write into what is gone by then.
    const auto stored = std::make_shared<bool>(false);
    const bool is_answered = objects_->change(
        [&all = objects_->objects_, stored, key = std::string(key), object = ObjectBytes(bytes.begin(), bytes.end())] {
          *stored = all.emplace(key, object).second;
        });
    if (!is_answered) {
      objects_->hide(key);
      return PutOutcome::unknown;
    }
    return *stored ? PutOutcome::stored : PutOutcome::was_there;
  }

  void put(std::string_view key, std::span<const std::byte> bytes) {
    begin(key);
    change("put", [&all = objects_->objects_, key = std::string(key),
                   object = ObjectBytes(bytes.begin(), bytes.end())] { all.insert_or_assign(key, object); });
  }

  void remove(std::string_view key) {
    begin(key);
    change("delete", [&all = objects_->objects_, key = std::string(key)] { all.erase(key); });
  }

  [[nodiscard]] PartLimits part_limits() const noexcept {
    constexpr std::uint64_t most_bytes = std::uint64_t{1} << 30U;
    return {.least_bytes = 1, .most_bytes = most_bytes, .most_parts = 10000};
  }

  [[nodiscard]] std::string begin_upload(std::string_view key) {
    begin(key);
    const auto id = std::make_shared<std::string>();
    change("begin of an upload", [&shared = *objects_, id, key = std::string(key)] {
      *id = std::to_string(++shared.last_upload_);
      shared.uploads_[*id].key = key;
    });
    return *id;
  }

  [[nodiscard]] std::optional<std::string> put_part(const ObjectUpload& upload, std::uint32_t number,
                                                    std::span<const std::byte> bytes) {
    begin(upload.key);
    const auto tag = std::make_shared<std::optional<std::string>>();
    change("put of a part",
           [&all = objects_->uploads_, tag, upload, number, part = ObjectBytes(bytes.begin(), bytes.end())] {
             const auto found = all.find(upload.id);
             const bool is_there = found != all.end() && found->second.key == upload.key;
             *tag = is_there ? std::optional(SimulatedObjects::tag_of(part)) : std::nullopt;
             if (is_there) {
               found->second.parts[number] = part;
             }
           });
    return *tag;
  }

  [[nodiscard]] UploadOutcome complete_upload(const ObjectUpload& upload, std::span<const UploadedPart> parts) {
    begin(upload.key);
    const auto outcome = std::make_shared<std::optional<UploadOutcome>>();
    const bool is_answered =
        objects_->change([&shared = *objects_, outcome, upload, all = std::vector(parts.begin(), parts.end())] {
          *outcome = shared.complete(upload, all);
        });
    if (!is_answered) {
      objects_->hide(upload.key);
      fail("completion of an upload");
    }
    if (!*outcome) {
      throw_persist_error(PersistErrorKind::invalid_config,
                          "the simulated store cannot complete an upload: a part is not there as it was put");
    }
    return **outcome;
  }

  void abort_upload(const ObjectUpload& upload) {
    begin(upload.key);
    change("abort of an upload", [&shared = *objects_, upload] {
      const auto found = shared.uploads_.find(upload.id);
      if (found != shared.uploads_.end() && found->second.key == upload.key) {
        shared.uploads_.erase(found);
        ++shared.aborted_;
      }
    });
  }

  [[nodiscard]] std::vector<ObjectUpload> list_uploads(std::string_view prefix, const ObjectUpload& upload,
                                                       std::size_t most) {
    before_request_();
    objects_->let_late_arrive();
    require_answer("list");
    const auto place = [](const ObjectUpload& of) { return std::pair(of.key, of.id); };
    std::vector<ObjectUpload> found;
    for (const auto& [id, pending] : objects_->uploads_) {
      const ObjectUpload each{.key = pending.key, .id = id};
      if (each.key.starts_with(prefix) && place(each) > place(upload)) {
        found.push_back(each);
      }
    }
    std::ranges::sort(found, {}, place);
    found.resize(std::min(found.size(), most));
    return found;
  }

  [[nodiscard]] std::optional<ObjectBytes> get(std::string_view key) {
    begin(key);
    require_answer("get");
    const auto found = objects_->objects_.find(key);
    const bool is_seen = found != objects_->objects_.end() && !objects_->is_hidden(key);
    return is_seen ? std::optional(found->second) : std::nullopt;
  }

  [[nodiscard]] std::optional<ObjectBytes> get(std::string_view key, std::uint64_t offset, std::size_t count) {
    auto object = get(key);
    if (object) {
      const auto begin = static_cast<std::size_t>(std::min<std::uint64_t>(offset, object->size()));
      const auto part = std::span(*object).subspan(begin, std::min(count, object->size() - begin));
      object = ObjectBytes(part.begin(), part.end());
    }
    return object;
  }

  [[nodiscard]] std::optional<std::uint64_t> head(std::string_view key) {
    const auto object = get(key);
    return object ? std::optional<std::uint64_t>(object->size()) : std::nullopt;
  }

  [[nodiscard]] std::vector<std::string> list(std::string_view prefix, std::string_view behind, std::size_t most) {
    before_request_();
    objects_->let_late_arrive();
    require_answer("list");
    std::vector<std::string> keys;
    const auto& all = objects_->objects_;
    for (auto at = behind < prefix ? all.lower_bound(prefix) : all.upper_bound(behind);
         at != all.end() && at->first.starts_with(prefix) && keys.size() < most; ++at) {
      keys.push_back(at->first);
    }
    return keys;
  }

 private:
  void begin(std::string_view key) {
    require_object_key(key);
    before_request_();
    objects_->let_late_arrive();
  }

  [[noreturn]] static void fail(const std::string& what) {
    throw_persist_error(PersistErrorKind::io, "the simulated store did not answer a " + what + " (try again)");
  }

  void change(const std::string& what, const SimulatedObjects::Request& request) {
    if (!objects_->change(request)) {
      fail(what);
    }
  }

  void require_answer(const std::string& what) {
    if (!objects_->is_answered()) {
      fail(what);
    }
  }

  SimulatedObjects* objects_;
  std::function<void()> before_request_;
};

static_assert(ObjectStore<SimulatedObjectStore> && UploadsObjects<SimulatedObjectStore>);

}  // namespace testing
}  // namespace iqdb
