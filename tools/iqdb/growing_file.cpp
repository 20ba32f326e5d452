#include "growing_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <system_error>

#include "iqdb/persist/error.hpp"

namespace iqdb_tool {

namespace {

[[noreturn]] void fail(const std::string& what, const std::filesystem::path& path, int code) {
  iqdb::throw_persist_error(iqdb::PersistErrorKind::io, what,
                            {.path = path, .code = {code, std::generic_category()}, .offset = {}});
}

}  // namespace

std::optional<GrowingFile> GrowingFile::open(const std::filesystem::path& path) {
  int descriptor = -1;
  do {
    descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  } while (descriptor < 0 && errno == EINTR);
  if (descriptor < 0) {
    if (errno == ENOENT) {
      return std::nullopt;
    }
    fail("cannot open the file", path, errno);
  }
  GrowingFile file(descriptor, path);
  file.refresh();
  return file;
}

GrowingFile::~GrowingFile() {
  if (descriptor_ >= 0) {
    ::close(descriptor_);
  }
}

void GrowingFile::refresh() {
  struct ::stat found {};
  if (::fstat(descriptor_, &found) != 0) {
    fail("cannot ask for the size of the file", path_, errno);
  }
  if (!S_ISREG(found.st_mode)) {
    fail("it is not a regular file; choose another path", path_, S_ISDIR(found.st_mode) ? EISDIR : EINVAL);
  }
  size_ = static_cast<std::uint64_t>(found.st_size);
}

bool GrowingFile::has_name(const std::filesystem::path& path) const noexcept {
  struct ::stat named {};
  struct ::stat own {};
  return ::stat(path.c_str(), &named) == 0 && ::fstat(descriptor_, &own) == 0 && named.st_dev == own.st_dev &&
         named.st_ino == own.st_ino;
}

std::size_t GrowingFile::read_at(std::uint64_t offset, std::span<std::byte> into) {
  const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), size_ - std::min(offset, size_)));
  if (wanted == 0) {
    return 0;
  }
  ::ssize_t count = -1;
  do {
    count = ::pread(descriptor_, into.data(), wanted, static_cast<::off_t>(offset));
  } while (count < 0 && errno == EINTR);
  if (count < 0) {
    fail("cannot read the file at byte " + std::to_string(offset), path_, errno);
  }
  if (count == 0) {
    fail("the file became shorter while it was read; something else writes to it", path_, EIO);
  }
  return static_cast<std::size_t>(count);
}

}  // namespace iqdb_tool
