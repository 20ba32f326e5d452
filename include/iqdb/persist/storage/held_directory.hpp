// The directory of a locked file, held open for as long as the lock is held.
//
// Invariant: what is done under a lock is done in the directory in which the lock was taken, whatever its name leads to
// by then. Nothing in place is replaced or removed once the directory or the lock file was exchanged: another process may
// then hold the lock that counts. Nor in a forked child: the lock is its parent's.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/path_text.hpp"
#include "iqdb/persist/process_mark.hpp"
#include "iqdb/persist/storage/file_errors.hpp"
#include "iqdb/persist/storage/file_handle.hpp"
#include "iqdb/persist/storage/file_system.hpp"
#include "iqdb/persist/storage/system_codes.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// An open directory, and the lock file in it. A lock and the files that are written under it share it. One thread uses
/// it at a time.
template <FileSystem F>
class HeldDirectory {
 public:
  /// Opens the directory of `path`, the file that will be locked. Keeps a copy of `fs`. Throws PersistError io.
  HeldDirectory(F& fs, const std::filesystem::path& path)
      : directory_(opened(fs, path)),
        path_(path),
        directory_path_(path.parent_path()),
        lock_name_(path.filename()),
        process_(directory_.file_system().process()) {
    lock_name_ += ".lock";
    lock_path_ = directory_path_ / lock_name_;
  }

  [[nodiscard]] typename F::Handle get() const noexcept { return directory_.get(); }
  [[nodiscard]] F& file_system() noexcept { return directory_.file_system(); }

  /// The file that the lock is for.
  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }

  /// The name of the lock file in the directory.
  [[nodiscard]] const std::filesystem::path& lock_name() const noexcept { return lock_name_; }

  /// The lock file with its directory, for messages.
  [[nodiscard]] const std::filesystem::path& lock_path() const noexcept { return lock_path_; }

  /// Remembers that `lock`, an open file, is the lock file that is locked. Throws PersistError io, also if that file has
  /// lost its name meanwhile.
  void locked_by(typename F::Handle lock) {
    lock_ = status("look at the lock file", path_, [&] { return file_system().status(lock); });
    own_ = status("look at its directory", path_, [&] { return file_system().status(get()); });
    require_unchanged(path_);
  }

  /// Whether this process is a fork of the one that opened the directory. Then the files are the parent's to change.
  [[nodiscard]] bool inherited() noexcept { return file_system().process() != process_; }

  /// Throws PersistError poisoned if inherited(), as in a callback that has forked and returned; io, with code ESTALE, if the
  /// directory's name leads elsewhere by now, or the name of the lock file does. `path` is the file that is about to be
  /// changed. Allocates memory only for the exception: between two renames that belong together nothing may fail that can be
  /// avoided.
  void require_unchanged(const std::filesystem::path& path) {
    if (inherited()) {
      throw_forked();
    }
    require_same(path, own_, directory_path_, [&](F& fs) { return fs.status(directory_path_); });
    require_same(path, lock_, lock_path_, [&](F& fs) { return fs.status(get(), lock_name_); });
  }

  /// Makes the directory's entries durable. A message names `path`, a file in it. Throws PersistError io.
  void sync(const std::filesystem::path& path) { directory_.sync_directory(path); }

 private:
  static FileHandle<F> opened(F& fs, const std::filesystem::path& path) {
    const auto [handle, error] =
        file_calls::retried([&] { return fs.open(path.parent_path(), OpenMode::directory, 0); });
    if (error) {
      file_errors::fail("open its directory", path, error);
    }
    return FileHandle<F>(fs, handle);
  }

  template <class Call>
  static FileIdentity status(const std::string& action, const std::filesystem::path& path, Call&& call) {
    const auto [status, error] = file_calls::retried(std::forward<Call>(call));
    if (error) {
      file_errors::fail(action, path, error);
    }
    return status.identity;
  }

  template <class Call>
  void require_same(const std::filesystem::path& path, const FileIdentity& expected, const std::filesystem::path& name,
                    Call&& call) {
    const auto [status, error] = file_calls::retried([&] { return call(file_system()); });
    const bool is_gone = error == std::errc::no_such_file_or_directory || error == std::errc::not_a_directory;
    if (error && !is_gone) {
      file_errors::fail("find out whether '" + path_text(name) + "' was replaced", path, error);
    }
    if (is_gone || status.identity != expected) {
      throw_persist_error(
          PersistErrorKind::io,
          "the directory or the lock file was replaced while the index was open: '" + path_text(name) +
              (is_gone ? "' does not exist any more" : "' is another one now") +
              "; nothing was changed; whoever opens this path meanwhile works on other files. Put back what was moved, "
              "and try again; or open the index where its files are now: what was logged is in the log there",
          {.path = path, .code = {system_codes::stale, std::system_category()}, .offset = {}});
    }
  }

  FileHandle<F> directory_;
  std::filesystem::path path_;
  std::filesystem::path directory_path_;
  std::filesystem::path lock_name_;
  std::filesystem::path lock_path_;
  FileIdentity own_;   // of the directory
  FileIdentity lock_;  // of the lock file that is locked
  std::int64_t process_;
};

}  // namespace iqdb
