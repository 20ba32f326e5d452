// WHAT persistence needs from a store: read a file, replace a file atomically, append to a log, keep others out. This
// header makes no system call, so an object store or a test double can implement the same concepts.
#pragma once

#include <algorithm>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <utility>

#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

class HistoryPolicy;  // the settings know of no store, and a store passes it on

/// A file opened for reading. It stays the same file even if another takes its name.
template <class F>
concept ReadableFile = std::movable<F> && requires(F& file, std::uint64_t offset, std::span<std::byte> into) {
  // The file's size in bytes.
  { file.size() } -> std::same_as<std::uint64_t>;
  // Reads at `offset` into the beginning of `into`. Returns how many bytes, at least 1 before the end of the file.
  // Several threads may call it at the same time.
  { file.read_at(offset, into) } -> std::same_as<std::size_t>;
};

/// A file that is read while another one writes to it.
template <class F>
concept GrowingFile = ReadableFile<F> && requires(F& file) {
  // From now on size() is the size that the file has now, and what is cut off meanwhile reads as zeros.
  file.refresh();
};

/// A new file that replaces another. It is invisible before rename(), and nothing is left of it if it is destroyed
/// before that. Three separate calls put it in place, since their failures mean different things. One thread uses it at
/// a time.
template <class R>
concept FileReplacement = std::move_constructible<R> &&
    requires(R& file, const R& looked_at, std::uint64_t offset, std::span<const std::byte> bytes) {
  // Appends `bytes`.
  file.append(bytes);
  // Overwrites bytes that were appended.
  file.overwrite(offset, bytes);
  // 1. Makes the new file's bytes durable, under its temporary name.
  file.sync();
  // 2. Gives it the name of the old file. If it throws, the old file has the name, unless in_doubt().
  file.rename();
  // Whether rename() has failed, and the new file may have the name all the same.
  { looked_at.in_doubt() } -> std::same_as<bool>;
  // 3. Makes the new name durable.
  file.sync_directory();
};

/// What a log needs from a store. One thread at a time appends. sync() may run beside an append, but not beside another
/// sync(). Whether the store writes ahead, cuts off or writes in blocks is its own business.
template <class L>
concept LogFile = std::movable<L> && requires(L& log, const L& looked_at, std::span<const std::byte> bytes) {
  // Appends `bytes` behind everything appended before, whole or not at all. If it throws, it has undone what it had
  // written, durably with the next sync(), or usable() is false.
  log.append(bytes);
  // Makes durable what was appended and what was undone. If it throws, it must not be called again.
  log.sync();
  // Appends the last bytes of the log, and makes them durable. If it throws, the log may or may not hold them.
  log.finish(bytes);
  // False once an append has failed and could not be undone. Nothing may then be appended.
  { looked_at.usable() } -> std::same_as<bool>;
};

/// When a log is synced. A store may choose by this how it writes.
enum class LogSync : std::uint8_t {
  every_write,   ///< after every write
  now_and_then,  ///< less often
};

/// How a log will be used.
struct LogOptions {
  LogSync synced = LogSync::every_write;  ///< when it is synced
  std::size_t extent_bytes = 0;           ///< see PersistConfig::log_extent_bytes
};

/// A store whose logs are files. A load and a checkpoint write a new log and put it in the place of the old one.
template <class S>
concept ReplacesLogs = requires(S& storage, const std::filesystem::path& path, typename S::Lock& lock,
                                typename S::Replacement replacement) {
  // Returns a log that appends to a file that was renamed into place.
  { storage.open_log(std::move(replacement), LogOptions{}) } -> std::same_as<typename S::Log>;
  // Gives the file a second name, which another file loses if it has it, or makes a durable copy under that name.
  storage.keep(path, path, lock);
};

