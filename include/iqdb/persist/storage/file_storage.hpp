// BasicFileStorage: Storage on files, over any FileSystem. The order of write, sync and rename is here.
//
// Beside a snapshot `name` lie `name.lock`, held by whoever writes and never removed, and for the time of a save
// `name.tmp`. Invariants: `name` is at every moment a whole file or absent; `name.tmp` is created and removed only
// under the lock, so a stale one is of a process that is gone.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/persist/bytes/aligned_buffer.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/storage/block_appender.hpp"
#include "iqdb/persist/storage/file_system.hpp"
#include "iqdb/persist/storage/posix_file_system.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// How files are written.
struct FileStorageOptions {
  /// Whether large pieces of a snapshot, and a log that is synced with every write, go past the system's page cache
  /// where the file system can do that: a copy less, and a sync has only to flush the disk. Elsewhere they go through
  /// it.
  bool direct_io = true;
};

/// Storage on the files of a FileSystem.
template <FileSystem F = NativeFileSystem>
class BasicFileStorage {
 public:
  class File;
  class Lock;
  class Log;
  class Replacement;

  BasicFileStorage() = default;

  explicit BasicFileStorage(FileStorageOptions options) : options_(options) {}

  /// On `file_system`, of which copies are made.
  explicit BasicFileStorage(F file_system, FileStorageOptions options = {})
      : fs_(std::move(file_system)), options_(options) {}

  /// The absolute name behind symbolic links. Throws PersistError io for a circle of links.
  [[nodiscard]] std::filesystem::path resolve(const std::filesystem::path& path) {
    auto [name, error] = retried([&] { return fs_.resolve(path); });
    if (error) {
      fail("find out what the path leads to", path, error);
    }
    return std::move(name);
  }

  /// Opens a file for reading; nothing where there is none. Throws PersistError io.
  [[nodiscard]] std::optional<File> open(const std::filesystem::path& path) {
    auto [handle, error] = retried([&] { return fs_.open(path, OpenMode::read, 0); });
    if (error == std::errc::no_such_file_or_directory) {
      return std::nullopt;
    }
    if (error) {
      fail("open the file for reading", path, error);
    }
    OwnedHandle owned(fs_, handle);
    const auto [status, status_error] = retried([&] { return fs_.status(owned.get()); });
    if (status_error) {
      fail("find out the file's size", path, status_error);
    }
    require_regular(status, path);
    return File(std::move(owned), path, status.size);
  }

  /// Locks `path`: waits for another holder as long as `patience`, then throws PersistError locked. Throws io where the
  /// lock file beside it cannot be made.
  [[nodiscard]] Lock lock(const std::filesystem::path& path, std::chrono::milliseconds patience) {
    if (const auto [status, error] = retried([&] { return fs_.status(path); }); !error) {
      require_regular(status, path);
    }
    const std::filesystem::path lock_path = beside(path, ".lock");
    const auto deadline = std::chrono::steady_clock::now() + patience;
    std::chrono::milliseconds pause{1};
    for (;;) {
      const auto [handle, error] = retried([&] { return fs_.lock(lock_path); });
      if (!error) {
        return Lock(fs_, handle);
      }
      if (error != std::errc::operation_would_block) {
        fail("lock it by '" + lock_path.string() + "'", path, error);
      }
      if (std::chrono::steady_clock::now() >= deadline) {
        throw_persist_error(PersistErrorKind::locked,
                            "another thread or process holds '" + lock_path.string() + "' (waited for " +
                                std::to_string(patience.count()) + " ms); wait until it is done, or find it with fuser",
                            {.path = path, .code = {}, .offset = {}});
      }
      std::this_thread::sleep_for(pause);
      pause = std::min(pause * 2, std::chrono::milliseconds{50});
    }
  }

