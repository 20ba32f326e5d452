#include "system.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

namespace iqdb_benchmarks {

namespace {
constexpr std::size_t small_page = 4096;
constexpr std::size_t huge_page = std::size_t{2} << 20U;
}  // namespace

void throw_errno(const std::string& what) { throw std::system_error(errno, std::generic_category(), what); }

File::File(const std::filesystem::path& path, int flags) : descriptor_(::open(path.c_str(), flags | O_CLOEXEC, 0644)) {
  if (descriptor_ == -1) {
    if ((flags & O_DIRECT) != 0 && errno == EINVAL) {
      throw Unsupported("the file system does not take O_DIRECT");
    }
    throw_errno("open " + path.filename().string());
  }
}

File::~File() {
  // What was to be kept was synced before; nothing that close could report would still matter.
  ::close(descriptor_);
}

std::uint64_t File::size() const {
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0) {
    throw_errno("fstat");
  }
  return static_cast<std::uint64_t>(status.st_size);
}

void File::append(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
    if (written <= 0) {
      throw_errno("write");
    }
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

void File::write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written <= 0) {
      throw_errno("pwrite");
    }
    bytes = bytes.subspan(static_cast<std::size_t>(written));
    offset += static_cast<std::uint64_t>(written);
  }
}

void File::read_at(std::uint64_t offset, std::span<std::byte> into) const {
  while (!into.empty()) {
    const ssize_t taken = ::pread(descriptor_, into.data(), into.size(), static_cast<off_t>(offset));
    if (taken == -1) {
      throw_errno("pread");
    }
    if (taken == 0) {
      throw std::runtime_error("pread: the file ends early");
    }
    into = into.subspan(static_cast<std::size_t>(taken));
    offset += static_cast<std::uint64_t>(taken);
  }
}

void File::sync() {
  if (::fsync(descriptor_) != 0) {
    throw_errno("fsync");
  }
}

void File::sync_data() {
  if (::fdatasync(descriptor_) != 0) {
    throw_errno("fdatasync");
  }
}

void File::start_writing_back(std::uint64_t offset, std::uint64_t bytes) {
  if (::sync_file_range(descriptor_, static_cast<off_t>(offset), static_cast<off_t>(bytes), SYNC_FILE_RANGE_WRITE) !=
      0) {
    throw_errno("sync_file_range");
  }
}

Pages::Pages(std::size_t bytes, Kind kind)
    : mapping_(nullptr), mapped_(bytes + huge_page), begin_(nullptr), size_(bytes) {
  mapping_ = ::mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping_ == MAP_FAILED) {
    throw_errno("mmap");
  }
  void* aligned = mapping_;
  std::size_t room = mapped_;
  begin_ = static_cast<std::byte*>(std::align(huge_page, size_, aligned, room));
  if (kind == Kind::huge && ::madvise(begin_, size_, MADV_HUGEPAGE) != 0) {
    ::munmap(mapping_, mapped_);
    throw Unsupported("the system has no huge pages for anonymous memory");
  }
}

Pages::~Pages() { ::munmap(mapping_, mapped_); }

void Pages::touch() const noexcept {
  for (std::size_t at = 0; at < size_; at += small_page) {
    static_cast<volatile std::byte*>(begin_)[at] = std::byte{1};
  }
}

void touch_free_memory(std::uint64_t bytes) {
  struct sysinfo system {};
  if (::sysinfo(&system) != 0) {
    throw_errno("sysinfo");
  }
  // More than is free would take pages away from the cache, and with them what is to be read warm. Half of it, since
  // the system serves requests for huge and for ordinary pages from different places: both must have been touched.
  const std::uint64_t free = std::uint64_t{system.freeram} * system.mem_unit;
  const auto of_each = static_cast<std::size_t>(std::min(bytes, free / 20 * 9));
  const Pages huge(of_each, Pages::Kind::huge);
  huge.touch();
  const Pages ordinary(of_each, Pages::Kind::ordinary);
  ordinary.touch();
}

void settle(const std::filesystem::path& directory) {
  const File file(directory, O_RDONLY | O_DIRECTORY);
  if (::syncfs(file.descriptor()) != 0) {
    throw_errno("syncfs");
  }
}

void sync_directory(const std::filesystem::path& directory) { File(directory, O_RDONLY | O_DIRECTORY).sync(); }

void sync_file(const std::filesystem::path& path) { File(path, O_RDONLY).sync(); }

void bring_into_cache(const std::filesystem::path& path) {
  const File file(path, O_RDONLY);
  std::vector<std::byte> buffer(std::size_t{1} << 20U);
  const std::uint64_t size = file.size();
  for (std::uint64_t at = 0; at < size;) {
    const auto piece =
        std::span(buffer).first(static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), size - at)));
    file.read_at(at, piece);
    at += piece.size();
  }
}

void drop_from_cache(const std::filesystem::path& path) {
  File file(path, O_RDONLY);
  file.sync();  // pages that are still to be written stay
  const int error = ::posix_fadvise(file.descriptor(), 0, 0, POSIX_FADV_DONTNEED);
  if (error != 0) {
    throw std::system_error(error, std::generic_category(), "posix_fadvise");
  }
  const auto size = static_cast<std::size_t>(file.size());
  void* const mapping = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file.descriptor(), 0);
  if (mapping == MAP_FAILED) {
    throw_errno("mmap");
  }
  std::vector<unsigned char> resident((size + small_page - 1) / small_page);
  const int result = ::mincore(mapping, size, resident.data());
  ::munmap(mapping, size);
  if (result != 0) {
    throw_errno("mincore");
  }
  const auto left = std::ranges::count_if(resident, [](unsigned char page) { return (page & 1U) != 0; });
  if (static_cast<std::size_t>(left) > resident.size() / 100) {
    throw Unsupported("the file system keeps " + std::to_string(left) + " of " + std::to_string(resident.size()) +
                      " pages in the cache");
  }
}

ScratchDirectory::ScratchDirectory(const std::filesystem::path& parent) {
  std::string name = parent / "iqdb_benchmarks.XXXXXX";
  if (::mkdtemp(name.data()) == nullptr) {
    throw_errno("mkdtemp in " + parent.string());
  }
  path_ = name;
}

ScratchDirectory::~ScratchDirectory() {
  std::error_code error;
  std::filesystem::remove_all(path_, error);
  if (error) {
    std::fprintf(stderr, "cannot remove %s: %s\n", path_.c_str(), error.message().c_str());
  }
}

}  // namespace iqdb_benchmarks