/// A store whose logs go on where they ended, and are never written anew. What open() returns for the path of a log is a log that
/// continues the snapshot under the path, whatever the log is made of in the store. A snapshot that is renamed into place ends
/// what stands in front of it.
template <class S>
concept ContinuesLogs = requires(S& storage, const std::filesystem::path& path, const typename S::Lock& lock,
                                 std::chrono::milliseconds patience, bool take_over, const HistoryPolicy& history) {
  // Returns a log that appends behind what is there.
  { storage.continue_log(lock) } -> std::same_as<typename S::Log>;
  // The number of the last mutation that was ever made in the log; 0 if there is none.
  { storage.last_lsn(lock) } -> std::same_as<std::uint64_t>;
  // Says which older states the snapshots that are renamed into place from now on keep; if none, those that the one before keeps.
  storage.keep_history(lock, history);
  // Before a checkpoint whose snapshot holds what the log does not lead to: who follows the log loads the index anew there.
  storage.begin_anew(lock);
  // Removes what no load needs any more, and no older state. Others of its calls may run beside it.
  storage.sweep(lock);
  // As lock(path, patience). With `take_over` a holder that has not ended loses the lock, and can append nothing any more.
  { storage.lock(path, patience, take_over) } -> std::same_as<typename S::Lock>;
};

/// A store of files. One thread uses it at a time. A failed operation on a file throws a PersistError that names the
/// file.
///
/// A lock holds the place where its file lies. The functions that take a lock work in that place, on the locked file and
/// the files beside it, even if the path leads elsewhere by then; and they throw rather than change what another may hold.
template <class S>
concept Storage = std::movable<S> && requires(S& storage, const std::filesystem::path& path, typename S::Lock& lock,
                                              std::chrono::milliseconds patience) {
  requires ReplacesLogs<S> || ContinuesLogs<S>;
  requires std::movable<typename S::Lock>;
  requires ReadableFile<typename S::File>;
  requires FileReplacement<typename S::Replacement>;
  requires LogFile<typename S::Log>;
  // Returns the name with symbolic links followed. All other functions are called with the result.
  { storage.resolve(path) } -> std::same_as<std::filesystem::path>;
  // Opens a file for reading, by its path or where the lock holds it. Returns nothing if it does not exist.
  { storage.open(path) } -> std::same_as<std::optional<typename S::File>>;
  { storage.open(path, lock) } -> std::same_as<std::optional<typename S::File>>;
  // Locks `path` until the result is destroyed, against every other holder in this process and others. Waits up to
  // `patience` for another holder, then throws PersistError locked.
  { storage.lock(path, patience) } -> std::same_as<typename S::Lock>;
  // Begins to replace or create a file: a snapshot, or a file beside it. The caller holds the lock of the snapshot.
  { storage.replace(path, lock) } -> std::same_as<typename S::Replacement>;
  // Removes a file beside a snapshot durably. Does nothing if it does not exist. The caller holds the lock of the
  // snapshot.
  storage.remove(path, lock);
  // Returns a number for a new log file that no other log file has.
  { storage.new_log_id() } -> std::same_as<std::uint64_t>;
  // Makes the bytes of a file durable, whoever wrote them. Does nothing if it does not exist.
  storage.sync(path, lock);
  // Makes the entries of the directory of the locked file durable.
  storage.sync_directory(lock);
  // Whether this process inherited the lock by a fork. The lock and the files then belong to the parent.
  { lock.inherited() } -> std::same_as<bool>;
};

/// The bytes of a file from `begin` to `end`, as a source for a Reader. Used by one thread.
template <ReadableFile F>
class FileRange final : public ByteSource {
 public:
  /// `file` must outlive this.
  FileRange(F& file, std::uint64_t begin, std::uint64_t end) : file_(&file), position_(begin), end_(end) {}

  std::size_t read(std::span<std::byte> into) override {
    const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), end_ - position_));
    const std::size_t count = wanted == 0 ? 0 : file_->read_at(position_, into.first(wanted));
    position_ += count;
    return count;
  }

  std::uint64_t skip(std::uint64_t count) override {
    const std::uint64_t skipped = std::min(count, end_ - position_);
    position_ += skipped;
    return skipped;
  }

 private:
  F* file_;
  std::uint64_t position_;
  std::uint64_t end_;
};

/// Replaces the old file with the new one, durably. Throws what the three steps throw.
template <FileReplacement R>
void put_in_place(R& file) {
  // Otherwise the rename could reach the disk before the bytes, and after a crash the name would lead to an empty file.
  file.sync();
  file.rename();
  // Otherwise a crash could undo the rename after the caller was told that the file is there.
  file.sync_directory();
}

}  // namespace iqdb
