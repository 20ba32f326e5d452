// A temporary file that takes the place of another when it is renamed, and is removed if it never is.
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
  /// Owns `file`, which was created as `temporary` in `directory` and is to get the name `path`. With `direct_io` large
  /// pieces go past the page cache where the file system can do that.
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

  /// Appends `bytes`. A large piece that is aligned, as its place in the file is, goes past the page cache. Throws
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

  /// Writes `bytes` over what stands at `offset`. Throws PersistError io.
  void overwrite(std::uint64_t offset, std::span<const std::byte> bytes) {
    direct_.turn_off(file_);
    write_through(offset, bytes);
  }

  /// Makes the bytes durable, under the temporary name. Throws PersistError io; the old file stands.
  void sync() {
    if (const std::error_code error =
            file_calls::uninterrupted([&] { return file_.file_system().sync(file_.get()); })) {
      file_errors::fail("sync the temporary file '" + temporary_.string() + "'", path_, error);
    }
  }

  /// Gives the file the old one's name. Throws PersistError io; the old file stands.
  void rename() {
    if (const std::error_code error =
            file_calls::uninterrupted([&] { return file_.file_system().rename(temporary_, path_); })) {
      file_errors::fail("rename the temporary file '" + temporary_.string() + "' into place", path_, error);
    }
    renamed_ = true;
  }

  /// Makes the new name durable. Throws PersistError io; the new file is then there, but may not survive a crash.
  void sync_directory() { directory_.sync_directory(path_); }

  /// Takes over owner, group and permissions of the file that it replaces. Throws PersistError io.
  ///
  /// Only the superuser may give files away: for others the owner stays theirs, as it does with any program that writes
  /// a file anew. Where the group cannot be kept, the group that the file has now may do what everybody may: the rights
  /// of the old group were not meant for it.
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

  /// Goes on with the file, once it was renamed, as a log: see FileLog. Needs no memory. This can then only be
  /// destroyed.
  [[nodiscard]] FileLog<F> into_log(bool direct_io, std::size_t extent_bytes) && {
    direct_.turn_off(file_);
    return FileLog<F>(std::move(file_), std::move(path_), size_, direct_io, extent_bytes);
  }

 private:
  // Below that the page cache costs less than the device's latency.
  static constexpr std::size_t least_direct_bytes = std::size_t{128} * 1024;

  // How much may wait in the page cache before its writing is started: the more, the longer the final sync; the less,
  // the smaller the device's writes.
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
  std::uint64_t write_back_begin_ = 0;  // up to here the system was told to begin writing
  bool renamed_ = false;
};

}  // namespace iqdb
