// ObjectStorage: keeps an index in an object store, in place of files.
//
//     iqdb::SharedIndex<MyIndex, iqdb::ObjectStorage<Store>>
//
// A path is the name of the index in the store. Its log and its snapshots are objects below that name; docs/object-store.md says
// which. A lock is a fence in the log: it ends whoever wrote before.
#pragma once

#include <algorithm>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/history_paths.hpp"
#include "iqdb/persist/process_mark.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/storage/object_key.hpp"
#include "iqdb/persist/storage/object_store.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/continued_log.hpp"
#include "iqdb/persist/wal/held_object_log.hpp"
#include "iqdb/persist/wal/log_object.hpp"
#include "iqdb/persist/wal/log_paths.hpp"
#include "iqdb/persist/wal/object_format.hpp"
#include "iqdb/persist/wal/object_history.hpp"
#include "iqdb/persist/wal/object_history_search.hpp"
#include "iqdb/persist/wal/object_log_image.hpp"
#include "iqdb/persist/wal/object_run.hpp"
#include "iqdb/persist/wal/object_snapshot.hpp"
#include "iqdb/persist/wal/object_sweep.hpp"
#include "iqdb/persist/wal/streamed_object.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// A Storage on an object store. The store is copied for each thread that uses it: copies work on the same objects. A snapshot is
/// written in parts, of which a few are in memory; as a whole if the store has no uploads in parts. The log is in memory while it is
/// read.
template <ObjectStore Store>
  requires std::copy_constructible<Store>
class ObjectStorage {
 public:
  /// A snapshot or a log that is read.
  class File {
   public:
    File(ObjectLogImage log, EndOfObjectLog end) : file_(std::move(log)), end_(std::move(end)) {}
    explicit File(ObjectSnapshot<Store> snapshot) : file_(std::move(snapshot)) {}

    [[nodiscard]] std::uint64_t size() const {
      return std::visit([](const auto& file) { return file.size(); }, file_);
    }

    /// Throws PersistError io.
    std::size_t read_at(std::uint64_t offset, std::span<std::byte> into) {
      return std::visit([&](auto& file) { return file.read_at(offset, into); }, file_);
    }

    /// Of a log: where it ended.
    [[nodiscard]] const EndOfObjectLog& end_of_log() const noexcept { return end_; }

   private:
    std::variant<ObjectLogImage, ObjectSnapshot<Store>> file_;
    EndOfObjectLog end_ = {};
  };

  /// The fence of a writer. At its end a log that was closed is closed again, if nothing was appended.
  class Lock {
   public:
    explicit Lock(std::shared_ptr<HeldObjectLog<Store>> held) noexcept : held_(std::move(held)) {}
    Lock(Lock&&) noexcept = default;
    Lock& operator=(Lock&& other) noexcept {
      if (this != &other) {
        release();
        held_ = std::move(other.held_);
      }
      return *this;
    }
    Lock(const Lock&) = delete;
    Lock& operator=(const Lock&) = delete;
    ~Lock() { release(); }

    /// Whether this process inherited it by a fork. Its log then belongs to the parent.
    [[nodiscard]] bool inherited() const noexcept { return made_in_.inherited(); }

   private:
    friend class ObjectStorage;

    void release() noexcept {
      try {
        if (held_ && !held_->inherited()) {
          held_->give_up();
        }
      } catch (...) {
        // Who opens the log next has to take it over.
      }
      held_.reset();
    }

    std::shared_ptr<HeldObjectLog<Store>> held_;
    ProcessMark made_in_;
  };

  /// A snapshot that is written. It is an object of its own from sync() on, and a part of the index from rename() on.
  class Replacement {
   public:
    Replacement(const Store& store, std::shared_ptr<HeldObjectLog<Store>> held)
        : store_(std::make_unique<Store>(store)),
          held_(std::move(held)),
          key_(object_snapshot_key(held_->name(), held_->fence(), held_->options().nonce())),
          object_(std::make_unique<StreamedObject<Store>>(store, key_, held_->options())) {}
    Replacement(Replacement&&) noexcept = default;
    Replacement& operator=(Replacement&&) = delete;
    Replacement(const Replacement&) = delete;
    Replacement& operator=(const Replacement&) = delete;
    ~Replacement() {
      object_.reset();  // what is on its way must not come behind the removal
      if (held_ && !held_->inherited() && is_stored_) {
        try {
          store_->remove(key_);
        } catch (...) {
          // A sweep behind a later checkpoint removes it.
        }
      }
    }

