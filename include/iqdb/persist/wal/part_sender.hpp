// Sends the parts of an object to a store, several at the same time, each by a copy of the store.
//
//   send(part) --waits for room--> queue --> one of a few threads: put_part, again until it has an answer
//
// Invariants: what waits and what is on its way has no more bytes than was allowed, or is one part. An upload that was begun is
// completed or aborted, unless the store does not answer even to that: then a sweep aborts it. A part is never put with other bytes
// than before, so one that comes late changes nothing.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "iqdb/persist/bytes/helper_threads.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/process_mark.hpp"
#include "iqdb/persist/storage/object_store.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/object_format.hpp"
#include "iqdb/persist/wal/object_requests.hpp"
#include "iqdb/text.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// An upload under way. One thread makes, uses and destroys it. In the child of a fork its destructor does nothing.
template <ObjectStore S>
  requires UploadsObjects<S>
class PartSender {
 public:
  /// Begins an upload under `key`. Of parts that were given to send() and are not stored yet there are at most `most_bytes`, or one.
  /// They are sent by options.parts_in_flight threads; with 0, or where the system gives none, by the caller's. Throws PersistError
  /// io, what the store throws, and std::bad_alloc.
  PartSender(const S& store, const std::string& key, const ObjectLogOptions& options, std::uint64_t most_bytes)
      : shared_(std::make_unique<Shared>(store, options)), most_bytes_(most_bytes), senders_(options.parts_in_flight) {
    shared_->upload.key = key;
    shared_->upload.id =
        asked_again(shared_->options, [this] { return shared_->store.begin_upload(shared_->upload.key); });
    try {
      Shared* const shared = shared_.operator->();
      for (unsigned number = 0; number < options.parts_in_flight; ++number) {
        shared->of_senders.push_back(std::make_unique<S>(store));  // here: another thread may not copy it
      }
      has_senders_ = senders_.begin([shared](unsigned number) { shared->send_all(number); }) > 0;
    } catch (...) {
      end();
      throw;
    }
  }
  PartSender(const PartSender&) = delete;
  PartSender& operator=(const PartSender&) = delete;
  ~PartSender() {
    if (!shared_.inherited()) {
      end();
    }
  }

  /// Waits until so many bytes more may be held. Throws what sending a part has thrown.
  void wait_for_room(std::uint64_t bytes) {
    std::unique_lock guard(shared_->mutex);
    shared_->changed.wait(guard, [&] {
      return shared_->error || shared_->held_bytes == 0 || shared_->held_bytes + bytes <= most_bytes_;
    });
    shared_->require_no_error();
  }

  /// Takes a part, and sends it; part 1 is for complete(). Throws as wait_for_room().
  void send(std::uint32_t number, ObjectBytes&& bytes) {
    if (!has_senders_) {
      shared_->put(shared_->store, {.number = number, .bytes = std::move(bytes)});
      return;
    }
    const std::lock_guard guard(shared_->mutex);
    shared_->require_no_error();
    shared_->held_bytes += bytes.size();
    shared_->waiting.push_back({.number = number, .bytes = std::move(bytes)});
    shared_->changed.notify_all();
  }

  /// Sends part 1, waits for all parts, and makes the object, which has `object_bytes` bytes. It is durable when this returns. Throws
  /// as wait_for_room(); PersistError io also if the upload was ended by another, or if it is not known whether the object is there.
  void complete(ObjectBytes&& first, std::uint64_t object_bytes) {
    // Beside the last of the others: alone it would take as long as all of these together.
    send(1, std::move(first));
    await_senders();
    shared_->require_no_error();
    std::ranges::sort(shared_->parts, {}, &UploadedPart::number);
    const UploadOutcome outcome = asked_again(
        shared_->options, [this] { return shared_->store.complete_upload(shared_->upload, shared_->parts); });
    has_ended_ = true;
    if (outcome == UploadOutcome::absent && !is_there(object_bytes)) {
      shared_->fail_as_ended();
    }
  }