  /// Begins to replace `path`, or to create it. A temporary file that a dead process left is removed first. The new
  /// file gets owner and permissions of the one it replaces. Throws PersistError io.
  [[nodiscard]] Replacement replace(const std::filesystem::path& path, const Lock& /*held*/) {
    const auto [old_status, old_error] = retried([&] { return fs_.status(path); });
    const bool replaces = !old_error;
    if (old_error && old_error != std::errc::no_such_file_or_directory) {
      fail("look at the file to be replaced", path, old_error);
    }
    if (replaces) {
      require_regular(old_status, path);
    }
    // Opened before anything is written: a directory that cannot be synced must be found out before the rename.
    OwnedHandle directory = open_directory(path);
    std::filesystem::path temporary = beside(path, ".tmp");
    const std::error_code stale = uninterrupted([&] { return fs_.remove(temporary); });
    if (stale && stale != std::errc::no_such_file_or_directory) {
      fail("remove the stale temporary file '" + temporary.string() + "'", path, stale);
    }
    constexpr std::uint32_t everyone = 0666;
    const std::uint32_t permissions = replaces ? old_status.permissions : everyone;
    std::filesystem::path name = path;  // copied before there is a file that nothing owns yet
    const auto [handle, error] = retried([&] { return fs_.open(temporary, OpenMode::create_new, permissions); });
    if (error) {
      fail("create the temporary file '" + temporary.string() + "'", path, error);
    }
    Replacement replacement(OwnedHandle(fs_, handle), std::move(directory), std::move(name), std::move(temporary),
                            options_);
    if (replaces) {
      replacement.resemble(old_status);
    }
    return replacement;
  }

  /// Removes `path` durably; nothing happens where it is not there. Throws PersistError io.
  void remove(const std::filesystem::path& path, const Lock& /*held*/) {
    const OwnedHandle directory = open_directory(path);
    const std::error_code error = uninterrupted([&] { return fs_.remove(path); });
    if (error == std::errc::no_such_file_or_directory) {
      return;
    }
    if (error) {
      fail("remove the file", path, error);
    }
    // Without it a crash could bring the file back after what relies on its absence was written.
    sync_directory(fs_, directory, path);
  }

  /// Goes on writing a file that was renamed into place, as a log.
  [[nodiscard]] Log open_log(Replacement&& replacement, LogSync synced) {
    replacement.direct_.turn_off(replacement.file_);
    return Log(std::move(replacement.file_), std::move(replacement.path_),
               {.direct_io = options_.direct_io && synced == LogSync::every_write});
  }

  /// A number for a new log file that no other has.
  [[nodiscard]] std::uint64_t new_log_id() { return fs_.random(); }

  /// Makes the bytes of a file durable, whoever wrote them; nothing happens where there is none. Throws PersistError
  /// io.
  void sync(const std::filesystem::path& path) {
    if (std::optional<File> file = open(path)) {
      if (const std::error_code error = uninterrupted([&] { return fs_.sync(file->handle_.get()); })) {
        fail("sync the file", path, error);
      }
    }
  }

  /// Makes durable which files lie beside `path`. Throws PersistError io.
  void sync_directory(const std::filesystem::path& path) { sync_directory(fs_, open_directory(path), path); }

  /// Gives the file at `path` the second name `aside`, in place of what had it; where the file system knows no second
  /// names, makes a copy. Durable with the next sync of the directory. Throws PersistError io.
  void keep(const std::filesystem::path& path, const std::filesystem::path& aside, const Lock& lock) {
    if (const std::error_code error = uninterrupted([&] { return fs_.remove(aside); });
        error && error != std::errc::no_such_file_or_directory) {
      fail("remove the older '" + aside.string() + "'", path, error);
    }
    if (!uninterrupted([&] { return fs_.link(path, aside); })) {
      return;
    }
    std::optional<File> file = open(path);
    Replacement copy = replace(aside, lock);
    constexpr std::size_t piece_bytes = std::size_t{64} * 1024;
    std::vector<std::byte> piece(piece_bytes);
    for (std::uint64_t offset = 0; file && offset < file->size();) {
      const std::size_t count = file->read_at(offset, piece);
      copy.append(std::span<const std::byte>(piece).first(count));
      offset += count;
    }
    put_in_place(copy);
  }

 private:
  // An open file, closed when it goes.
  class OwnedHandle {
   public:
    OwnedHandle(F& fs, typename F::Handle handle) : fs_(fs), handle_(handle) {}
    OwnedHandle(OwnedHandle&& other) noexcept
        : fs_(std::move(other.fs_)), handle_(std::exchange(other.handle_, std::nullopt)) {}
    OwnedHandle& operator=(OwnedHandle&& other) noexcept {
      if (this != &other) {
        close();
        fs_ = other.fs_;
        handle_ = std::exchange(other.handle_, std::nullopt);
      }
      return *this;
    }
    OwnedHandle(const OwnedHandle&) = delete;
    OwnedHandle& operator=(const OwnedHandle&) = delete;
    ~OwnedHandle() { close(); }

    std::error_code close() noexcept {
      return handle_ ? fs_.close(*std::exchange(handle_, std::nullopt)) : std::error_code();
    }
    [[nodiscard]] typename F::Handle get() const noexcept { return *handle_; }
    [[nodiscard]] bool is_open() const noexcept { return handle_.has_value(); }
    [[nodiscard]] F& file_system() noexcept { return fs_; }

