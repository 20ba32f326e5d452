// A snapshot in an object store: its key, and how it is read by ranges.
#pragma once

#include <algorithm>
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

/// The fence in the key of a snapshot; nothing if it is no key of a snapshot of this index.
[[nodiscard]] inline std::optional<std::uint64_t> fence_of_object_snapshot(std::string_view name,
                                                                           std::string_view key) {
  const std::string prefix = object_snapshot_prefix(name);
  if (!key.starts_with(prefix)) {
    return std::nullopt;
  }
  const std::string_view rest = key.substr(prefix.size());
  constexpr std::size_t digits = log_objects::digits;
  if (rest.size() != 2 * digits + 1 || rest[digits] != '-' || !log_objects::number_of(rest.substr(digits + 1))) {
    return std::nullopt;
  }
  return log_objects::number_of(rest.substr(0, digits));
}

/// A snapshot that is read from a store. Several threads may read it at the same time, each through a copy of the store, of which
/// there are as many as there were readers at once. Each reader holds at most 4 MiB of it beside what it reads into.
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
    // A store returns what it has read in memory of its own.
    constexpr std::uint64_t most_at_once = std::uint64_t{4} << 20U;
    const auto wanted = static_cast<std::size_t>(
        std::min({std::uint64_t{into.size()}, bytes_ - std::min(bytes_, offset), most_at_once}));
    if (wanted == 0) {
      return 0;
    }
    std::unique_ptr<S> store = shared_->taken();
    const auto found = asked_again(options_, [&] { return store->get(key_, offset, wanted); });
    shared_->give_back(std::move(store));
    const auto words = [&] { return "the snapshot " + printable(key_, log_objects::largest_printed_key); };
    if (!found) {
      throw_persist_error(
          PersistErrorKind::log_mismatch,
          words() +
              ", which the log names, is not there; a later checkpoint may have taken its place "
              "meanwhile: load the index again; if it is still not there, put the object back from a copy, "
              "as a store with versions keeps one");
    }
    if (found->empty() || found->size() > wanted) {
      throw_persist_error(PersistErrorKind::io, "cannot read " + words() + " at byte " + std::to_string(offset) +
                                                    " (the store returned " + std::to_string(found->size()) +
                                                    " bytes, and it has " + std::to_string(bytes_) +
                                                    "; the object is not the one that was published)");
    }
    std::ranges::copy(*found, into.begin());
    return found->size();
  }

 private:
  // The stores that no reader uses.
  class Shared {
   public:
    explicit Shared(const S& store) : original_(store) {}

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

   private:
    std::mutex mutex_;
    S original_;  // is only copied
    std::vector<std::unique_ptr<S>> spare_;
  };

  std::unique_ptr<Shared> shared_;
  std::string key_;
  std::uint64_t bytes_;
  ObjectLogOptions options_;
};

}  // namespace iqdb
