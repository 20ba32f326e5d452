// Kills a program in the middle of its work, ten times, and shows that nothing it was told is durable was lost.
//
// A child process inserts vectors into an index with the log on, and reports each one over a pipe when insert has
// returned. The parent kills it with SIGKILL at a random moment, loads the index, which replays the log, and looks for
// every reported vector. The next child goes on where this one was stopped.
//
//   wal_recovery [FILE]        FILE is the index; without it a scratch file, which is removed
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <iostream>
#include <random>
#include <thread>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"

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
      if (id % 1000 == 0) {
        db.checkpoint();  // so that some rounds are killed within one
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
  int missing = 0;
  try {
    if (scratch) {
      std::filesystem::create_directories(directory);
    }
    const auto seed = std::random_device{}();
    std::mt19937 random(seed);
    std::cout << "seed " << seed << '\n';
    std::uint64_t acknowledged = open(path).index().size();

    for (int round = 1; round <= rounds; ++round) {
      int pipe_ends[2];
      if (pipe(pipe_ends) != 0) {
        throw std::runtime_error("cannot make a pipe");
      }
      const pid_t child = fork();
      if (child == 0) {
        close(pipe_ends[0]);
        insert_for_ever(path, acknowledged + 1, pipe_ends[1]);
      }
      close(pipe_ends[1]);
      std::this_thread::sleep_for(std::chrono::milliseconds(20 + random() % 200));
      kill(child, SIGKILL);
      waitpid(child, nullptr, 0);
      for (std::uint64_t id = 0; read(pipe_ends[0], &id, sizeof id) == sizeof id;) {
        acknowledged = id;
      }
      close(pipe_ends[0]);

      const Database db = open(path);
      int lost = 0;
      for (std::uint64_t id = 1; id <= acknowledged; ++id) {
        lost += db.index().contains(id) ? 0 : 1;
      }
      missing += lost;
      std::cout << "round " << round << ": killed after " << acknowledged << " acknowledged inserts; loaded "
                << db.index().size() << " vectors, " << db.recovery().replayed << " of them from the log, "
                << db.recovery().dropped_bytes << " bytes of a torn record dropped; missing: " << lost << '\n';
      // The last insert may have been logged and not yet reported: it is then there, and counts as one.
      acknowledged = db.index().size();
    }
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    missing = -1;
  }
  if (scratch) {
    std::filesystem::remove_all(directory);
  }
  if (missing != 0) {
    return EXIT_FAILURE;
  }
  std::cout << "nothing that was acknowledged is missing\n";
  return EXIT_SUCCESS;
}
