// A directory for the files of one test.
#pragma once

#include <stdlib.h>  // NOLINT(modernize-deprecated-headers): mkdtemp is POSIX, and not in namespace std

#include <cerrno>
#include <filesystem>
#include <string>
#include <system_error>

namespace iqdb_test {

/// Makes a new, empty directory and removes it with everything in it.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "iqdb_test_XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) {
      throw std::system_error(errno, std::generic_category(), "cannot make a directory like " + pattern);
    }
    path_ = pattern;
  }

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
