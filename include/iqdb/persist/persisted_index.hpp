// PersistedIndex: an index and the file that it is kept in.
#pragma once

#include <concepts>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

#include "iqdb/index.hpp"
#include "iqdb/insert_overloads.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/file_storage.hpp"
#include "iqdb/persist/log_guard.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/snapshot.hpp"
#include "iqdb/persist/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// An index together with the snapshot file that it is saved to and loaded from.
///
///     auto db = iqdb::PersistedIndex<iqdb::FlatIndex>::load_or_create(
///         {.path = "vectors.iqdb"}, [] { return iqdb::FlatIndex(128, iqdb::DistanceMetric::cosine); });
///     db.insert(1, embedding);
///     db.save();
///
/// It moves but does not copy, and follows the thread rules of a standard container: calls of const members may run at
/// the same time, any other call needs the object to itself. Several objects, threads and processes may save to the same
/// path: the file is always one of theirs, whole.
template <Persistable I, Storage S = FileStorage>
class PersistedIndex : public InsertOverloads<PersistedIndex<I, S>> {
 public:
  /// Takes an index that was made in memory. No file is read or written before save().
  /// Throws PersistError invalid_config or unsupported for a `config` that cannot be used, io for a circle of links.
  static PersistedIndex open_with(I index, PersistConfig config, S storage = {}) {
    return naming_file(config.path, [&] {
      validate(config);
      std::filesystem::path path = storage.resolve(config.path);
      return PersistedIndex(std::move(index), std::move(config), std::move(storage), std::move(path));
    });
  }

  /// Loads the index from its file; nothing is written. Throws PersistError: io where there is no file or it cannot be
  /// read, the kinds of load_snapshot where it is not whole, log_present where a log beside it holds what it lacks,
  /// invalid_config or unsupported for a `config` that cannot be used.
  static PersistedIndex load(PersistConfig config, S storage = {}) {
    return load_if_there(config, storage, [&]() -> PersistedIndex {
      throw_persist_error(
          PersistErrorKind::io, "cannot load the index; check the path, or save one first",
          {.path = config.path, .code = std::make_error_code(std::errc::no_such_file_or_directory), .offset = {}});
    });
  }

  /// Loads the index from its file, or, where there is none, takes the one that `make()` returns. Throws as load does,
  /// and what `make` throws: a file that is there but cannot be loaded is never passed over.
  template <class Make>
    requires std::convertible_to<std::invoke_result_t<Make>, I>
  static PersistedIndex load_or_create(PersistConfig config, Make&& make, S storage = {}) {
    return load_if_there(config, storage,
                         [&] { return open_with(std::forward<Make>(make)(), std::move(config), std::move(storage)); });
  }

  PersistedIndex(PersistedIndex&&) noexcept(std::is_nothrow_move_constructible_v<I>) = default;
  PersistedIndex& operator=(PersistedIndex&&) noexcept(std::is_nothrow_move_assignable_v<I>) = default;
  PersistedIndex(const PersistedIndex&) = delete;
  PersistedIndex& operator=(const PersistedIndex&) = delete;
  ~PersistedIndex() = default;

  /// The index, to be searched.
  [[nodiscard]] const I& index() const noexcept { return index_; }

  /// The index, to be changed. The changes last with the next save().
  [[nodiscard]] I& index_mut() noexcept { return index_; }

  /// The settings it was made with.
  [[nodiscard]] const PersistConfig& config() const noexcept { return config_; }

  using InsertOverloads<PersistedIndex>::insert;

  /// Adds a vector to the index; it lasts with the next save(). Throws what the index throws.
  void insert(VectorId id, std::span<const float> vector, std::optional<Metadata> metadata = {}) requires Index<I> {
    index_.insert(std::move(id), vector, std::move(metadata));
  }

  /// Removes a vector from the index; it is gone with the next save(). Throws what the index throws.
  void erase(const VectorId& id) requires Index<I> { index_.erase(id); }

  /// Replaces the file by the index as it is now: when it returns, that is durable. If it throws, the file is what it
  /// was, but for one case: where only the sync of its directory failed, the new file is there and may not survive a
  /// crash. In every case save() may be called again, since it writes a whole new file.
  ///
  /// Throws PersistError io where the system refuses a call, locked where another holder does not let go for 5 seconds,
  /// log_present where a log beside the file holds mutations; and what the index's save_to throws.
  SnapshotInfo save() {
    return naming_file(path_, [&] {
      const auto lock = storage_.lock(path_);
      // Before the rename: a new snapshot beside the log of an old one could not be told from one that the log continues.
      discard_empty_log(storage_, path_, lock);
      return save_snapshot(index_, storage_, lock, path_, config_);
    });
  }

 private:
  PersistedIndex(I index, PersistConfig config, S storage, std::filesystem::path path)
      : index_(std::move(index)), config_(std::move(config)), storage_(std::move(storage)), path_(std::move(path)) {}

  // Loads the file; where there is none, gives what `otherwise()` gives.
  template <class Otherwise>
  static PersistedIndex load_if_there(PersistConfig& config, S& storage, Otherwise&& otherwise) {
    validate(config);
    std::filesystem::path path = storage.resolve(config.path);
    return naming_file(path, [&] {
      auto file = storage.open(path);
      if (!file) {
        refuse_log(storage, path);
        return std::forward<Otherwise>(otherwise)();
      }
      I index = load_snapshot<I>(std::move(*file), config);
      refuse_log(storage, path);
      return PersistedIndex(std::move(index), std::move(config), std::move(storage), std::move(path));
    });
  }

  I index_;
  PersistConfig config_;
  S storage_;
  std::filesystem::path path_;  // what config_.path led to when this was made
};

}  // namespace iqdb