   private:
    F fs_;
    std::optional<typename F::Handle> handle_;
  };

  // Whether writes to a file go past the page cache.
  class DirectMode {
   public:
    explicit DirectMode(FileStorageOptions options) : possible_(options.direct_io) {}

    // False where the file system refuses, from then on without asking it.
    [[nodiscard]] bool turn_on(OwnedHandle& file) {
      if (possible_ && !on_) {
        possible_ = on_ = !uninterrupted([&] { return file.file_system().set_direct(file.get(), true); });
      }
      return on_;
    }

    void turn_off(OwnedHandle& file) {
      if (on_) {
        std::ignore = uninterrupted([&] { return file.file_system().set_direct(file.get(), false); });
        on_ = false;
      }
    }

    // Makes direct writes; false where the file system refuses them, and with them all later ones.
    template <class Write>
    [[nodiscard]] bool try_to(OwnedHandle& file, Write&& write) {
      if (!turn_on(file)) {
        return false;
      }
      try {
        std::forward<Write>(write)();
        return true;
      } catch (const PersistError& error) {
        if (error.code() != std::errc::invalid_argument) {
          throw;
        }
        turn_off(file);
        possible_ = false;
        return false;
      }
    }

   private:
    bool possible_;
    bool on_ = false;
  };

  // Makes a call that may be interrupted until it is not.
  template <class Call>
  static auto retried(Call&& call) {
    for (;;) {
      auto result = call();
      if (result.error != std::errc::interrupted) {
        return result;
      }
    }
  }

  // The same for calls that answer with an error only. An interrupted sync has dropped nothing; any other failure of
  // one must never be tried again, since the system may have dropped the pages and would report success.
  template <class Call>
  static std::error_code uninterrupted(Call&& call) {
    for (;;) {
      if (const std::error_code error = call(); error != std::errc::interrupted) {
        return error;
      }
    }
  }

  // Writes all of `bytes`; `what` names the file in messages.
  static void write_all(OwnedHandle& file, std::uint64_t offset, std::span<const std::byte> bytes,
                        std::string_view what, const std::filesystem::path& path) {
    while (!bytes.empty()) {
      const auto [count, error] = retried([&] { return file.file_system().write_at(file.get(), offset, bytes); });
      if (error || count == 0) {
        fail("write " + std::string(what) + " at byte " + std::to_string(offset), path,
             error ? error : std::make_error_code(std::errc::io_error));
      }
      offset += count;
      bytes = bytes.subspan(count);
    }
  }

  static void sync_directory(F& fs, const OwnedHandle& directory, const std::filesystem::path& path) {
    const std::error_code error = uninterrupted([&] { return fs.sync(directory.get()); });
    // A file system that answers so has no such thing as a directory to be synced.
    if (error && error != std::errc::invalid_argument && error != std::errc::not_supported) {
      fail("sync its directory", path, error);
    }
  }

  [[nodiscard]] OwnedHandle open_directory(const std::filesystem::path& path) {
    const auto [handle, error] = retried([&] { return fs_.open(path.parent_path(), OpenMode::directory, 0); });
    if (error) {
      fail("open its directory", path, error);
    }
    return OwnedHandle(fs_, handle);
  }

  static std::filesystem::path beside(std::filesystem::path path, std::string_view ending) {
    path += ending;
    return path;
  }

  static void require_regular(const FileStatus& status, const std::filesystem::path& path) {
    if (!status.regular) {
      fail("use it as a file", path,
           std::make_error_code(status.directory ? std::errc::is_a_directory : std::errc::invalid_argument),
           "it is not a regular file; choose another path");
    }
  }

  [[noreturn, gnu::cold, gnu::noinline]] static void fail(const std::string& action, const std::filesystem::path& path,
                                                          std::error_code code, std::string_view advice = {}) {
    throw_persist_error(PersistErrorKind::io,
                        "cannot " + action + " (" + std::string(advice.empty() ? advice_for(code) : advice) + ")",
                        {.path = path, .code = code, .offset = {}});
  }