    /// Throw as those of StreamedObject.
    void append(std::span<const std::byte> bytes) { object_->append(bytes); }
    void overwrite(std::uint64_t offset, std::span<const std::byte> bytes) { object_->overwrite(offset, bytes); }

    /// Stores the object. Throws as append().
    void sync() {
      Reader header(object_->beginning());
      fingerprint_ = fingerprint(read_header(header), object_->size());
      is_stored_ = true;  // or may be, as soon as the store is asked
      object_->finish();
      object_.reset();
    }

    /// Publishes it. Throws PersistError fenced, poisoned, io.
    void rename() {
      try {
        held_->publish(key_, fingerprint_);
      } catch (const PersistError& error) {
        failed(error.kind() == PersistErrorKind::fenced);
        throw;
      } catch (...) {
        failed(false);
        throw;
      }
      is_stored_ = false;
    }

    [[nodiscard]] bool in_doubt() const noexcept { return in_doubt_; }

    /// Does nothing: what was published is durable.
    void sync_directory() noexcept {}

   private:
    // It was not published, or may have been: then a load may find it, and it must stay. Who is displaced knows that it was not.
    void failed(bool is_displaced) {
      in_doubt_ = !held_->usable();
      is_stored_ = is_displaced || !in_doubt_;
    }

    std::unique_ptr<Store> store_;
    std::shared_ptr<HeldObjectLog<Store>> held_;  // null once it was moved from
    std::string key_;
    std::unique_ptr<StreamedObject<Store>> object_;  // null once it is stored
    Fingerprint fingerprint_ = {};
    bool is_stored_ = false;  // and is to be removed at the end
    bool in_doubt_ = false;
  };

  /// The log of a lock.
  class Log {
   public:
    explicit Log(std::shared_ptr<HeldObjectLog<Store>> held) noexcept : held_(std::move(held)) {}

    void append(std::span<const std::byte> frames) { held_->append(frames); }
    void sync() { held_->flush(); }
    void finish(std::span<const std::byte> /*close*/) { held_->close(); }
    [[nodiscard]] bool usable() const { return held_->usable(); }

   private:
    std::shared_ptr<HeldObjectLog<Store>> held_;
  };

  /// Keeps indexes in `store`. `options` say how it is asked.
  explicit ObjectStorage(const Store& store, ObjectLogOptions options = {})
      : store_(std::make_unique<Store>(store)), options_(std::move(options)) {}
  ObjectStorage(ObjectStorage&&) noexcept = default;
  ObjectStorage& operator=(ObjectStorage&&) noexcept = default;
  /// The same store, for another index or another thread.
  ObjectStorage(const ObjectStorage& other) : ObjectStorage(*other.store_, other.options_) {}
  ObjectStorage& operator=(const ObjectStorage& other) {
    if (this != &other) {
      *this = ObjectStorage(other);
    }
    return *this;
  }
  ~ObjectStorage() = default;

  /// The name of an index. Throws PersistError invalid_config if it is none: a name is a key, and does not end like a log's.
  [[nodiscard]] std::filesystem::path resolve(const std::filesystem::path& path) const {
    const std::string name = path.generic_string();
    require_object_key(*object_history_key(name, object_snapshot_key(name, 0, 0)));  // the longest one
    if (is_log(name)) {
      throw_persist_error(PersistErrorKind::invalid_config,
                          "the name of an index cannot end with .wal: that is what its log is called");
    }
    if (name.find("/log/") != std::string::npos || name.find("/snapshot/") != std::string::npos) {
      throw_persist_error(
          PersistErrorKind::invalid_config,
          "the name of an index cannot lie below that of a log or of snapshots: it may be the key of one of "
          "their objects; let no part of it but the last be log or snapshot");
    }
    return path;
  }

