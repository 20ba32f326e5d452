// A file system on a block device of its own, whose power can be cut.
#pragma once

#include <fcntl.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

namespace iqdb_test {

/// Why power cannot be cut on this system.
class CannotCut : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A mounted file system. It is mounted in a namespace of this process and its children: however they end, no mount
/// stays.
class MountedFileSystem {
 public:
  /// Mounts `device` on the directory `point`. Throws CannotCut where the system does not let it.
  MountedFileSystem(std::string device, std::filesystem::path point, std::string type, std::string options)
      : device_(std::move(device)), point_(std::move(point)), type_(std::move(type)), options_(std::move(options)) {
    if (::unshare(CLONE_NEWNS) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
      throw CannotCut("cannot make a namespace for mounts: " + std::generic_category().message(errno));
    }
    if (!mount()) {
      throw CannotCut("cannot mount " + type_ + ": " + std::generic_category().message(errno));
    }
  }
  MountedFileSystem(const MountedFileSystem&) = delete;
  MountedFileSystem& operator=(const MountedFileSystem&) = delete;
  ~MountedFileSystem() { ::umount2(point_.c_str(), MNT_DETACH); }

  /// The directory on which it is mounted.
  [[nodiscard]] const std::filesystem::path& point() const noexcept { return point_; }

  /// Writes everything to the device.
  void sync() const {
    const int handle = open_root();
    const int answer = ::syncfs(handle);
    const int error = errno;
    ::close(handle);
    if (answer != 0) {
      fail("sync", error);
    }
  }

  /// From now on nothing reaches the device that has not reached it yet, not even the journal. Throws CannotCut where
  /// the file system does not know how.
  void cut_power() const {
    constexpr unsigned long shutdown = _IOR('X', 125, std::uint32_t);  // in <linux/fs.h> only lately
    const std::uint32_t without_log_flush = 2;
    const int handle = open_root();
    const int answer = ::ioctl(handle, shutdown, &without_log_flush);
    const int error = errno;
    ::close(handle);
    if (answer != 0) {
      throw CannotCut(type_ + " cannot be shut down: " + std::generic_category().message(error));
    }
  }

  /// The power comes back. No file may be open.
  void remount() const {
    if (::umount2(point_.c_str(), 0) != 0) {
      fail("unmount", errno);
    }
    if (!mount()) {
      fail("mount again", errno);
    }
  }

 private:
  [[nodiscard]] bool mount() const {
    return ::mount(device_.c_str(), point_.c_str(), type_.c_str(), 0, options_.c_str()) == 0;
  }

  [[nodiscard]] int open_root() const {
    const int handle = ::open(point_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (handle == -1) {
      fail("open the root of", errno);
    }
    return handle;
  }

  [[noreturn]] void fail(const std::string& what, int error) const {
    throw std::system_error(error, std::generic_category(), "cannot " + what + " the " + type_);
  }

  std::string device_;
  std::filesystem::path point_;
  std::string type_;
  std::string options_;
};

}  // namespace iqdb_test
