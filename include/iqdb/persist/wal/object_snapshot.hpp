// A snapshot in an object store: its key, and how it is read by ranges.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/storage/object_store.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/object_format.hpp"
#include "iqdb/persist/wal/object_requests.hpp"
#include "iqdb/text.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// The prefix of the keys of the snapshots of the index `name`.
[[nodiscard]] inline std::string object_snapshot_prefix(std::string_view name) {
  return std::string(name) + "/snapshot/";
}

/// A key for a snapshot of the writer whose fence is number `fence`. No other snapshot has it.
[[nodiscard]] inline std::string object_snapshot_key(std::string_view name, std::uint64_t fence, std::uint64_t nonce) {
  return object_snapshot_prefix(name) + log_objects::decimal(fence) + "-" + log_objects::decimal(nonce);
}

/// What the key of a snapshot says.
struct ObjectSnapshotParts {
  std::uint64_t fence = 0;  ///< the number of the fence of its writer
  std::uint64_t nonce = 0;  ///< random
};

/// The parts of the key of a snapshot; nothing if it is no key of a snapshot of this index.
[[nodiscard]] inline std::optional<ObjectSnapshotParts> parts_of_object_snapshot(std::string_view name,
                                                                                 std::string_view key) {
  const std::string prefix = object_snapshot_prefix(name);
  if (!key.starts_with(prefix)) {
    return std::nullopt;
  }
  const std::string_view rest = key.substr(prefix.size());
  constexpr std::size_t digits = log_objects::digits;
  if (rest.size() != 2 * digits + 1 || rest[digits] != '-') {
    return std::nullopt;
  }
  const auto fence = log_objects::number_of(rest.substr(0, digits));
  const auto nonce = log_objects::number_of(rest.substr(digits + 1));
  return fence && nonce ? std::optional(ObjectSnapshotParts{.fence = *fence, .nonce = *nonce}) : std::nullopt;
}

/// A snapshot that is read from a store. Several threads may read it at the same time, each through a copy of the store, of which
/// there are as many as there were readers at once. Small reads share blocks of 4 MiB, of which the last four are kept: whoever reads
/// from front to back makes few requests. Larger ones, as of threads that read it together, take at most 4 MiB each.
template <ObjectStore S>
class ObjectSnapshot {
 public:
  /// Reads the object `key`, which has `bytes` bytes.
  ObjectSnapshot(const S& store, std::string key, std::uint64_t bytes, ObjectLogOptions options)
      : shared_(std::make_unique<Shared>(store)), key_(std::move(key)), bytes_(bytes), options_(std::move(options)) {}

  [[nodiscard]] std::uint64_t size() const noexcept { return bytes_; }

  /// Reads at `offset` into the beginning of `into`. Returns how many bytes, at least 1 before the end. Throws PersistError
  /// log_mismatch if it is not there; io.
  std::size_t read_at(std::uint64_t offset, std::span<std::byte> into) {
    if (into.empty() || offset >= bytes_) {
      return 0;
    }
    constexpr std::size_t least_alone = std::size_t{512} << 10U;
    if (into.size() >= least_alone) {
      const ObjectBytes found = fetched(offset, into.size());
      std::ranges::copy(found, into.begin());
      return found.size();
    }
    const std::uint64_t number = offset / block_bytes;
    const auto block = shared_->block(number, [&] { return fetched(number * block_bytes, block_bytes); });
    const std::uint64_t skipped = offset - number * block_bytes;
    if (skipped >= block->size()) {
      fail_as_other(offset, 0);
    }
    const auto found = std::span(*block).subspan(static_cast<std::size_t>(skipped));
    const auto taken = found.first(std::min(found.size(), into.size()));
    std::ranges::copy(taken, into.begin());
    return taken.size();
  }

 private:
  static constexpr std::size_t block_bytes = std::size_t{4} << 20U;

