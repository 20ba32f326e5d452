#include "examination.hpp"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "iqdb/persist/testing/random.hpp"
#include "kernel/mounted_file_system.hpp"
#include "support/child_process.hpp"
#include "support/files.hpp"

namespace iqdb_reliability {

namespace {

using Bytes = std::vector<std::byte>;
using Files = std::map<std::string, Bytes>;
using iqdb_test::ChildProcess;

// It takes some hundredths of the one; the other is for those that wait.
constexpr rlim_t processor_seconds_of_a_load = 1;
constexpr unsigned seconds_of_a_load = 5;
constexpr rlim_t bytes_of_a_process = rlim_t{4} << 30U;  // of addresses

// A process that a damaged file may lead anywhere, and that says nothing about it.
void limit_process() {
  const rlimit memory{bytes_of_a_process, bytes_of_a_process};
  const rlimit no_dump{0, 0};
  const int nowhere = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
  if (::setrlimit(RLIMIT_AS, &memory) != 0 || ::setrlimit(RLIMIT_CORE, &no_dump) != 0 || nowhere == -1 ||
      ::dup2(nowhere, STDOUT_FILENO) == -1 || ::dup2(nowhere, STDERR_FILENO) == -1) {
    throw std::runtime_error("cannot limit a process");
  }
}

// What is expected of a load.
struct Expected {
  Rows rows;
  std::string answers;
};

bool holds(const State& found, const Expected& expected) {
  return found.rows == expected.rows && found.answers == expected.answers;
}

Outcome compare(const State& found, const Expected& now, const Expected* before) {
  if (holds(found, now)) {
    return Outcome::right;
  }
  if (before != nullptr) {
    return holds(found, *before) ? Outcome::older : Outcome::wrong;
  }
  const bool is_part = found.rows.size() < now.rows.size() &&
                       std::includes(now.rows.begin(), now.rows.end(), found.rows.begin(), found.rows.end());
  return !is_part ? Outcome::wrong : found.told ? Outcome::told : Outcome::lost;
}

// What a load gives, in a process of its own.
Outcome load(Subject& subject, const std::filesystem::path& directory, const Expected& now, const Expected* before) {
  constexpr int first_outcome = 64;  // as an exit status: libraries end a process with small ones
  ChildProcess child([&] {
    limit_process();
    // Signals end it; the harder limit would take the one that tells why.
    const rlimit processor{processor_seconds_of_a_load, processor_seconds_of_a_load + 1};
    ::setrlimit(RLIMIT_CPU, &processor);
    ::alarm(seconds_of_a_load);
    State found;
    try {
      found = subject.load(directory, now.rows.size());
    } catch (...) {
      return first_outcome + static_cast<int>(Outcome::refused);
    }
    return first_outcome + static_cast<int>(compare(found, now, before));
  });
  const int status = child.wait();
  if (status == -SIGALRM || status == -SIGXCPU) {
    return Outcome::hung;
  }
  const int outcome = status - first_outcome;
  const bool is_outcome = outcome >= 0 && outcome < static_cast<int>(outcome_names.size());
  return is_outcome ? static_cast<Outcome>(outcome) : Outcome::crashed;
}

void clear(const std::filesystem::path& directory) {
  for (const auto& each : std::filesystem::directory_iterator(directory)) {
    std::filesystem::remove_all(each);
  }
}

void lay_out(const std::filesystem::path& directory, const Files& files) {
  clear(directory);
  for (const auto& [name, bytes] : files) {
    iqdb_test::write_bytes(directory / name, bytes);
  }
}

// What a subject leaves that holds these rows.
Files make_files(Subject& subject, const std::filesystem::path& directory, const Rows& rows) {
  clear(directory);
  ChildProcess child([&] {
    subject.gather(rows);
    subject.make(directory);
    return 0;
  });
  if (child.wait() != 0) {
    throw std::runtime_error("what is to be examined cannot be made");
  }
  Files files;
  for (const auto& each : std::filesystem::directory_iterator(directory)) {
    files[each.path().filename().string()] = iqdb_test::read_bytes(each.path());
  }
  return files;
}

// What those files must give, and do give.
Expected expect(Subject& subject, const std::filesystem::path& directory, const Files& files, const Rows& rows) {
  lay_out(directory, files);
  const std::string answers = iqdb_test::in_child([&]() -> std::string {
    const State state = subject.load(directory, rows.size());
    return state.rows == rows ? "loaded " + state.answers : "it does not hold what was stored";
  });
  if (!answers.starts_with("loaded ")) {
    throw std::runtime_error("without any damage: " + answers);
  }
  Expected expected{.rows = rows, .answers = answers.substr(std::string("loaded ").size())};
  lay_out(directory, files);
  if (load(subject, directory, expected, nullptr) != Outcome::right) {
    throw std::runtime_error("without any damage two loads give different answers");
  }
  return expected;
}

// What is there before something is replaced, what should be there afterwards.
struct Versions {
  Versions(Subject& subject, const std::filesystem::path& directory, std::uint64_t rows)
      : new_rows(make_rows(2 * rows, 2)) {
    const Rows old_rows = make_rows(rows, 1);
    files = make_files(subject, directory, old_rows);
    before = expect(subject, directory, files, old_rows);
    const Files new_files = make_files(subject, directory, new_rows);
    now = expect(subject, directory, new_files, new_rows);
    for (const auto& [name, bytes] : new_files) {
      new_bytes += bytes.size();
    }
  }

