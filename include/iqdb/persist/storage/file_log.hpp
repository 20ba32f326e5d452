// A log in a file. An append is whole or undone. Zeros are written ahead of the log's end. With direct I/O every write
// is of whole blocks.
//
// Invariants: behind the last appended byte the file holds only zeros, or ends. A failed append is cut off where it
// began; if that fails too, the log is not usable any more.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <span>
#include <string>
#include <system_error>
#include <utility>

#include "iqdb/persist/bytes/aligned_buffer.hpp"
#include "iqdb/persist/storage/block_appender.hpp"
#include "iqdb/persist/storage/direct_mode.hpp"
#include "iqdb/persist/storage/file_errors.hpp"
#include "iqdb/persist/storage/file_handle.hpp"
#include "iqdb/persist/storage/file_system.hpp"
#include "iqdb/persist/storage/space_ahead.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// A log file opened for appending. See LogFile for its guarantees and its thread rules.
template <FileSystem F>
class FileLog {
 public:
  /// Appends behind the `size` bytes of `file`, which is open for reading and writing. Messages state `path`. With
  /// `direct_io`, writes bypass the page cache if the file system supports that. Up to `extent_bytes` zeros are written
  /// ahead at a time; 0 for none.
  FileLog(FileHandle<F> file, std::filesystem::path path, std::uint64_t size, bool direct_io, std::size_t extent_bytes)
      : file_(std::move(file)), path_(std::move(path)), end_(size), direct_(direct_io), space_(extent_bytes, size) {}

  /// Appends `bytes`, whole or not at all. Throws PersistError io, and std::bad_alloc; what it had written is then cut
  /// off, durably with the next sync(), or usable() is false.
  void append(std::span<const std::byte> bytes) {
    prepare(bytes.size());
    try {
      write_at(end_, bytes);
    } catch (...) {
      cut_back();
      throw;
    }
    end_ += bytes.size();
  }

  /// Makes appends and cut-offs durable. Throws PersistError io; it must then not be called again.
  void sync() {
    if (const std::error_code error =
            file_calls::uninterrupted([&] { return file_.file_system().sync_data(file_.get()); })) {
      file_errors::fail("sync the log", path_, error);
    }
  }

  /// Appends the last bytes of the log, gives back the space ahead, and syncs. Throws what append() and sync() throw;
  /// the bytes are then cut off again if the file system still does that.
  void finish(std::span<const std::byte> bytes) {
    const std::uint64_t begin = end_;
    space_.stop();
    append(bytes);
    // Space ahead that stays does no harm.
    cut_off_if_possible(end_);
    try {
      sync();
    } catch (...) {
      // Nobody knows whether these bytes are durable.
      cut_off_if_possible(begin);
      throw;
    }
  }

  /// False once an append has failed and could not be cut off. Nothing may then be appended.
  [[nodiscard]] bool usable() const noexcept { return usable_; }

 private:
  void write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
    const auto read = [this](std::uint64_t from, std::span<std::byte> into) { return read_at(from, into); };
    const auto write = [this](std::uint64_t to, std::span<const std::byte> blocks) { write_through(to, blocks); };
    if (!direct_.try_to(file_, [&] { blocks_.write(offset, bytes, read, write); })) {
      write_through(offset, bytes);
    }
  }

  void prepare(std::uint64_t bytes) noexcept {
    const std::uint64_t needed = end_ + bytes;
    const auto extent = space_.wanted(needed, bytes);
    if (!extent) {
      return;
    }
    try {
      // The zeros begin behind the coming append, which fills the space before them itself.
      write_zeros(needed, *extent);
      space_.prepared_up_to(needed + *extent);
    } catch (const std::exception&) {
      // Space ahead only saves time. If the disk is full, the append itself fails.
    }
  }

  // With direct I/O writes whole blocks, so about `bytes` zeros.
  void write_zeros(std::uint64_t offset, std::uint64_t bytes) {
    const auto write = [this](std::uint64_t begin, std::uint64_t end) {
      while (begin < end) {
        const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(end - begin, zeros().size()));
        write_through(begin, zeros().first(count));
        begin += count;
      }
    };
    if (!direct_.try_to(file_, [&] { write(block_end(offset), block_end(offset + bytes)); })) {
      write(offset, offset + bytes);
    }
  }

  void cut_back() noexcept {
    try {
      cut_off(end_);
      space_.prepared_up_to(end_);
    } catch (const std::exception&) {
      usable_ = false;
    }
  }

  void cut_off_if_possible(std::uint64_t end) noexcept {
    try {
      cut_off(end);
    } catch (const std::exception&) {
    }
  }

  void cut_off(std::uint64_t end) {
    if (const std::error_code error =
            file_calls::uninterrupted([&] { return file_.file_system().truncate(file_.get(), end); })) {
      file_errors::fail("cut the log off at byte " + std::to_string(end), path_, error);
    }
  }

  static std::span<const std::byte> zeros() noexcept {
    // Not const: a constant would take space in the program's file. Nothing writes to it, so its pages take no memory.
    alignas(direct_block_bytes) static std::array<std::byte, std::size_t{256} * 1024> bytes{};
    return bytes;
  }

  void write_through(std::uint64_t offset, std::span<const std::byte> bytes) {
    file_.write_all(offset, bytes, "the log", path_);
  }

  [[nodiscard]] std::size_t read_at(std::uint64_t offset, std::span<std::byte> into) {
    const auto [count, error] = file_.read_at(offset, into);
    if (error || count == 0) {
      file_errors::fail("read the log's last block at byte " + std::to_string(offset), path_,
                        error ? error : std::make_error_code(std::errc::io_error));
    }
    return count;
  }

  FileHandle<F> file_;
  std::filesystem::path path_;
  std::uint64_t end_;  // the end of what was appended
  DirectMode direct_;
  SpaceAhead space_;
  BlockAppender blocks_;
  bool usable_ = true;
};

}  // namespace iqdb
