// A directory for the files of one test.
#pragma once

#include <filesystem>
#include <system_error>

#ifdef _WIN32
#include <random>
#include <string>
#else
#include <stdlib.h>  // NOLINT(modernize-deprecated-headers): mkdtemp is POSIX, and not in namespace std
#include <unistd.h>

#include <cerrno>
#include <string>
#endif

namespace iqdb_test {

#ifdef _WIN32
/// Where files live while they are tested: Windows has no place in memory.
[[nodiscard]] inline std::filesystem::path memory_directory() { return std::filesystem::temp_directory_path(); }

/// Makes a new directory below `parent`.
[[nodiscard]] inline std::filesystem::path new_directory(const std::filesystem::path& parent) {
  std::random_device random;
  for (;;) {
    const std::filesystem::path path = parent / ("iqdb_test_" + std::to_string(random()));
    if (std::filesystem::create_directory(path)) {
      return path;
    }
  }
}
#else
/// Where files live in memory, as far as the system has such a place: a sync then costs nothing.
[[nodiscard]] inline std::filesystem::path memory_directory() {
  const std::filesystem::path memory = "/dev/shm";
  return ::access(memory.c_str(), W_OK | X_OK) == 0 ? memory : std::filesystem::temp_directory_path();
}

/// Makes a new directory below `parent`.
[[nodiscard]] inline std::filesystem::path new_directory(const std::filesystem::path& parent) {
  std::string pattern = (parent / "iqdb_test_XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) {
    throw std::system_error(errno, std::generic_category(), "cannot make a directory like " + pattern);
  }
  return pattern;
}
#endif

/// Makes a new, empty directory and removes it with everything in it.
class TemporaryDirectory {
 public:
  explicit TemporaryDirectory(const std::filesystem::path& parent = std::filesystem::temp_directory_path())
      : path_(new_directory(parent)) {}

  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }

  /// The path of `name` in the directory.
  friend std::filesystem::path operator/(const TemporaryDirectory& directory, const std::filesystem::path& name) {
    return directory.path() / name;
  }

 private:
  std::filesystem::path path_;
};

}  // namespace iqdb_test
