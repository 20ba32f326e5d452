// Files by the bare calls of the system, to measure what the library costs beside them, in a directory that goes away.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

namespace iqdb_tool {

/// A new directory within another one, with what is put into it. It is removed when this object is destroyed.
class PassingDirectory {
 public:
  /// Throws PersistError io.
  explicit PassingDirectory(const std::filesystem::path& within);
  PassingDirectory(const PassingDirectory&) = delete;
  PassingDirectory& operator=(const PassingDirectory&) = delete;
  ~PassingDirectory();

  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }

 private:
  std::filesystem::path path_;
};

/// How many bytes this user may still write where `path` is. Throws PersistError io.
[[nodiscard]] std::uint64_t free_bytes_at(const std::filesystem::path& path);

/// A file that this object alone uses. Every call throws PersistError io.
class RawFile {
 public:
  /// A new file.
  [[nodiscard]] static RawFile create(const std::filesystem::path& path);
  /// One that is there, to read.
  [[nodiscard]] static RawFile open(const std::filesystem::path& path);
  RawFile(const RawFile&) = delete;
  RawFile& operator=(const RawFile&) = delete;
  ~RawFile();

  void write(std::uint64_t offset, std::span<const std::byte> bytes);
  /// Returns how many bytes were read: 0 at the end.
  [[nodiscard]] std::size_t read(std::uint64_t offset, std::span<std::byte> into);
  /// Makes the bytes durable: fdatasync.
  void sync();
  /// Asks the system to forget what it keeps of the file in memory. It may keep some.
  void forget() const noexcept;

 private:
  RawFile(const std::filesystem::path& path, int flags);

  std::filesystem::path path_;
  int file_;
};

}  // namespace iqdb_tool
