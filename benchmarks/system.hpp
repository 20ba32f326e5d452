// The system calls that are measured, or that prepare a measurement, each with its result checked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <stdexcept>
#include <string>

namespace iqdb_benchmarks {

/// The file system, or this machine, does not offer what is to be measured: a reason to skip it, not a failure.
class Unsupported : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Throws std::system_error for the present errno.
[[noreturn]] void throw_errno(const std::string& what);

/// An open file.
class File {
 public:
  /// As open(2). Throws Unsupported where O_DIRECT is asked for and refused.
  File(const std::filesystem::path& path, int flags);
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File();

  [[nodiscard]] int descriptor() const noexcept { return descriptor_; }
  [[nodiscard]] std::uint64_t size() const;

  /// At the end, for a file that was opened with O_APPEND.
  void append(std::span<const std::byte> bytes);
  void write_at(std::uint64_t offset, std::span<const std::byte> bytes);
  void read_at(std::uint64_t offset, std::span<std::byte> into) const;
  void sync();
  void sync_data();

  /// Starts to write to the disk what is in the cache of this range; does not wait for it.
  void start_writing_back(std::uint64_t offset, std::uint64_t bytes);

 private:
  int descriptor_;
};

/// Memory straight from the system and back to it, aligned to 2 MiB.
class Pages {
 public:
  enum class Kind { ordinary, huge };  ///< huge: the system is asked for pages of 2 MiB

  Pages(std::size_t bytes, Kind kind);
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  ~Pages();

  [[nodiscard]] std::span<std::byte> bytes() const noexcept { return {begin_, size_}; }

  /// Writes to each page, so that the memory is there.
  void touch() const noexcept;

 private:
  void* mapping_;
  std::size_t mapped_;
  std::byte* begin_;
  std::size_t size_;
};

/// Takes `bytes` of free memory, as far as there are, and gives them back. A virtual machine hands memory that was idle
/// for seconds back to its host, and to get it again takes longer than the disk does: that would be measured. To be
/// called with all that will be needed, the page cache's share included.
void touch_free_memory(std::uint64_t bytes);

/// Waits until nothing is left to be written to the file system that `directory` is on.
void settle(const std::filesystem::path& directory);

/// Makes the names in `directory` durable.
void sync_directory(const std::filesystem::path& directory);

/// Syncs the file at `path` as it is.
void sync_file(const std::filesystem::path& path);

/// Reads the file once, so that the next read finds it in the page cache.
void bring_into_cache(const std::filesystem::path& path);

/// Makes the next read come from the disk. Throws where pages stay in the cache.
void drop_from_cache(const std::filesystem::path& path);

/// A new directory inside of another one, removed with all that is in it.
class ScratchDirectory {
 public:
  explicit ScratchDirectory(const std::filesystem::path& parent);
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;
  ~ScratchDirectory();

  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace iqdb_benchmarks