  [[nodiscard]] std::string words() const {
    return "the snapshot " + printable(key_, log_objects::largest_printed_key);
  }

  [[noreturn]] void fail_as_other(std::uint64_t offset, std::size_t returned) const {
    throw_persist_error(PersistErrorKind::io, "cannot read " + words() + " at byte " + std::to_string(offset) +
                                                  " (the store returned " + std::to_string(returned) +
                                                  " bytes, and it has " + std::to_string(bytes_) +
                                                  "; the object is not the one that was published)");
  }

  // Up to `most` bytes from `offset` on, which lies before the end. A store returns them in memory of its own.
  [[nodiscard]] ObjectBytes fetched(std::uint64_t offset, std::size_t most) {
    const auto wanted =
        static_cast<std::size_t>(std::min({std::uint64_t{most}, bytes_ - offset, std::uint64_t{block_bytes}}));
    std::unique_ptr<S> store = shared_->taken();
    auto found = asked_again(options_, [&] { return store->get(key_, offset, wanted); });
    shared_->give_back(std::move(store));
    if (!found) {
      throw_persist_error(
          PersistErrorKind::log_mismatch,
          words() +
              ", which the log names, is not there; a later checkpoint may have taken its place "
              "meanwhile: load the index again; if it is still not there, put the object back from a copy, "
              "as a store with versions keeps one");
    }
    if (found->empty() || found->size() > wanted) {
      fail_as_other(offset, found->size());
    }
    return *std::move(found);
  }

  // The stores that no reader uses, and the blocks that were read last.
  class Shared {
   public:
    explicit Shared(S store) : original_(std::move(store)) {}

    [[nodiscard]] std::unique_ptr<S> taken() {
      const std::lock_guard guard(mutex_);
      if (spare_.empty()) {
        return std::make_unique<S>(original_);
      }
      std::unique_ptr<S> store = std::move(spare_.back());
      spare_.pop_back();
      return store;
    }

    void give_back(std::unique_ptr<S> store) {
      const std::lock_guard guard(mutex_);
      spare_.push_back(std::move(store));
    }

    // The block of this number, which `fetch()` returns if it is not kept. Another thread that wants it meanwhile waits.
    template <class Fetch>
    [[nodiscard]] std::shared_ptr<const ObjectBytes> block(std::uint64_t number, Fetch&& fetch) {
      std::unique_lock guard(mutex_);
      const auto found = [&] { return std::ranges::find(blocks_, number, &Block::number); };
      changed_.wait(guard, [&] { return found() == blocks_.end() || found()->bytes; });
      if (const auto kept = found(); kept != blocks_.end()) {
        return kept->bytes;
      }
      constexpr std::size_t most_blocks = 4;
      const auto oldest = std::ranges::find_if(blocks_, [](const Block& each) { return each.bytes != nullptr; });
      if (blocks_.size() >= most_blocks && oldest != blocks_.end()) {
        blocks_.erase(oldest);
      }
      blocks_.push_back({.number = number});
      guard.unlock();
      std::shared_ptr<const ObjectBytes> bytes;
      try {
        bytes = std::make_shared<const ObjectBytes>(fetch());
      } catch (...) {
        guard.lock();
        blocks_.erase(found());
        changed_.notify_all();
        throw;
      }
      guard.lock();
      found()->bytes = bytes;
      changed_.notify_all();
      return bytes;
    }

   private:
    struct Block {
      std::uint64_t number = 0;
      std::shared_ptr<const ObjectBytes> bytes = {};  // null while a thread reads it
    };

    std::mutex mutex_;
    std::condition_variable changed_;
    S original_;  // is only copied
    std::vector<std::unique_ptr<S>> spare_;
    std::vector<Block> blocks_;  // the oldest first
  };

  std::unique_ptr<Shared> shared_;
  std::string key_;
  std::uint64_t bytes_;
  ObjectLogOptions options_;
};

}  // namespace iqdb