  static std::string_view advice_for(std::error_code code) noexcept {
    if (code == std::errc::no_space_on_device || code == std::errc::file_too_large || code.value() == EDQUOT) {
      return "the disk, a quota or the limit on file sizes is exhausted; make room and try again";
    }
    if (code == std::errc::no_such_file_or_directory || code == std::errc::not_a_directory) {
      return "its directory does not exist; create it first";
    }
    if (code == std::errc::permission_denied || code == std::errc::operation_not_permitted ||
        code == std::errc::read_only_file_system) {
      return "this user may not do that there; check the permissions of the file and of its directory";
    }
    if (code == std::errc::too_many_files_open || code == std::errc::too_many_files_open_in_system) {
      return "too many files are open; close some or raise the limit";
    }
    if (code == std::errc::filename_too_long) {
      return "the name is too long; choose a shorter one";
    }
    return "check the disk and its file system";
  }

  F fs_;
  FileStorageOptions options_;
};

/// A file opened for reading.
template <FileSystem F>
class BasicFileStorage<F>::File {
 public:
  /// The size it had when it was opened, in bytes.
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }

  /// Fills the beginning of `into` with what stands at `offset`; returns how many bytes, at least 1 before the end.
  /// Throws PersistError io, also where the file became shorter than it was when it was opened.
  [[nodiscard]] std::size_t read_at(std::uint64_t offset, std::span<std::byte> into) {
    const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), size_ - std::min(offset, size_)));
    if (wanted == 0) {
      return 0;
    }
    const auto [count, error] =
        retried([&] { return handle_.file_system().read_at(handle_.get(), offset, into.first(wanted)); });
    if (error) {
      fail("read the file at byte " + std::to_string(offset), path_, error);
    }
    if (count == 0) {
      fail("read the file at byte " + std::to_string(offset), path_, std::make_error_code(std::errc::io_error),
           "it became shorter while it was read; something else writes to it");
    }
    return count;
  }

 private:
  friend BasicFileStorage;
  File(OwnedHandle handle, std::filesystem::path path, std::uint64_t size)
      : handle_(std::move(handle)), path_(std::move(path)), size_(size) {}

  OwnedHandle handle_;
  std::filesystem::path path_;
  std::uint64_t size_;
};

/// Keeps other writers out as long as it lives.
template <FileSystem F>
class BasicFileStorage<F>::Lock {
 public:
  Lock(Lock&& other) noexcept
      : fs_(std::move(other.fs_)), handle_(std::exchange(other.handle_, std::nullopt)), process_(other.process_) {}
  Lock& operator=(Lock&& other) noexcept {
    if (this != &other) {
      release();
      fs_ = other.fs_;
      handle_ = std::exchange(other.handle_, std::nullopt);
      process_ = other.process_;
    }
    return *this;
  }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;
  ~Lock() { release(); }

  /// Whether it came with a fork. It is then the parent's: giving it back here would take it from the parent.
  [[nodiscard]] bool inherited() const noexcept { return fs_.process() != process_; }

 private:
  friend BasicFileStorage;
  Lock(F& fs, typename F::Handle handle) : fs_(fs), handle_(handle), process_(fs.process()) {}

  void release() noexcept {
    if (!handle_) {
      return;
    }
    const typename F::Handle handle = *std::exchange(handle_, std::nullopt);
    if (inherited()) {
      std::ignore = fs_.close(handle);
    } else {
      fs_.unlock(handle);
    }
  }

  F fs_;
  std::optional<typename F::Handle> handle_;
  std::int64_t process_;  // which took it
};

/// A log opened for appending.
template <FileSystem F>
class BasicFileStorage<F>::Log {
 public:
  /// Writes `bytes` at `offset`. Throws PersistError io; some of them may then stand there.
  void write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
    const auto read = [this](std::uint64_t from, std::span<std::byte> into) { return read_at(from, into); };
    const auto write = [this](std::uint64_t to, std::span<const std::byte> blocks) { write_through(to, blocks); };
    if (!direct_.try_to(file_, [&] { blocks_.write(offset, bytes, read, write); })) {
      write_through(offset, bytes);
    }
  }

  /// Writes zeros from `offset` on to about as many bytes, behind everything written so far. Throws PersistError io.
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

  /// Cuts the file off at `offset`. Throws PersistError io.
  void truncate(std::uint64_t offset) {
    if (const std::error_code error =
            uninterrupted([&] { return file_.file_system().truncate(file_.get(), offset); })) {
      fail("cut the log off at byte " + std::to_string(offset), path_, error);
    }
  }

  /// Makes everything written durable. Throws PersistError io; it must then not be tried again.
  void sync() {
    if (const std::error_code error = uninterrupted([&] { return file_.file_system().sync_data(file_.get()); })) {
      fail("sync the log", path_, error);
    }
  }

 private:
  friend BasicFileStorage;
  Log(OwnedHandle file, std::filesystem::path path, FileStorageOptions options)
      : file_(std::move(file)), path_(std::move(path)), direct_(options) {}

  static std::span<const std::byte> zeros() noexcept {
    // Not constant: then it would be in the program's file. Nothing ever writes to it, so no page of it takes memory.
    alignas(direct_block_bytes) static std::array<std::byte, std::size_t{256} * 1024> bytes{};
    return bytes;
  }

  void write_through(std::uint64_t offset, std::span<const std::byte> bytes) {
    write_all(file_, offset, bytes, "the log", path_);
  }

  [[nodiscard]] std::size_t read_at(std::uint64_t offset, std::span<std::byte> into) {
    const auto [count, error] = retried([&] { return file_.file_system().read_at(file_.get(), offset, into); });
    if (error || count == 0) {
      fail("read the log's last block at byte " + std::to_string(offset), path_,
           error ? error : std::make_error_code(std::errc::io_error));
    }
    return count;
  }

  OwnedHandle file_;
  std::filesystem::path path_;
  DirectMode direct_;
  BlockAppender blocks_;
};

