// A file that is read while another process appends to it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <utility>

namespace iqdb_tool {

/// An open file whose size is asked for anew: a ReadableFile. It stays the same file even if another takes its name. Used
/// by one thread.
class GrowingFile {
 public:
  /// Opens the file at `path`. Returns nothing if there is none. Throws PersistError io, also if it is not a regular file.
  [[nodiscard]] static std::optional<GrowingFile> open(const std::filesystem::path& path);

  GrowingFile(GrowingFile&& other) noexcept
      : descriptor_(std::exchange(other.descriptor_, -1)), path_(std::move(other.path_)), size_(other.size_) {}
  GrowingFile& operator=(GrowingFile&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    std::swap(path_, other.path_);
    std::swap(size_, other.size_);
    return *this;
  }
  GrowingFile(const GrowingFile&) = delete;
  GrowingFile& operator=(const GrowingFile&) = delete;
  ~GrowingFile();

  /// Asks the system for the size. Throws PersistError io.
  void refresh();

  /// Whether `path` still leads to this file. False if it leads nowhere.
  [[nodiscard]] bool has_name(const std::filesystem::path& path) const noexcept;

  /// The size when it was last asked for, in bytes.
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }

  /// Reads at `offset` into the beginning of `into`. Returns how many bytes. Throws PersistError io, also if the file has
  /// become shorter.
  [[nodiscard]] std::size_t read_at(std::uint64_t offset, std::span<std::byte> into);

 private:
  GrowingFile(int descriptor, std::filesystem::path path) : descriptor_(descriptor), path_(std::move(path)) {}

  int descriptor_;
  std::filesystem::path path_;
  std::uint64_t size_ = 0;
};

}  // namespace iqdb_tool