  Rows new_rows;
  Files files;
  Expected before;
  Expected now;
  std::uint64_t new_bytes = 0;
};

// Leaves so many bytes free on the disk.
void fill_up(const std::filesystem::path& file, std::uint64_t but) {
  const int handle = ::open(file.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  struct statvfs disk {};
  if (handle == -1 || ::fstatvfs(handle, &disk) != 0) {
    throw std::runtime_error("cannot fill up the disk");
  }
  const std::uint64_t free = std::uint64_t{disk.f_bavail} * disk.f_bsize;
  if (free > but && ::posix_fallocate(handle, 0, static_cast<off_t>(free - but)) != 0) {
    throw std::runtime_error("cannot fill up the disk");
  }
  ::close(handle);
}

// Numbers below `count`, all of them or `most` that are evenly spread.
std::vector<std::uint64_t> spread(std::uint64_t count, std::uint64_t most) {
  std::vector<std::uint64_t> numbers;
  for (std::uint64_t at = 0; at < std::min(count, most); ++at) {
    // The remainder keeps to no rhythm of 8: each bit of a byte is met.
    numbers.push_back(count <= most ? at : at * count / most + at % std::max<std::uint64_t>(count / most, 1));
  }
  return numbers;
}

}  // namespace

Examination::Examination(Subject& subject, std::filesystem::path directory, const Amounts& amounts)
    : subject_(subject), directory_(std::move(directory)), amounts_(amounts) {}

Damage Examination::damage() {
  const Rows rows = make_rows(amounts_.rows, 1);
  const Files files = make_files(subject_, directory_, rows);
  const Expected expected = expect(subject_, directory_, files, rows);
  const auto damaged = std::ranges::find_if(files, [&](const auto& file) { return subject_.is_damaged(file.first); });
  if (damaged == files.end()) {
    throw std::runtime_error("there is no file to damage");
  }
  const Bytes& whole = damaged->second;
  const auto load_damaged = [&](const Bytes& bytes) {
    lay_out(directory_, files);
    iqdb_test::write_bytes(directory_ / damaged->first, bytes);
    return load(subject_, directory_, expected, nullptr);
  };

  Damage damage;
  damage.file_bytes = whole.size();
  for (const std::uint64_t bit : spread(whole.size() * 8, amounts_.most_flips)) {
    Bytes bytes = whole;
    bytes[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    damage.flips.add(load_damaged(bytes));
  }
  for (const std::uint64_t length : spread(whole.size(), amounts_.most_lengths)) {
    damage.truncations.add(load_damaged({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length)}));
  }
  return damage;
}

std::optional<Replacement> Examination::full_disk() {
  const Versions versions(subject_, directory_, amounts_.replaced_rows);
  // The bytes that are written before anything old goes, and what comes beside them.
  const std::uint64_t most_room = 2 * versions.new_bytes;
  const auto mebibytes = 16 + 4 * (most_room >> 20U);
  const std::filesystem::path disk = directory_.parent_path() / "disk";
  std::filesystem::create_directory(disk);
  std::optional<iqdb_test::MountedFileSystem> mounted;
  try {
    mounted.emplace("none", disk, "tmpfs", "size=" + std::to_string(mebibytes) + "m");
  } catch (const iqdb_test::CannotCut&) {
    return std::nullopt;
  }
  const std::filesystem::path files = disk / "files";
  std::filesystem::create_directory(files);
  subject_.gather(versions.new_rows);

  Replacement replacement;
  for (std::uint64_t step = 0; step < amounts_.full_disks; ++step) {
    lay_out(files, versions.files);
    constexpr int reported = 1;
    ChildProcess child([&] {
      limit_process();
      subject_.open(files);
      fill_up(disk / "filler", most_room * step / amounts_.full_disks);
      try {
        subject_.replace();
      } catch (...) {
        return reported;
      }
      return 0;
    });
    // A process that crashes has not said that it was done.
    const int status = child.wait();
    if (status != 0 && status != reported && status > 0) {
      throw std::runtime_error("what is to be replaced cannot be opened");
    }
    std::filesystem::remove(disk / "filler");
    (status == 0 ? replacement.silent : replacement.reported)
        .add(load(subject_, files, versions.now, &versions.before));
  }
  return replacement;
}

Counts Examination::kills() {
  const Versions versions(subject_, directory_, amounts_.replaced_rows);
  subject_.gather(versions.new_rows);
  iqdb::testing::Random random(1);
  // Half again as long as it takes, in the beginning: then as long as it took.
  using Clock = std::chrono::steady_clock;
  const auto replace = [&](auto&& meanwhile) {
    lay_out(directory_, versions.files);
    iqdb_test::Pipe begun;
    ChildProcess child([&] {
      limit_process();
      subject_.open(directory_);
      begun.write("!");
      subject_.replace();
      return 0;
    });
    begun.close_writing();
    begun.wait_for_byte();
    return meanwhile(child);
  };
  Clock::duration longest{0};
  for (int time = 0; time < 3; ++time) {
    const auto took = replace([](ChildProcess& child) {
      const auto started = Clock::now();
      if (child.wait() != 0) {
        throw std::runtime_error("it cannot be replaced");
      }
      return Clock::now() - started;
    });
    longest = std::max(longest, took);
  }
  Counts counts;
  const std::uint64_t most_attempts = 20 * amounts_.kills;
  std::uint64_t hits = 0;
  for (std::uint64_t attempt = 0; attempt < most_attempts && hits < amounts_.kills; ++attempt) {
    const auto delay = std::chrono::nanoseconds(
        random.below(static_cast<std::uint64_t>(std::chrono::nanoseconds(longest).count()) + 1));
    const bool was_killed = replace([&](ChildProcess& child) {
      std::this_thread::sleep_for(delay);
      return child.kill() == -SIGKILL;
    });
    // Who was done before is of no interest.
    if (was_killed) {
      ++hits;
      counts.add(load(subject_, directory_, versions.now, &versions.before));
    }
  }
  return counts;
}

}  // namespace iqdb_reliability