/// A temporary file that takes the place of another when it is committed, and is removed if it never is.
template <FileSystem F>
class BasicFileStorage<F>::Replacement {
 public:
  Replacement(Replacement&&) noexcept = default;
  Replacement& operator=(Replacement&&) = delete;
  Replacement(const Replacement&) = delete;
  Replacement& operator=(const Replacement&) = delete;
  ~Replacement() {
    if (file_.is_open() && !renamed_) {
      std::ignore = uninterrupted([&] { return file_.file_system().remove(temporary_); });
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
    if (const std::error_code error = uninterrupted([&] { return file_.file_system().sync(file_.get()); })) {
      fail("sync the temporary file '" + temporary_.string() + "'", path_, error);
    }
  }

  /// Gives the file the old one's name. Throws PersistError io; the old file stands.
  void rename() {
    if (const std::error_code error = uninterrupted([&] { return file_.file_system().rename(temporary_, path_); })) {
      fail("rename the temporary file '" + temporary_.string() + "' into place", path_, error);
    }
    renamed_ = true;
  }

  /// Makes the new name durable. Throws PersistError io; the new file is then there, but may not survive a crash.
  void sync_directory() { BasicFileStorage::sync_directory(file_.file_system(), directory_, path_); }

 private:
  friend BasicFileStorage;

  // Below that the page cache costs less than the device's latency.
  static constexpr std::size_t least_direct_bytes = std::size_t{128} * 1024;

  // How much may wait in the page cache before its writing is started: the more, the longer the final sync; the less,
  // the smaller the device's writes.
  static constexpr std::uint64_t write_back_bytes = std::uint64_t{8} * 1024 * 1024;

  Replacement(OwnedHandle file, OwnedHandle directory, std::filesystem::path path, std::filesystem::path temporary,
              FileStorageOptions options)
      : file_(std::move(file)),
        directory_(std::move(directory)),
        path_(std::move(path)),
        temporary_(std::move(temporary)),
        direct_(options) {}

  void write_through(std::uint64_t offset, std::span<const std::byte> bytes) {
    write_all(file_, offset, bytes, "the temporary file", path_);
  }

  // Takes over owner, group and permissions. Only the superuser may give files away: for others the owner stays theirs,
  // as it does with any program that writes a file anew. Where the group cannot be kept, the one that the file now has
  // may do what everybody may: the rights of the old group were not meant for it.
  void resemble(FileStatus old) {
    F& fs = file_.file_system();
    if (uninterrupted([&] { return fs.set_owner(file_.get(), old); }) &&
        uninterrupted([&] { return fs.set_group(file_.get(), old); })) {
      constexpr std::uint32_t group_bits = 0070;
      constexpr std::uint32_t all_but_group = ~group_bits;
      old.permissions &= all_but_group | (old.permissions << 3U);
    }
    if (const std::error_code error = uninterrupted([&] { return fs.set_permissions(file_.get(), old); })) {
      fail("give the temporary file '" + temporary_.string() + "' the permissions of the old one", path_, error);
    }
  }

  OwnedHandle file_;
  OwnedHandle directory_;
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  DirectMode direct_;
  std::uint64_t size_ = 0;
  std::uint64_t write_back_begin_ = 0;  // up to here the system was told to begin writing
  bool renamed_ = false;
};

/// Storage on the files of this system.
using FileStorage = BasicFileStorage<>;

static_assert(Storage<FileStorage>);

}  // namespace iqdb
