// The headers as they meet a system whose mode_t has 16 bits and whose device numbers are signed, as on macOS and FreeBSD: what
// narrows there narrows here. Only compiled.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>

namespace narrow {

using Mode = std::uint16_t;

}  // namespace narrow

struct narrow_stat {
  std::int32_t st_dev;
  narrow::Mode st_mode;
  std::uint64_t st_ino;
  ::uid_t st_uid;
  ::gid_t st_gid;
  std::int64_t st_size;
};

int fstat(int file, narrow_stat* found) noexcept;
int fstatat(int directory, const char* name, narrow_stat* found, int flags) noexcept;

// NOLINTBEGIN(cppcoreguidelines-macro-usage): that is the trick
#define mode_t narrow::Mode
#define stat narrow_stat
// NOLINTEND(cppcoreguidelines-macro-usage)

#include "iqdb/persist/storage/posix_file_system.hpp"

static_assert(iqdb::FileSystem<iqdb::PosixFileSystem>);
