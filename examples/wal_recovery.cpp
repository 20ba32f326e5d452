// Kills a program in the middle of its work, ten times, and shows that nothing it was told is durable was lost.
//
// A child process inserts vectors into an index with the log on, and reports each one over a pipe when insert has
// returned. The parent kills it with SIGKILL at a random moment, loads the index, which replays the log, and looks for
// every reported vector. The next child goes on where this one was stopped.
//
//   wal_recovery [FILE]        FILE is the index; without it a scratch file, which is removed
#include <iqdb/index/flat.hpp>
#include <iqdb/persist.hpp>

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <iomanip>
#include <iostream>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using Database = iqdb::PersistedIndex<iqdb::FlatIndex>;

constexpr std::size_t dimension = 64;
constexpr int rounds = 10;

Database open(const std::filesystem::path& path) {
  return Database::load_or_create({.path = path, .wal_enabled = true},
                                  [] { return iqdb::FlatIndex(dimension, iqdb::DistanceMetric::euclidean); });
}

// Inserts vector after vector, from `first` on, until it is killed.
[[noreturn]] void insert_for_ever(const std::filesystem::path& path, std::uint64_t first, int report_to) {
  try {
    Database db = open(path);
    for (std::uint64_t id = first;; ++id) {
      db.insert(id, std::vector<float>(dimension, static_cast<float>(id)), {{"made_by", "child"}});
      // insert has returned: from here on the vector must survive whatever happens.
      if (write(report_to, &id, sizeof id) != sizeof id) {
        std::_Exit(1);
      }
      if (id % 20 == 0) {
        db.checkpoint();  // far too often, so that some rounds are killed within one
      }
    }
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    std::_Exit(1);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const bool scratch = argc < 2;
  const std::filesystem::path directory =
      std::filesystem::temp_directory_path() / ("wal_recovery." + std::to_string(getpid()));
  const std::filesystem::path path = scratch ? directory / "index.iqdb" : std::filesystem::path(argv[1]);
  std::size_t missing = 0;
  bool failed = false;
  try {
    if (scratch) {
      std::filesystem::create_directories(directory);
    }
    const auto seed = std::random_device{}();
    std::mt19937 random(seed);
    std::cout << "Each round, a child process inserts vectors and reports each one whose insert has returned, until\n"
                 "SIGKILL stops it at a random moment (seed "
              << seed << "). What it had reported must be there afterwards.\n\n"
              << "          reported   found   of them from the log   missing" << std::endl;
    std::uint64_t reported = open(path).index().size();

    for (int round = 1; round <= rounds; ++round) {
      std::array<int, 2> pipe_ends{};
      const pid_t child = pipe(pipe_ends.data()) == 0 ? fork() : -1;
      if (child < 0) {
        throw std::runtime_error("cannot start a child process");
      }
      if (child == 0) {
        close(pipe_ends[0]);
        insert_for_ever(path, reported + 1, pipe_ends[1]);
      }
      close(pipe_ends[1]);
      std::this_thread::sleep_for(std::chrono::milliseconds(20 + random() % 200));
      kill(child, SIGKILL);
      waitpid(child, nullptr, 0);
      for (std::uint64_t id = 0; read(pipe_ends[0], &id, sizeof id) == sizeof id;) {
        reported = id;
      }
      close(pipe_ends[0]);

      const Database db = open(path);
      std::size_t lost = 0;
      for (std::uint64_t id = 1; id <= reported; ++id) {
        lost += db.index().contains(id) ? 0U : 1U;
      }
      missing += lost;
      std::cout << "round " << std::setw(2) << round << std::setw(10) << reported << std::setw(8) << db.index().size()
                << std::setw(23) << db.recovery().replayed << std::setw(10) << lost << std::endl;
      // One more may be there than was reported: the kill came between its insert and the report.
      reported = db.index().size();
    }
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    failed = true;
  }
  if (scratch) {
    std::filesystem::remove_all(directory);
  }
  if (failed || missing > 0) {
    return EXIT_FAILURE;
  }
  std::cout << "\n" << rounds << " kills: nothing that was reported is missing\n";
  return EXIT_SUCCESS;
}