  /// Opens the snapshot or the log of an index as the store has it, or those of an older state by its name. Throws PersistError
  /// log_corrupted, io; log_mismatch for an older state that is given up meanwhile.
  [[nodiscard]] std::optional<File> open(const std::filesystem::path& path) {
    const std::string name = index_of(path);
    const bool is_of_log = is_log(path.generic_string());
    if (const auto older = history_state_named(name)) {
      return open_older(*older, is_of_log);
    }
    ObjectRun run = read_object_run(*store_, name, options_);
    if (is_of_log) {
      return log_of(std::move(run), name);
    }
    return run.checkpoint ? std::optional(snapshot_of(run.objects[*run.checkpoint].snapshot)) : std::nullopt;
  }

  /// The same for who holds the lock of the index.
  [[nodiscard]] std::optional<File> open(const std::filesystem::path& path, const Lock& lock) {
    require_index_of(lock, index_of(path));
    if (is_log(path.generic_string())) {
      return log_of(lock.held_->run(), lock.held_->name());
    }
    const auto snapshot = lock.held_->snapshot();
    return snapshot ? std::optional(snapshot_of(*snapshot)) : std::nullopt;
  }

  /// Becomes the writer of an index: if it is closed or new, or with `take_over` in place of a writer that has not ended. Throws as
  /// open_object_log() does, locked after `patience`.
  [[nodiscard]] Lock lock(const std::filesystem::path& path, std::chrono::milliseconds patience,
                          bool take_over = false) {
    constexpr std::chrono::milliseconds pause{100};
    for (const auto end = std::chrono::steady_clock::now() + patience;;) {
      try {
        return Lock(std::make_shared<HeldObjectLog<Store>>(*store_, index_of(path), take_over, options_));
      } catch (const PersistError& error) {
        if (error.kind() != PersistErrorKind::locked || std::chrono::steady_clock::now() >= end) {
          throw;
        }
      }
      std::this_thread::sleep_for(std::min(pause, patience));
    }
  }

  /// Begins a snapshot.
  [[nodiscard]] Replacement replace(const std::filesystem::path& path, const Lock& lock) {
    require_index_of(lock, index_of(path));
    return Replacement(*store_, lock.held_);
  }

  /// Does nothing. Only a log is removed, by who puts a snapshot in its place: that one makes it needless, and sweep() removes it.
  void remove(const std::filesystem::path& /*path*/, const Lock& /*lock*/) noexcept {}

  [[nodiscard]] Log continue_log(const Lock& lock) const { return Log(lock.held_); }

  [[nodiscard]] std::uint64_t last_lsn(const Lock& lock) const { return lock.held_->last_lsn(); }
  [[nodiscard]] std::uint64_t new_log_id() const { return options_.nonce(); }

  /// Do nothing: what is there is durable.
  void sync(const std::filesystem::path& /*path*/, const Lock& /*lock*/) noexcept {}
  void sync_directory(const Lock& /*lock*/) noexcept {}

  /// Says which older states of the index the snapshots that follow keep; if none, those that the ones before have kept.
  void keep_history(const Lock& lock, const HistoryPolicy& policy) { lock.held_->keep_history(policy); }
  /// Makes who follows the log load the index anew at the next checkpoint. Throws what is appended throws.
  void begin_anew(const Lock& lock) { lock.held_->begin_anew(); }

  /// Deletes the objects of the index that no load needs, and no older state that is kept. Throws PersistError io, log_corrupted.
  void sweep(const Lock& lock) {
    Store store(*store_);
    const std::string& name = lock.held_->name();
    const ObjectSweep swept = sweep_object_log(store, name, options_, lock.held_->known_objects());
    lock.held_->learn_fences(swept.fences);
    sweep_object_snapshots(store, name, lock.held_->fence(), swept, options_);
    if constexpr (UploadsObjects<Store>) {
      sweep_object_uploads(store, name, lock.held_->fence(), swept, options_);
    }
  }

