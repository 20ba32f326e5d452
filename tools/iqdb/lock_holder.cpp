#include "lock_holder.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string_view>
#include <system_error>

namespace iqdb_tool {

namespace {

std::string name_of(std::int64_t process) {
  std::ifstream file("/proc/" + std::to_string(process) + "/comm");
  std::string name;
  std::getline(file, name);
  return name;
}

// Whether the process has the file open. False also where this user may not look.
bool has_open(std::int64_t process, const struct ::stat& wanted) {
  const std::string directory = "/proc/" + std::to_string(process) + "/fd";
  ::DIR* const entries = ::opendir(directory.c_str());
  if (entries == nullptr) {
    return false;
  }
  bool found = false;
  while (const ::dirent* const entry = ::readdir(entries)) {  // NOLINT(concurrency-mt-unsafe): one thread has it
    struct ::stat seen {};
    if (::stat((directory + "/" + entry->d_name).c_str(), &seen) == 0 && seen.st_dev == wanted.st_dev &&
        seen.st_ino == wanted.st_ino) {
      found = true;
      break;
    }
  }
  ::closedir(entries);
  return found;
}

// One line of /proc/locks, e.g. "7: FLOCK  ADVISORY  WRITE 3541 08:01:131083 0 EOF".
struct LockLine {
  std::string kind;
  std::int64_t process = 0;
  unsigned major_number = 0;
  unsigned minor_number = 0;
  std::uint64_t inode = 0;
};

std::optional<LockLine> parsed(const std::string& text) {
  std::istringstream words(text);
  std::string number;
  std::string mode;
  std::string access;
  std::string place;
  LockLine line;
  words >> number >> line.kind;
  if (line.kind == "->") {
    return std::nullopt;  // it waits for the lock
  }
  if (!(words >> mode >> access >> line.process >> place)) {
    return std::nullopt;
  }
  const auto take = [&place](auto& value, int base) {
    const auto [end, error] = std::from_chars(place.data(), place.data() + place.size(), value, base);
    const auto taken = static_cast<std::size_t>(end - place.data());
    place.erase(0, std::min(taken + 1, place.size()));
    return error == std::errc();
  };
  constexpr int hexadecimal = 16;
  constexpr int decimal = 10;
  if (!take(line.major_number, hexadecimal) || !take(line.minor_number, hexadecimal) || !take(line.inode, decimal)) {
    return std::nullopt;
  }
  return line;
}

// Some network file systems turn the lock into one of fcntl(2), of which the system can be asked.
std::optional<std::int64_t> holder_by_fcntl(const std::filesystem::path& lock) {
  const int file = ::open(lock.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) {
    return std::nullopt;
  }
  struct ::flock asked {};
  asked.l_type = F_RDLCK;
  asked.l_whence = SEEK_SET;
  const bool conflicts = ::fcntl(file, F_GETLK, &asked) == 0 && asked.l_type != F_UNLCK;
  ::close(file);
  return conflicts ? std::optional<std::int64_t>(asked.l_pid) : std::nullopt;
}

}  // namespace

LockState look_at_lock(const std::filesystem::path& path) {
  std::filesystem::path lock = path;
  lock += ".lock";
  LockState state;
  struct ::stat wanted {};
  if (::stat(lock.c_str(), &wanted) != 0) {
    state.held = false;
    return state;
  }
  state.file_exists = true;
  if (const auto process = holder_by_fcntl(lock)) {
    state.held = true;
    if (*process > 0) {
      state.holders.push_back({.process = *process, .name = name_of(*process)});
    }
    return state;
  }
  std::ifstream locks("/proc/locks");
  if (!locks) {
    return state;
  }
  state.held = false;
  for (std::string text; std::getline(locks, text);) {
    const auto line = parsed(text);
    if (!line || line->kind != "FLOCK" || line->inode != wanted.st_ino) {
      continue;
    }
    // Some file systems give files other device numbers than their locks.
    const bool same_device = line->major_number == major(wanted.st_dev) && line->minor_number == minor(wanted.st_dev);
    if (same_device || has_open(line->process, wanted)) {
      state.held = true;
      if (line->process > 0) {
        state.holders.push_back({.process = line->process, .name = name_of(line->process)});
      }
    }
  }
  return state;
}

std::string holders_text(const LockState& lock) {
  std::string text;
  for (const LockHolder& holder : lock.holders) {
    text += (text.empty() ? "process " : ", ") + std::to_string(holder.process) +
            (holder.name.empty() ? "" : " (" + holder.name + ")");
  }
  return text;
}

}  // namespace iqdb_tool
