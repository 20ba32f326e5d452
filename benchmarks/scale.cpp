// How time and memory grow with the size: each size in a process of its own, so that its memory holds nothing else.
//
// Saved and loaded is an index that is one array, and a log is replayed onto an index that does nothing: what is seen
// is the library, and not how an index organises itself.
#include <fcntl.h>
#include <malloc.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "benchmarks.hpp"
#include "log_files.hpp"
#include "measure.hpp"
#include "snapshots.hpp"

namespace iqdb_benchmarks {

namespace {

// Bytes, from a figure in KiB that /proc/self/status gives for `name`.
double memory(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(name + ":")) {
      return std::stod(line.substr(name.size() + 1)) * 1024;
    }
  }
  throw std::runtime_error("/proc/self/status does not say " + name);
}

// Lets the peak of resident memory start again from what is resident now.
void reset_peak() {
  std::ofstream file("/proc/self/clear_refs");
  file << 5;
  file.close();
  constexpr double some = 1 << 20U;
  if (!file || memory("VmHWM") > memory("VmRSS") + some) {
    throw Unsupported("the peak of memory cannot be reset through /proc/self/clear_refs");
  }
}

struct Found {
  double seconds = 0;
  double memory = 0;  // the peak beyond the index
  double bytes = 0;   // of payload, or of log
};

// What `action()` takes, whose result holds the index.
template <class Action>
Found measure(Action&& action, bool result_holds_index) {
  ::malloc_trim(0);
  reset_peak();
  const double before = memory("VmRSS");
  const auto started = std::chrono::steady_clock::now();
  [[maybe_unused]] const auto result = action();
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - started;
  const double peak = memory("VmHWM");
  ::malloc_trim(0);
  return {.seconds = elapsed.count(), .memory = peak - (result_holds_index ? memory("VmRSS") : before), .bytes = 0};
}

std::uint64_t vectors_in(std::uint64_t bytes) { return std::max<std::uint64_t>(bytes / vector_bytes, 1); }
std::uint64_t records_in(std::uint64_t bytes) { return std::max<std::uint64_t>(bytes / Records::record_bytes, 1); }

Found save(const std::filesystem::path& path, std::uint64_t bytes) {
  auto database = iqdb::PersistedIndex<ArrayIndex>::open_with(ArrayIndex::of(vectors_in(bytes)),
                                                              {.path = path, .replace_existing = true});
  touch_free_memory(bytes);
  settle(path.parent_path());
  std::uint64_t payload = 0;
  Found found = measure(
      [&] {
        payload = database.save().payload_bytes;
        return payload;
      },
      false);
  found.bytes = static_cast<double>(payload);
  return found;
}

Found load(const std::filesystem::path& path, std::uint64_t bytes) {
  bring_into_cache(path);
  touch_free_memory(bytes);
  Found found = measure([&] { return iqdb::PersistedIndex<ArrayIndex>::load({.path = path}); }, true);
  found.bytes = static_cast<double>(vectors_in(bytes) * vector_bytes);
  return found;
}

Found replay(const std::filesystem::path& path, std::uint64_t bytes) {
  const std::filesystem::path log = iqdb::log_path(path);
  const auto log_bytes = static_cast<double>(std::filesystem::file_size(log));
  bring_into_cache(log);
  touch_free_memory(bytes);
  std::uint64_t replayed = 0;
  Found found = measure(
      [&] {
        auto database = iqdb::PersistedIndex<NullIndex>::load({.path = path, .wal_enabled = true});
        replayed = database.recovery().replayed;
        return database;
      },
      false);
  if (replayed != records_in(bytes)) {
    throw std::runtime_error("not all of the log was replayed");
  }
  found.bytes = log_bytes;
  return found;
}

// Runs one job in a new process; returns what it prints.
std::string output_of_job(const Options& options, const std::string& job, std::uint64_t bytes) {
  int ends[2];  // NOLINT(*-avoid-c-arrays)
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    throw_errno("pipe2");
  }
  const std::string scale_bytes = "--scale_bytes=" + std::to_string(bytes);
  const std::string scale_job = "--scale_job=" + job;
  const std::string directory = "--directory=" + options.directory.string();
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(ends[1], STDOUT_FILENO);
    ::execl("/proc/self/exe", "iqdb_benchmarks", scale_job.c_str(), scale_bytes.c_str(), directory.c_str(), nullptr);
    ::_exit(EXIT_FAILURE);
  }
  const int fork_error = errno;
  ::close(ends[1]);
  std::string output;
  char buffer[256];  // NOLINT(*-avoid-c-arrays)
  for (ssize_t count = 0; (count = ::read(ends[0], buffer, sizeof(buffer))) > 0;) {
    output.append(buffer, static_cast<std::size_t>(count));
  }
  ::close(ends[0]);
  if (child == -1) {
    errno = fork_error;
    throw_errno("fork");
  }
  int status = 0;
  if (::waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != EXIT_SUCCESS) {
    throw std::runtime_error("the process that does it has failed: " + output);
  }
  return output;
}

// What a job works on lies in `directory`.
Found run_in_process(Options options, const std::filesystem::path& directory, const std::string& job,
                     std::uint64_t bytes) {
  options.directory = directory;
  const std::string output = output_of_job(options, job, bytes);
  Found found;
  if (std::istringstream(output) >> found.seconds >> found.memory >> found.bytes) {
    return found;
  }
  throw Unsupported(output);
}

void add_job(const Options& options, const std::string& job, std::uint64_t bytes) {
  add_single("scale/" + job + "/" + std::to_string(bytes), [options, job, bytes](benchmark::State& state) {
    // A log is made once, and copied, since making it takes longer than all the rest.
    static std::map<std::string, std::filesystem::path> logs;
    const bool has_log = job == "replay" || job == "recovery";
    const ScratchDirectory scratch(options.directory);
    if (has_log) {
      const std::string name = job + "_" + std::to_string(bytes);
      if (!logs.contains(name)) {
        const auto path = shared_files(options) / (name + ".iqdb");
        make_log(path, records_in(bytes), job == "replay" ? LogEnd::closed : LogEnd::killed);
        logs.emplace(name, path);
      }
      copy_log(logs.at(name), scratch.path() / "index.iqdb");
    } else if (job == "load") {
      run_in_process(options, scratch.path(), "save", bytes);
    }
    Found found;
    for ([[maybe_unused]] auto _ : state) {
      found = run_in_process(options, scratch.path(), job, bytes);
      state.SetIterationTime(found.seconds);
    }
    state.SetBytesProcessed(static_cast<std::int64_t>(found.bytes));
    state.counters["memory_beyond_index"] = found.memory;
    state.counters["bytes"] = found.bytes;
  });
}

}  // namespace

void add_scale(const Options& options) {
  for (const std::uint64_t bytes : options.scale_bytes) {
    for (const char* const job : {"save", "load", "replay", "recovery"}) {
      add_job(options, job, bytes);
    }
  }
}

void run_scale_job(const Options& options) {
  const std::filesystem::path path = options.directory / "index.iqdb";
  const std::uint64_t bytes = options.scale_bytes.at(0);
  Found found;
  if (options.scale_job == "save") {
    found = save(path, bytes);
  } else if (options.scale_job == "load") {
    found = load(path, bytes);
  } else if (options.scale_job == "replay" || options.scale_job == "recovery") {
    found = replay(path, bytes);
  } else {
    throw std::invalid_argument("--scale_job is for this program's own use");
  }
  std::printf("%.9f %.0f %.0f\n", found.seconds, found.memory, found.bytes);
}

}  // namespace iqdb_benchmarks
