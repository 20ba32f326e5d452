// A file opened for reading: the ReadableFile of BasicFileStorage.
//
// Invariant: nothing is read beyond the size that the file had when it was opened, or when refresh() was called.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <utility>

#include "iqdb/persist/storage/file_errors.hpp"
#include "iqdb/persist/storage/file_handle.hpp"
#include "iqdb/persist/storage/file_system.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// A file of a FileSystem, opened for reading. It stays the same file even if another takes its name. Several threads
/// may read it at the same time.
template <FileSystem F>
class StoredFile {
 public:
  /// Reads from `handle`, an open file of `size` bytes. Messages state `path`.
  StoredFile(FileHandle<F> handle, std::filesystem::path path, std::uint64_t size)
      : handle_(std::move(handle)), path_(std::move(path)), size_(size) {}

  /// Looks how large the file is now. Nobody may read it meanwhile. From now on the file may also become shorter while it is
  /// read: what is gone reads as zeros, as the space that a log has prepared ahead. Throws PersistError io.
  void refresh() {
    may_shrink_ = true;
    const auto [status, error] = file_calls::retried([&] { return handle_.file_system().status(handle_.get()); });
    if (error) {
      file_errors::fail("find out the file's size", path_, error);
    }
    size_ = status.size;
  }

  /// The size it had when it was opened or refreshed, in bytes.
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }

  /// Reads at `offset` into the beginning of `into`. Returns how many bytes, at least 1 before the end of the file.
  /// Throws PersistError io, also if the file has become shorter since it was opened.
  [[nodiscard]] std::size_t read_at(std::uint64_t offset, std::span<std::byte> into) {
    const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), size_ - std::min(offset, size_)));
    if (wanted == 0) {
      return 0;
    }
    const auto [count, error] = handle_.read_at(offset, into.first(wanted));
    if (error) {
      file_errors::fail("read the file at byte " + std::to_string(offset), path_, error);
    }
    if (count == 0 && may_shrink_) {
      std::ranges::fill(into.first(wanted), std::byte{0});
      return wanted;
    }
    if (count == 0) {
      file_errors::fail("read the file at byte " + std::to_string(offset), path_,
                        std::make_error_code(std::errc::io_error),
                        "it became shorter while it was read; something else writes to it");
    }
    return count;
  }

  /// Opens the file once more, for read_past_cache(). Does nothing, and returns false, where the system cannot do that, or if the
  /// page cache holds most of the file. Nobody may read it meanwhile. Throws std::bad_alloc.
  [[nodiscard]] bool open_past_cache() requires ReadsPastCache<F> {
    if (is_cached()) {
      return false;
    }
    const auto [handle, error] =
        file_calls::retried([&] { return handle_.file_system().open_past_cache(handle_.get()); });
    if (!error) {
      past_cache_.emplace(handle_.file_system(), handle);
    }
    return past_cache_.has_value();
  }

  /// As read_at(), past the page cache. `offset`, the size and the address of `into` are multiples of direct_block_bytes, and the file
  /// has so many bytes there. Returns nothing if it was not opened so, or if the file system fails: then read_at() reads
  /// them, or says what is wrong.
  [[nodiscard]] std::optional<std::size_t> read_past_cache(std::uint64_t offset,
                                                           std::span<std::byte> into) requires ReadsPastCache<F> {
    if (!past_cache_) {
      return std::nullopt;
    }
    const auto [count, error] = past_cache_->read_at(offset, into);
    if (error || count == 0) {
      return std::nullopt;
    }
    return count;
  }

  /// The open file.
  [[nodiscard]] const FileHandle<F>& handle() const noexcept { return handle_; }

  /// Makes the file's bytes durable, whoever wrote them. Throws PersistError io.
  void sync() {
    if (const std::error_code error =
            file_calls::uninterrupted([&] { return handle_.file_system().sync(handle_.get()); })) {
      file_errors::fail("sync the file", path_, error);
    }
  }

 private:
  // Asks about some parts of it: to ask about every page of a large file would take a while.
  [[nodiscard]] bool is_cached() requires ReadsPastCache<F> {
    constexpr std::uint64_t part_bytes = std::uint64_t{64} * 1024;
    constexpr std::uint64_t most_parts = 64;
    const std::uint64_t parts = std::min(most_parts, size_ / part_bytes);
    std::uint64_t cached = 0;
    for (std::uint64_t part = 0; part < parts; ++part) {
      const std::uint64_t offset = size_ / parts * part;
      cached += handle_.file_system().is_cached(handle_.get(), offset, static_cast<std::size_t>(part_bytes)) ? 1U : 0U;
    }
    return 2 * cached >= parts;
  }

  FileHandle<F> handle_;
  std::optional<FileHandle<F>> past_cache_;
  std::filesystem::path path_;
  std::uint64_t size_;
  bool may_shrink_ = false;
};

}  // namespace iqdb
