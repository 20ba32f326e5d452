// A temporary file, which replaces another file when it is renamed.
//
// Invariant: a temporary file that was not renamed is removed when the object is destroyed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <system_error>
#include <tuple>
#include <utility>

#include "iqdb/persist/bytes/aligned_buffer.hpp"
#include "iqdb/persist/storage/direct_mode.hpp"
#include "iqdb/persist/storage/file_errors.hpp"
#include "iqdb/persist/storage/file_handle.hpp"
#include "iqdb/persist/storage/file_log.hpp"
#include "iqdb/persist/storage/file_system.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// A new file under a temporary name: a FileReplacement. Used by one thread at a time.
template <FileSystem F>
class TemporaryFile {
 public:
  /// Owns `file`, which was created as `temporary` in `directory` and gets the name `path` by rename(). With
  /// `direct_io` large pieces bypass the page cache if the file system supports that.
  TemporaryFile(FileHandle<F> file, FileHandle<F> directory, std::filesystem::path path,
                std::filesystem::path temporary, bool direct_io)
      : file_(std::move(file)),
        directory_(std::move(directory)),
        path_(std::move(path)),
        temporary_(std::move(temporary)),
        direct_(direct_io) {}
  TemporaryFile(TemporaryFile&&) noexcept = default;
  TemporaryFile& operator=(TemporaryFile&&) = delete;
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() {
    if (file_.is_open() && !renamed_) {
      std::ignore = file_calls::uninterrupted([&] { return file_.file_system().remove(temporary_); });
    }
  }

  /// Appends `bytes`. A large piece bypasses the page cache if it is aligned in memory and in the file. Throws
  /// PersistError io.
  void append(std::span<const std::byte> bytes) {
    const bool may_be_direct = bytes.size() >= least_direct_bytes && is_block_aligned(size_, bytes);
    if (!may_be_direct || !direct_.try_to(file_, [&] { write_through(size_, bytes); })) {
      overwrite(size_, bytes);
    }
    size_ += bytes.size();
    if (size_ - write_back_begin_ >= write_back_bytes) {
      file_.file_system().start_write_back(file_.get(), write_back_begin_,
                                           static_cast<std::size_t>(size_ - write_back_begin_));
      write_back_begin_ = size_;
    }
  }

  /// Overwrites the file at `offset` with `bytes`. Throws PersistError io.
  void overwrite(std::uint64_t offset, std::span<const std::byte> bytes) {
    direct_.turn_off(file_);
    write_through(offset, bytes);
  }

  /// Makes the bytes durable, under the temporary name. Throws PersistError io; the old file is then still in place.
  void sync() {
    if (const std::error_code error =
            file_calls::uninterrupted([&] { return file_.file_system().sync(file_.get()); })) {
      file_errors::fail("sync the temporary file '" + temporary_.string() + "'", path_, error);
    }
  }

  /// Gives the file the name of the old one. Throws PersistError io; the old file is then still in place.
  void rename() {
    if (const std::error_code error =
            file_calls::uninterrupted([&] { return file_.file_system().rename(temporary_, path_); })) {
      file_errors::fail("rename the temporary file '" + temporary_.string() + "' into place", path_, error);
    }
    renamed_ = true;
  }

  /// Makes the new name durable. Throws PersistError io; the new file is then there, but may not survive a crash.
  void sync_directory() { directory_.sync_directory(path_); }

  /// Copies the owner, group and permissions of the file that it replaces. Throws PersistError io if the permissions
  /// cannot be set.
  ///
  /// Only the superuser may change the owner of a file: another user owns the new file, as with any program that writes
  /// a file anew. If the group cannot be kept, the file's present group gets no right that is not everybody's: the
  /// rights of the old group were not meant for it.
  void resemble(FileStatus old) {
    F& fs = file_.file_system();
    if (file_calls::uninterrupted([&] { return fs.set_owner(file_.get(), old); }) &&
        file_calls::uninterrupted([&] { return fs.set_group(file_.get(), old); })) {
      constexpr std::uint32_t group_bits = 0070;
      constexpr std::uint32_t all_but_group = ~group_bits;
      old.permissions &= all_but_group | (old.permissions << 3U);
    }
    if (const std::error_code error = file_calls::uninterrupted([&] { return fs.set_permissions(file_.get(), old); })) {
      file_errors::fail("give the temporary file '" + temporary_.string() + "' the permissions of the old one", path_,
                        error);
    }
  }

  /// Returns a log that appends to the file, after rename(): see FileLog. Allocates no memory. This object can then
  /// only be destroyed.
  [[nodiscard]] FileLog<F> into_log(bool direct_io, std::size_t extent_bytes) && {
    direct_.turn_off(file_);
    return FileLog<F>(std::move(file_), std::move(path_), size_, direct_io, extent_bytes);
  }

 private:
  // For smaller writes the page cache costs less than the device's latency.
  static constexpr std::size_t least_direct_bytes = std::size_t{128} * 1024;

  // How much gathers in the page cache before the system is asked to write it. More makes the final sync longer, less
  // makes the device's writes smaller.
  static constexpr std::uint64_t write_back_bytes = std::uint64_t{8} * 1024 * 1024;

  void write_through(std::uint64_t offset, std::span<const std::byte> bytes) {
    file_.write_all(offset, bytes, "the temporary file", path_);
  }

  FileHandle<F> file_;
  FileHandle<F> directory_;
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  DirectMode direct_;
  std::uint64_t size_ = 0;
  std::uint64_t write_back_begin_ = 0;  // up to here the system was asked to start writing
  bool renamed_ = false;
};

}  // namespace iqdb
