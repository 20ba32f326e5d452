// A temporary file, which replaces another file when it is renamed.
//
// Invariants: a temporary file that was not renamed is removed when the object is destroyed, but not by a forked child: its
// parent goes on with it. Nothing is replaced once the directory or the lock file was exchanged.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/persist/bytes/aligned_buffer.hpp"
#include "iqdb/persist/path_text.hpp"
#include "iqdb/persist/storage/direct_mode.hpp"
#include "iqdb/persist/storage/file_errors.hpp"
#include "iqdb/persist/storage/file_handle.hpp"
#include "iqdb/persist/storage/file_log.hpp"
#include "iqdb/persist/storage/file_rights.hpp"
#include "iqdb/persist/storage/file_system.hpp"
#include "iqdb/persist/storage/held_directory.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// The names of a temporary file. They are made before the file is: a copy that fails later would leave the file behind,
/// or stop between two renames that belong together.
struct TemporaryNames {
  /// The names of the file that will replace `replaced`. Throws std::bad_alloc.
  explicit TemporaryNames(const std::filesystem::path& replaced)
      : path(replaced), name(replaced.filename()), temporary(replaced) {
    temporary += ".tmp";
    temporary_name = temporary.filename();
  }

  std::filesystem::path path;            ///< the file that is replaced
  std::filesystem::path name;            ///< its name in its directory
  std::filesystem::path temporary;       ///< the new file
  std::filesystem::path temporary_name;  ///< its name in the directory
};

