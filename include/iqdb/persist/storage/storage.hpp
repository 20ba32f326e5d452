// WHAT persistence needs of a store: read a file, replace a file atomically, keep others out. No system call is here:
// an object store or a test double implements the same concept.
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

/// A file opened for reading: it stays the same file while it is read, even if another takes its name.
template <class F>
concept ReadableFile = std::movable<F> && requires(F& file, std::uint64_t offset, std::span<std::byte> into) {
  // The file's size in bytes.
  { file.size() } -> std::same_as<std::uint64_t>;
  // Fills the beginning of `into` with what stands at `offset`; returns how many bytes, at least 1 before the end.
  // Several threads may call it at the same time.
  { file.read_at(offset, into) } -> std::same_as<std::size_t>;
};

/// A file that is to take the place of another: nothing of it is to be seen before rename(), and nothing is left
/// of it if it is destroyed before. The three steps that put it in place are apart, since what a failure means differs.
template <class R>
concept FileReplacement = std::move_constructible<R> &&
    requires(R& file, std::uint64_t offset, std::span<const std::byte> bytes) {
  // Appends `bytes`.
  file.append(bytes);
  // Writes over bytes that were appended.
  file.overwrite(offset, bytes);
  // 1. Makes the new file's bytes durable, under its temporary name.
  file.sync();
  // 2. Gives it the old one's name.
  file.rename();
  // 3. Makes that durable.
  file.sync_directory();
};

/// What a log needs of a store. One thread at a time appends; sync() may run beside an append, but not beside another
/// sync(). What is written ahead, cut off, or put in blocks is the store's own business.
template <class L>
concept LogFile = std::movable<L> && requires(L& log, const L& looked_at, std::span<const std::byte> bytes) {
  // Appends `bytes` behind everything appended before: whole, or not at all. If it throws, what was half written is
  // undone, durably with the next sync().
  log.append(bytes);
  // Makes everything appended durable, and what was undone. If it throws, it must not be tried again.
  log.sync();
  // Appends the last bytes that the log ever gets, and makes them durable. If it throws, they may stand there or not.
  log.finish(bytes);
  // False once an append has failed and could not be undone: nothing may be appended any more.
  { looked_at.usable() } -> std::same_as<bool>;
};

/// When a log is synced: a store may choose by it how it writes.
enum class LogSync : std::uint8_t {
  every_write,  ///< after every write
  now_and_then,
};

/// How a log is going to be used.
struct LogOptions {
  LogSync synced = LogSync::every_write;  ///< when it is synced
  std::size_t extent_bytes = 0;           ///< see PersistConfig::log_extent_bytes
};

/// A store of files. Every failure is a PersistError that names the file.
template <class S>
concept Storage = std::movable<S> && requires(S& storage, const std::filesystem::path& path, typename S::Lock& lock,
                                              typename S::Replacement replacement, std::chrono::milliseconds patience) {
  requires std::movable<typename S::Lock>;
  requires ReadableFile<typename S::File>;
  requires FileReplacement<typename S::Replacement>;
  requires LogFile<typename S::Log>;
  // The name behind symbolic links; everything else is called with the result.
  { storage.resolve(path) } -> std::same_as<std::filesystem::path>;
  // Opens a file for reading; nothing where there is none.
  { storage.open(path) } -> std::same_as<std::optional<typename S::File>>;
  // Keeps every other holder of `path` out, in this process and others, until it is destroyed. Waits for another one as
  // long as `patience`, then throws locked.
  { storage.lock(path, patience) } -> std::same_as<typename S::Lock>;
  // Begins to replace the file, or to create it, under its lock.
  { storage.replace(path, lock) } -> std::same_as<typename S::Replacement>;
  // Removes a file durably, under the lock of the snapshot that it lies beside.
  storage.remove(path, lock);
  // Goes on writing a file that was renamed into place, as a log.
  { storage.open_log(std::move(replacement), LogOptions{}) } -> std::same_as<typename S::Log>;
  // A number for a new log file that no other has.
  { storage.new_log_id() } -> std::same_as<std::uint64_t>;
  // Makes the bytes of a file durable, whoever wrote them; nothing happens where there is none.
  storage.sync(path);
  // Makes durable which files lie beside `path`.
  storage.sync_directory(path);
  // Gives the file a second name, in place of what had it, or makes a durable copy under it.
  storage.keep(path, path, lock);
  // Whether the lock came with a fork: then it is the parent's, and so are the files.
  { lock.inherited() } -> std::same_as<bool>;
};

/// The bytes of a file from `begin` to `end`, as a source for a Reader.
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

 private:
  F* file_;
  std::uint64_t position_;
  std::uint64_t end_;
};

/// Puts a file that was written in the place of the old one, durably.
template <FileReplacement R>
void put_in_place(R& file) {
  // Without it the rename could reach the disk before the bytes: after a crash the name would lead to an empty file.
  file.sync();
  file.rename();
  // Without it the rename could be undone by a crash after the caller was told that the file is there.
  file.sync_directory();
}

}  // namespace iqdb