  /// The names of the older states of an index, each of its snapshot and of its log, in no directory. Throws PersistError io,
  /// log_corrupted.
  [[nodiscard]] std::vector<std::filesystem::path> names_beside(const std::filesystem::path& path) {
    std::vector<std::filesystem::path> names;
    for (const HistoryState& state : lookup_.anew(*store_, index_of(path), options_).history.states) {
      names.push_back(history_paths::entry(path.filename(), state.replaced_at));
      names.push_back(log_path(names.back()));
    }
    return names;
  }
  [[nodiscard]] std::vector<std::filesystem::path> names(const Lock& lock) { return names_beside(lock.held_->name()); }

  /// The last mutation that the snapshot of an older state holds, by its name; nothing for other names, and if there is none. Throws
  /// as names_beside().
  [[nodiscard]] std::optional<std::uint64_t> snapshot_lsn(const std::filesystem::path& path) {
    const auto older = history_state_named(path.generic_string());
    if (!older) {
      return std::nullopt;
    }
    const auto state = lookup_.with(*store_, *older, options_).state(older->replaced_at);
    return state ? std::optional(state->checkpoint.snapshot.lsn) : std::nullopt;
  }

  /// An object of the log of the index `name`, for who follows it; nothing if it is not there yet, or not any more. Throws
  /// PersistError io, log_corrupted.
  [[nodiscard]] std::optional<LogObject> object_of_log(std::string_view name, std::uint64_t number) {
    return find_log_object(*store_, name, number, options_);
  }

  /// Whether the object that ended the log was swept meanwhile, so that others were written behind it. Throws PersistError io.
  /// `look` counts how often it was asked for since.
  [[nodiscard]] bool is_swept(const EndOfObjectLog& end, unsigned look) {
    // A fence stays, and a put that comes late may store any object once more where it was. A listing tells the truth, but costs
    // ten times as much.
    constexpr unsigned looks_between_listings = 64;
    const std::string last = log_object_key(end.name, end.next_number - 1);
    return end.is_fence() || look % looks_between_listings == 0
               ? !list_log_objects(*store_, end.name, options_, end.next_number + 1).empty()
               : !asked_again(options_, [&] { return store_->head(last); });
  }

 private:
  static constexpr std::string_view log_ending = ".wal";

  [[nodiscard]] static bool is_log(std::string_view name) noexcept { return name.ends_with(log_ending); }

  [[nodiscard]] static std::string index_of(const std::filesystem::path& path) {
    std::string name = path.generic_string();
    if (is_log(name)) {
      name.resize(name.size() - log_ending.size());
    }
    return name;
  }

  static void require_index_of(const Lock& lock, const std::string& name) {
    if (!lock.held_ || lock.held_->name() != name) {
      throw_persist_error(PersistErrorKind::invalid_config,
                          "the lock is not that of the index " + printable(name, log_objects::largest_printed_key));
    }
  }

  [[nodiscard]] std::optional<File> log_of(ObjectRun all, const std::string& name) const {
    auto image = image_of_object_log(std::move(all), name, new_log_id());
    if (!image) {
      return std::nullopt;
    }
    EndOfObjectLog end = end_of_object_log(image->run(), name);
    return File(*std::move(image), std::move(end));
  }

  [[nodiscard]] std::optional<File> open_older(const HistoryStateName& older, bool is_of_log) {
    const FoundHistory& found = lookup_.with(*store_, older, options_);
    const auto at = found.find(older.replaced_at);
    if (!at) {
      return std::nullopt;
    }
    return is_of_log ? log_of(read_older_run(*store_, older.index, found, *at, options_), older.index)
                     : std::optional(snapshot_of(found.history.states[*at].checkpoint.snapshot));
  }

  [[nodiscard]] File snapshot_of(const PublishedSnapshot& published) const {
    return File(ObjectSnapshot<Store>(*store_, published.key, published.fingerprint.file_bytes, options_));
  }

  std::unique_ptr<Store> store_;  // null once it was moved from
  ObjectLogOptions options_;
  HistoryLookup lookup_;
};

}  // namespace iqdb
