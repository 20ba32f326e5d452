// A log in a file: appends that are whole or undone, zeros ahead of its end, whole blocks where direct I/O asks for them.
//
// Invariants: behind the end of what was appended stand zeros, or the file ends. A failed append is cut back to where it
// began; the log cannot be used any more where that fails.
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

/// A log file opened for appending: see LogFile for what it promises, and for its rules of threads.
template <FileSystem F>
class FileLog {
 public:
  /// Goes on behind the `size` bytes of a file that was opened for reading and writing. `path` names it in messages.
  /// With `direct_io` its writes go past the page cache where the file system can do that. Up to `extent_bytes` zeros
  /// are written ahead.
  FileLog(FileHandle<F> file, std::filesystem::path path, std::uint64_t size, bool direct_io, std::size_t extent_bytes)
      : file_(std::move(file)), path_(std::move(path)), end_(size), direct_(direct_io), space_(extent_bytes, size) {}

  /// Appends `bytes`: whole, or not at all. Throws PersistError io; what was half written is then cut off, durably with
  /// the next sync(), or usable() is false.
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

  /// Makes everything appended durable, and what was cut off. Throws PersistError io; it must then not be tried again.
  void sync() {
    if (const std::error_code error =
            file_calls::uninterrupted([&] { return file_.file_system().sync_data(file_.get()); })) {
      file_errors::fail("sync the log", path_, error);
    }
  }

  /// Appends the last bytes that the log ever gets, gives back the space ahead, and syncs. Throws PersistError io; the
  /// bytes are then cut off again, if the file system still does that.
  void finish(std::span<const std::byte> bytes) {
    const std::uint64_t begin = end_;
    space_.stop();
    append(bytes);
    // That the space ahead cannot be given back is no harm.
    cut_off_if_possible(end_);
    try {
      sync();
    } catch (...) {
      // Nobody knows whether these bytes are durable.
      cut_off_if_possible(begin);
      throw;
    }
  }

  /// False once an append has failed and could not be cut off: nothing may be appended any more.
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
      // Behind the bytes to come, which fill the space before that themselves.
      write_zeros(needed, *extent);
      space_.prepared_up_to(needed + *extent);
    } catch (const std::exception&) {
      // Only a convenience: the append itself will say whether the disk is full.
    }
  }

  // In whole blocks, where direct I/O asks for them: so about as many bytes.
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
    // Not constant: then it would be in the program's file. Nothing ever writes to it, so no page of it takes memory.
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
  std::uint64_t end_;  // of what was appended
  DirectMode direct_;
  SpaceAhead space_;
  BlockAppender blocks_;
  bool usable_ = true;
};

}  // namespace iqdb
