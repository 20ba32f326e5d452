// The names in a directory of a POSIX system.
#pragma once

#include <cerrno>
#include <filesystem>
#include <memory>
#include <system_error>
#include <utility>
#include <vector>

#include "iqdb/persist/storage/file_system.hpp"
#include "iqdb/persist/storage/posix_calls.hpp"
#include "iqdb/persist/version.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace posix_names {

// Returns the names in an open directory, in no order, with "." and "..". Throws std::bad_alloc.
[[nodiscard]] IQDB_PERSIST_INLINE SystemResult<std::vector<std::filesystem::path>> in_directory(int directory);

#if IQDB_PERSIST_DEFINITIONS

struct Closer {
  void operator()(::DIR* entries) const noexcept { ::closedir(entries); }
};

IQDB_PERSIST_INLINE SystemResult<std::vector<std::filesystem::path>> in_directory(int directory) {
  // Opened anew: closedir() closes the descriptor, and one that is read again would go on where it was.
  const int own = ::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (own == -1) {
    return {{}, posix_calls::answered(-1)};
  }
  const std::unique_ptr<::DIR, Closer> entries(::fdopendir(own));
  if (!entries) {
    const std::error_code error = posix_calls::answered(-1);
    ::close(own);
    return {{}, error};
  }
  std::vector<std::filesystem::path> names;
  for (;;) {
    errno = 0;                                               // the end and a failure give the same answer
    const ::dirent* const entry = ::readdir(entries.get());  // NOLINT(concurrency-mt-unsafe): one thread has it
    if (entry == nullptr) {
      return {std::move(names), std::error_code(errno, std::system_category())};
    }
    names.emplace_back(static_cast<const char*>(entry->d_name));
  }
}

#endif  // IQDB_PERSIST_DEFINITIONS

}  // namespace posix_names

}  // namespace iqdb
