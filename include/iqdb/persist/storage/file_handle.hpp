// An open file that closes itself, and the loops around calls that the system may interrupt or cut short.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "iqdb/persist/storage/file_errors.hpp"
#include "iqdb/persist/storage/file_system.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace file_calls {

// Repeats a call for as long as a signal interrupts it.
template <class Call>
auto retried(Call&& call) {
  for (;;) {
    auto result = call();
    if (result.error != std::errc::interrupted) {
      return result;
    }
  }
}

// The same for calls that return only an error. An interrupted sync has dropped nothing. After any other failure a sync
// must never be repeated: the system may have dropped the pages and would report success.
template <class Call>
std::error_code uninterrupted(Call&& call) {
  for (;;) {
    if (const std::error_code error = call(); error != std::errc::interrupted) {
      return error;
    }
  }
}

}  // namespace file_calls

/// An open file or directory of a FileSystem, which the destructor closes. Movable, not copyable. One thread uses it at
/// a time, but several may call read_at() at the same time.
template <FileSystem F>
class FileHandle {
 public:
  /// Owns `handle`, which `fs` opened. Keeps a copy of `fs`.
  FileHandle(F& fs, typename F::Handle handle) : fs_(fs), handle_(handle) {}
  FileHandle(FileHandle&& other) noexcept
      : fs_(std::move(other.fs_)), handle_(std::exchange(other.handle_, std::nullopt)) {}
  FileHandle& operator=(FileHandle&& other) noexcept {
    if (this != &other) {
      close();
      fs_ = other.fs_;
      handle_ = std::exchange(other.handle_, std::nullopt);
    }
    return *this;
  }
  FileHandle(const FileHandle&) = delete;
  FileHandle& operator=(const FileHandle&) = delete;
  ~FileHandle() { close(); }

  [[nodiscard]] typename F::Handle get() const noexcept { return *handle_; }
  [[nodiscard]] bool is_open() const noexcept { return handle_.has_value(); }
  [[nodiscard]] F& file_system() noexcept { return fs_; }

  /// Reads at `offset` into the beginning of `into`. Returns how many bytes, or the system's error.
  [[nodiscard]] SystemResult<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> into) {
    return file_calls::retried([&] { return fs_.read_at(get(), offset, into); });
  }

  /// Writes all of `bytes` at `offset`. Messages call the file `what` and state `path`. Throws PersistError io; some of
  /// the bytes may then be written.
  void write_all(std::uint64_t offset, std::span<const std::byte> bytes, std::string_view what,
                 const std::filesystem::path& path) {
    while (!bytes.empty()) {
      const auto [count, error] = file_calls::retried([&] { return fs_.write_at(get(), offset, bytes); });
      if (error || count == 0) {
        file_errors::fail("write " + std::string(what) + " at byte " + std::to_string(offset), path,
                          error ? error : std::make_error_code(std::errc::io_error));
      }
      offset += count;
      bytes = bytes.subspan(count);
    }
  }

  /// Makes a directory's entries durable. Does nothing if the file system cannot sync a directory. A message names
  /// `path`, a file in the directory. Throws PersistError io.
  void sync_directory(const std::filesystem::path& path) {
    const std::error_code error = file_calls::uninterrupted([&] { return fs_.sync(get()); });
    if (error && error != std::errc::invalid_argument && error != std::errc::not_supported) {
      file_errors::fail("sync its directory", path, error);
    }
  }

 private:
  void close() noexcept {
    if (handle_) {
      fs_.close(*std::exchange(handle_, std::nullopt));
    }
  }

  F fs_;
  std::optional<typename F::Handle> handle_;
};

}  // namespace iqdb
