#include "raw_disk.hpp"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string>
#include <system_error>

#include "iqdb/persist/error.hpp"

namespace iqdb_tool {

namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const std::string& what, const fs::path& path) {
  iqdb::throw_persist_error(iqdb::PersistErrorKind::io, "cannot " + what,
                            {.path = path, .code = {errno, std::generic_category()}, .offset = {}});
}

}  // namespace

PassingDirectory::PassingDirectory(const fs::path& within) {
  std::string name = (within / "iqdb-bench-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) {
    fail("make a directory for the files of the measurement", within);
  }
  path_ = name;
}

PassingDirectory::~PassingDirectory() {
  std::error_code ignored;  // nobody is left to tell
  fs::remove_all(path_, ignored);
}

std::uint64_t free_bytes_at(const fs::path& path) {
  struct ::statvfs state {};
  if (::statvfs(path.c_str(), &state) != 0) {
    fail("find out how much space is left", path);
  }
  return std::uint64_t{state.f_bavail} * state.f_frsize;
}

RawFile RawFile::create(const fs::path& path) { return {path, O_RDWR | O_CREAT | O_EXCL}; }

RawFile RawFile::open(const fs::path& path) { return {path, O_RDONLY}; }

RawFile::RawFile(const fs::path& path, int flags) : path_(path) {
  constexpr ::mode_t own = 0600;
  file_ = ::open(path.c_str(), flags | O_CLOEXEC, own);
  if (file_ < 0) {
    fail("open the file", path);
  }
}

RawFile::~RawFile() { ::close(file_); }

void RawFile::write(std::uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const auto count = ::pwrite(file_, bytes.data(), bytes.size(), static_cast<::off_t>(offset));
    if (count < 0 && errno == EINTR) {
      continue;
    }
    if (count < 0) {
      fail("write", path_);
    }
    offset += static_cast<std::uint64_t>(count);
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
}

std::size_t RawFile::read(std::uint64_t offset, std::span<std::byte> into) {
  for (;;) {
    const auto count = ::pread(file_, into.data(), into.size(), static_cast<::off_t>(offset));
    if (count >= 0) {
      return static_cast<std::size_t>(count);
    }
    if (errno != EINTR) {
      fail("read", path_);
    }
  }
}

void RawFile::sync() {
  while (::fdatasync(file_) != 0) {
    if (errno != EINTR) {
      fail("sync", path_);
    }
  }
}

void RawFile::forget() const noexcept { static_cast<void>(::posix_fadvise(file_, 0, 0, POSIX_FADV_DONTNEED)); }

}  // namespace iqdb_tool