 private:
  struct Part {
    std::uint32_t number = 0;
    ObjectBytes bytes = {};
  };

  // What the threads use.
  struct Shared {
    Shared(S of, const ObjectLogOptions& with) : store(std::move(of)), options(with) {
      options.pause = [this, pause = with.pause](unsigned failures) {
        if (abandoned) {
          throw_persist_error(PersistErrorKind::io, "the upload was given up (nothing is to be done)");
        }
        pause(failures);
      };
    }

    // The store's own words would be of no use: it has said that there is none.
    [[noreturn]] void fail_as_ended() const {
      throw_persist_error(
          PersistErrorKind::io,
          "nothing was published: the upload of " + printable(upload.key, log_objects::largest_printed_key) +
              " has ended before it was whole (another writer has taken the index over and swept it, or a "
              "rule of the bucket aborts uploads that take long); see which, and try again");
    }

    void require_no_error() const {
      if (error) {
        std::rethrow_exception(error);
      }
    }

    void put(S& by, const Part& part) {
      auto tag = asked_again(options, [&] { return by.put_part(upload, part.number, part.bytes); });
      if (!tag) {
        fail_as_ended();
      }
      const std::lock_guard guard(mutex);
      parts.push_back({.number = part.number, .tag = *std::move(tag)});
    }

    // Sends what waits, until there is nothing more to come.
    void send_all(unsigned sender) {
      std::unique_lock guard(mutex);
      for (;;) {
        changed.wait(guard, [this] { return is_ending || !waiting.empty(); });
        if (waiting.empty()) {
          return;
        }
        Part part = std::move(waiting.front());
        waiting.pop_front();
        std::exception_ptr thrown;
        if (!error && !abandoned) {
          guard.unlock();
          try {
            put(*of_senders[sender], part);
          } catch (...) {
            thrown = std::current_exception();
          }
          guard.lock();
        }
        error = error ? error : thrown;
        held_bytes -= part.bytes.size();
        part = {};
        changed.notify_all();
      }
    }

    S store;
    ObjectLogOptions options;
    ObjectUpload upload = {};
    std::vector<std::unique_ptr<S>> of_senders = {};

    std::mutex mutex = {};  // guards the members below
    std::condition_variable changed = {};
    std::deque<Part> waiting = {};
    std::uint64_t held_bytes = 0;  // of parts that wait or are on their way
    std::vector<UploadedPart> parts = {};
    std::exception_ptr error = {};  // the first of a sender
    bool is_ending = false;
    std::atomic<bool> abandoned = false;  // nobody waits for an answer any more
  };

  void await_senders() {
    {
      const std::lock_guard guard(shared_->mutex);
      shared_->is_ending = true;
    }
    shared_->changed.notify_all();
    senders_.end();
  }

  // Whether the object is there. Its key is its own, so it is this one. A read may not see what was just made.
  [[nodiscard]] bool is_there(std::uint64_t object_bytes) {
    constexpr unsigned most_looks = 3;
    for (unsigned looks = 1;; ++looks) {
      const auto found = asked_again(shared_->options, [this] { return shared_->store.head(shared_->upload.key); });
      if (found || looks == most_looks) {
        return found == object_bytes;
      }
      shared_->options.pause(looks);
    }
  }

  // Ends the threads, and the upload unless it was completed.
  void end() noexcept {
    try {
      shared_->abandoned = true;
      await_senders();
      if (!has_ended_) {
        has_ended_ = true;
        shared_->store.abort_upload(shared_->upload);
      }
    } catch (...) {
      // A sweep aborts it.
    }
  }

  LeftInFork<Shared> shared_;
  std::uint64_t most_bytes_;
  bool has_senders_ = false;
  bool has_ended_ = false;
  HelperThreads senders_;
};

}  // namespace iqdb