/// A new file under a temporary name: a FileReplacement. Used by one thread at a time.
template <FileSystem F>
class TemporaryFile {
 public:
  /// Owns `file`, which was created in `directory` under its temporary name, and gets the other by rename(). With
  /// `direct_io` large pieces bypass the page cache if the file system supports that.
  TemporaryFile(FileHandle<F> file, std::shared_ptr<HeldDirectory<F>> directory, TemporaryNames names,
                bool direct_io) noexcept
      : file_(std::move(file)), directory_(std::move(directory)), names_(std::move(names)), direct_(direct_io) {}
  TemporaryFile(TemporaryFile&&) noexcept = default;
  TemporaryFile& operator=(TemporaryFile&&) = delete;
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() {
    if (file_.is_open() && !renamed_ && !directory_->inherited()) {
      remove_if_own();
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

  /// Appends up to `count` bytes of another file, from the place at which this one ends. Copies them, or has the two files
  /// share them. Returns how many, 0 if the system cannot do that for these files: then append() can.
  [[nodiscard]] std::size_t append_from(const FileHandle<F>& other, std::size_t count) requires DuplicatesFiles<F> {
    direct_.turn_off(file_);
    const auto [copied, error] =
        file_calls::retried([&] { return fs().copy_range(other.get(), file_.get(), size_, count); });
    size_ += error ? 0 : copied;
    return error ? 0 : copied;
  }

  /// The descriptor by which a forked process writes the file, too.
  [[nodiscard]] int descriptor() const noexcept requires HasDescriptors<F> { return file_.get(); }

  /// Makes the bytes durable, under the temporary name. Throws PersistError io; the old file is then still in place.
  void sync() {
    if (const std::error_code error =
            file_calls::uninterrupted([&] { return file_.file_system().sync(file_.get()); })) {
      file_errors::fail("sync the temporary file '" + path_text(names_.temporary) + "'", names_.path, error);
    }
  }

  /// Gives the file the name of the old one. Throws PersistError io; the old file is then still in place, unless
  /// in_doubt().
  void rename() {
    directory_->require_unchanged(names_.path);
    if (const std::error_code error = file_calls::uninterrupted(
            [&] { return fs().rename(directory_->get(), names_.temporary_name, names_.name); })) {
      in_doubt_ = may_have_the_name();
      file_errors::fail("rename the temporary file '" + path_text(names_.temporary) + "' into place", names_.path,
                        error,
                        in_doubt_ ? "though the new file may be in place: a network file system may have done it; load "
                                    "the index again"
                                  : "");
    }
    renamed_ = true;
  }

  /// Whether rename() has failed, and the file may have got the name all the same.
  [[nodiscard]] bool in_doubt() const noexcept { return in_doubt_; }

  /// Makes the new name durable. Throws PersistError io; the new file is then there, but may not survive a crash.
  void sync_directory() { directory_->sync(names_.path); }

  /// Takes over the owner, the group, the access control list and the permissions of another file, as far as the system
  /// lets this user set them. Throws PersistError io if the permissions cannot be set for another reason.
  ///
  /// Only the superuser may change the owner of a file: another user owns the new file, as with any program that writes
  /// a file anew. If the group or the list cannot be kept, nobody gets a right that was not meant for them, see
  /// file_rights. A file system that refuses permissions leaves those with which the file was created, which are none
  /// too many.
  void resemble(const FileRights& other) {
    FileStatus wanted = other.status;
    const bool group_is_lost = file_calls::uninterrupted([&] { return fs().set_owner(file_.get(), wanted); }) &&
                               file_calls::uninterrupted([&] { return fs().set_group(file_.get(), wanted); });
    // A list names rights of the group too.
    if (!other.acl_known || (group_is_lost && !other.acl.empty()) || !take_over_acl(other.acl)) {
      wanted.permissions = file_rights::owner_only(wanted.permissions);
    } else if (group_is_lost) {
      wanted.permissions = file_rights::without_group(wanted.permissions);
    }
    const std::error_code error = file_calls::uninterrupted([&] { return fs().set_permissions(file_.get(), wanted); });
    if (error && !file_rights::means_refused(error)) {
      file_errors::fail("give the temporary file '" + path_text(names_.temporary) + "' the permissions of the old one",
                        names_.path, error);
    }
  }

  /// Returns a log that appends to the file, after rename(): see FileLog. Allocates no memory. This object can then
  /// only be destroyed.
  [[nodiscard]] FileLog<F> into_log(bool direct_io, std::size_t extent_bytes) && {
    direct_.turn_off(file_);
    return FileLog<F>(std::move(file_), std::move(names_.path), size_, direct_io, extent_bytes);
  }

 private:
  // For smaller writes the page cache costs less than the device's latency.
  static constexpr std::size_t least_direct_bytes = std::size_t{128} * 1024;

  // How much gathers in the page cache before the system is asked to write it. More makes the final sync longer, less
  // makes the device's writes smaller.
  static constexpr std::uint64_t write_back_bytes = std::uint64_t{8} * 1024 * 1024;

  [[nodiscard]] F& fs() noexcept { return directory_->file_system(); }

  void write_through(std::uint64_t offset, std::span<const std::byte> bytes) {
    file_.write_all(offset, bytes, "the temporary file", names_.path);
  }

  // Returns whether the file has this list now. A new file may have got one from its directory.
  bool take_over_acl(const std::vector<std::byte>& acl) {
    const auto [own, error] = file_calls::retried([&] { return fs().acl(directory_->get(), names_.temporary_name); });
    return (!error && own == acl) || !file_calls::uninterrupted([&] { return fs().set_acl(file_.get(), acl); });
  }

  // Opens the name: a network file system may answer a mere question about it from its memory.
  bool may_have_the_name() {
    const auto [handle, error] =
        file_calls::retried([&] { return fs().open(directory_->get(), names_.name, OpenMode::read, 0); });
    if (error) {
      return error != std::errc::no_such_file_or_directory;
    }
    FileHandle<F> named(fs(), handle);
    const auto [there, unknown] = file_calls::retried([&] { return fs().status(named.get()); });
    const auto [own, own_unknown] = file_calls::retried([&] { return fs().status(file_.get()); });
    return unknown || own_unknown || there.identity == own.identity;
  }

  // If the lock file was exchanged, the name may be that of another process's file by now.
  void remove_if_own() noexcept {
    const std::filesystem::path& name = names_.temporary_name;
    const auto [there, unknown] = file_calls::retried([&] { return fs().status(directory_->get(), name); });
    const auto [own, own_unknown] = file_calls::retried([&] { return fs().status(file_.get()); });
    if (!unknown && !own_unknown && there.identity == own.identity) {
      std::ignore = file_calls::uninterrupted([&] { return fs().remove(directory_->get(), name); });
    }
  }

  FileHandle<F> file_;
  std::shared_ptr<HeldDirectory<F>> directory_;
  TemporaryNames names_;
  DirectMode direct_;
  std::uint64_t size_ = 0;
  std::uint64_t write_back_begin_ = 0;  // up to here the system was asked to start writing
  bool renamed_ = false;
  bool in_doubt_ = false;
};

}  // namespace iqdb
