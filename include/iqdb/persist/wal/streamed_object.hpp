// An object that is written from front to back, and whose beginning is known at the end, as that of a snapshot is.
//
//   append --> first part, kept back
//          \-> part 2, 3, … --> PartSender --> store
//   finish --> first part --> the object
//
// Invariants: nobody sees the object before it is whole. In memory there are the first part, the one that is being filled, and those
// on their way: six times the usual size of a part, until an object is so large that its parts must be larger. What is no larger than
// one part, or goes to a store without uploads, is one put.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "iqdb/persist/bytes/memory_size.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/storage/object_store.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/object_format.hpp"
#include "iqdb/persist/wal/object_requests.hpp"
#include "iqdb/persist/wal/part_sender.hpp"
#include "iqdb/text.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace streamed_objects {

// How many bytes the part `number` has, behind `before` bytes in the parts in front of it. Half of the parts that a store allows have
// the usual size, so that a store which wants parts of one size takes all but the largest objects. The next ones are as large as fits
// into the same memory. The last tenth grows with the object: so what it takes is a small share of what the index itself has.
[[nodiscard]] constexpr std::uint64_t part_bytes(std::uint32_t number, std::uint64_t before, std::uint64_t usual,
                                                 const PartLimits& limits) noexcept {
  usual = std::clamp(usual, limits.least_bytes, limits.most_bytes);
  if (number <= limits.most_parts / 2) {
    return usual;
  }
  const std::uint64_t large = std::min(usual / 2 * 5, limits.most_bytes);
  if (number <= limits.most_parts / 10 * 9) {
    return large;
  }
  constexpr std::uint32_t share_of_parts = 40;
  return std::clamp(before / std::max(limits.most_parts / share_of_parts, 1U), large, limits.most_bytes);
}

// The upload of an object, where the store has uploads.
template <ObjectStore S>
struct UploadTo {
  using Sender = PartSender<S>;
};

template <ObjectStore S>
  requires(!UploadsObjects<S>)
struct UploadTo<S> {
  struct Sender {};
};

}  // namespace streamed_objects

/// An object that is written. It is there when finish() returns, and not before. If it is destroyed before that, nothing is there, or
/// an upload is pending that the store did not abort; if finish() has thrown, the object may be there too. One thread uses it.
template <ObjectStore S>
class StreamedObject {
 public:
  /// Will store under `key`, in a copy of `store`. Asks nobody yet.
  StreamedObject(S store, std::string key, ObjectLogOptions options)
      : store_(std::move(store)), key_(std::move(key)), options_(std::move(options)) {
    if constexpr (UploadsObjects<S>) {
      limits_ = store_.part_limits();
    }
  }
  StreamedObject(const StreamedObject&) = delete;
  StreamedObject& operator=(const StreamedObject&) = delete;
  ~StreamedObject() = default;

  /// The key under which it will be.
  [[nodiscard]] const std::string& key() const noexcept { return key_; }

  /// How many bytes were appended.
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }

  /// The beginning of it, which is not sent yet: all of it if that is no larger than a part.
  [[nodiscard]] std::span<const std::byte> beginning() const noexcept { return first_; }

  /// Appends `bytes`. Throws PersistError io, also for bytes that were appended before, or if others have ended the upload;
  /// invalid_config if the object becomes larger than the store takes; what the store throws; and std::bad_alloc.
  void append(std::span<const std::byte> bytes) {
    if constexpr (UploadsObjects<S>) {
      const auto room = static_cast<std::size_t>(bytes_of_part(1) - first_.size());
      const auto beginning = bytes.first(std::min(bytes.size(), room));
      append_to_first(beginning);
      append_behind(bytes.subspan(beginning.size()));
    } else {
      append_to_first(bytes);
    }
  }

  /// Overwrites bytes of the beginning. Throws PersistError invalid_config if they reach behind the first part.
  void overwrite(std::uint64_t offset, std::span<const std::byte> bytes) {
    if (offset > first_.size() || bytes.size() > first_.size() - offset) {
      throw_persist_error(PersistErrorKind::invalid_config, "cannot write the beginning of " + words() +
                                                                ": it reaches behind the first part, which has " +
                                                                std::to_string(first_.size()) +
                                                                " bytes; set a larger ObjectLogOptions::part_bytes");
    }
    std::ranges::copy(bytes, first_.begin() + static_cast<std::ptrdiff_t>(offset));
  }

  /// Stores the object, durably. Nothing can be appended afterwards. Throws as append(); then the object may be there, or come later.
  void finish() {
    if constexpr (UploadsObjects<S>) {
      if (!filling_.empty()) {
        send();
      }
      if (sender_) {
        sender_->complete(std::move(first_), size_);
        return;
      }
    }
    asked_again(options_, [this] { store_.put(key_, first_); });
    first_ = {};
  }

 private:
  [[nodiscard]] std::string words() const { return printable(key_, log_objects::largest_printed_key); }

  [[nodiscard]] std::uint64_t bytes_of_part(std::uint32_t number) const noexcept {
    return streamed_objects::part_bytes(number, size_, options_.part_bytes, limits_);
  }

  void append_to_first(std::span<const std::byte> bytes) {
    first_.insert(first_.end(), bytes.begin(), bytes.end());
    size_ += bytes.size();
  }

  void append_behind(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      if (filling_.empty()) {
        begin_part();
      }
      const auto some = bytes.first(std::min(bytes.size(), filled_at_ - filling_.size()));
      filling_.insert(filling_.end(), some.begin(), some.end());
      size_ += some.size();
      bytes = bytes.subspan(some.size());
      if (filling_.size() == filled_at_) {
        send();
      }
    }
  }

  void begin_part() {
    if (number_ == limits_.most_parts) {
      throw_persist_error(PersistErrorKind::invalid_config, words() + " has more bytes than the store takes in " +
                                                                std::to_string(number_) +
                                                                " parts; set a larger ObjectLogOptions::part_bytes");
    }
    filled_at_ = memory_size(bytes_of_part(++number_));
    if (sender_) {
      sender_->wait_for_room(filled_at_);
    }
    filling_.reserve(filled_at_);
  }

  void send() {
    if (!sender_) {
      sender_ = std::make_unique<typename streamed_objects::UploadTo<S>::Sender>(
          store_, key_, options_, bytes_of_part(1) * (options_.parts_in_flight + std::uint64_t{1}));
    }
    sender_->send(number_, std::exchange(filling_, {}));
  }

  S store_;
  std::string key_;
  ObjectLogOptions options_;
  PartLimits limits_ = {};
  std::uint64_t size_ = 0;
  ObjectBytes first_ = {};     // part 1
  std::uint32_t number_ = 1;   // of the part that is being filled, or of the last one
  ObjectBytes filling_ = {};   // that part
  std::size_t filled_at_ = 0;  // how large it will be
  std::unique_ptr<typename streamed_objects::UploadTo<S>::Sender> sender_;  // null as long as no part is full
};

}  // namespace iqdb
