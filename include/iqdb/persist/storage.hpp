// WHAT persistence needs of a store: read a file, replace a file atomically, keep others out. No system call is here:
// an object store or a test double implements the same concept.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>

#include "iqdb/persist/stream.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// A file opened for reading: it stays the same file while it is read, even if another takes its name.
template <class F>
concept ReadableFile = std::movable<F> && requires(F& file, std::uint64_t offset, std::span<std::byte> into) {
  // The file's size in bytes.
  { file.size() } -> std::same_as<std::uint64_t>;
  // Fills the beginning of `into` with what stands at `offset`; returns how many bytes, at least 1 before the end.
  { file.read_at(offset, into) } -> std::same_as<std::size_t>;
};

/// A file that is to take the place of another: nothing of it is to be seen until commit() returns, and nothing is left
/// of it if it is destroyed before.
template <class R>
concept FileReplacement = std::move_constructible<R> &&
    requires(R& file, std::uint64_t offset, std::span<const std::byte> bytes) {
  // Appends `bytes`.
  file.append(bytes);
  // Writes over bytes that were appended.
  file.overwrite(offset, bytes);
  // Makes the new file durable, then puts it in the old one's place, then makes that durable.
  file.commit();
};

/// A store of files. Every failure is a PersistError that names the file.
template <class S>
concept Storage = std::movable<S> && requires(S& storage, const std::filesystem::path& path, typename S::Lock& lock) {
  requires std::movable<typename S::Lock>;
  requires ReadableFile<typename S::File>;
  requires FileReplacement<typename S::Replacement>;
  // The name behind symbolic links; everything else is called with the result.
  { storage.resolve(path) } -> std::same_as<std::filesystem::path>;
  // Opens a file for reading; nothing where there is none.
  { storage.open(path) } -> std::same_as<std::optional<typename S::File>>;
  // Keeps every other holder of `path` out, in this process and others, until it is destroyed. Throws locked.
  { storage.lock(path) } -> std::same_as<typename S::Lock>;
  // Begins to replace the file, or to create it, under its lock.
  { storage.replace(path, lock) } -> std::same_as<typename S::Replacement>;
  // Removes a file durably, under the lock of the snapshot that it lies beside.
  storage.remove(path, lock);
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

}  // namespace iqdb
