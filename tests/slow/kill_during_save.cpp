// A process that is killed at any moment of a save leaves a whole file: the one before, or the new one.
//
// A child saves two indexes in turn to one path, with each codec in turn; the parent kills it at a random moment. The
// file must then be, byte for byte, one of those that the child wrote in full, and the next save must leave no
// temporary file of the dead one.
//
//   kill_during_save [SEED [ROUNDS]]
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"
#include "support/child_process.hpp"
#include "support/files.hpp"
#include "support/sample_index.hpp"

namespace {

using iqdb::Compression;
using iqdb::FlatIndex;
using iqdb::PersistedIndex;
using iqdb_test::ChildProcess;
using iqdb_test::read_bytes;

std::vector<Compression> codecs() {
  std::vector<Compression> all{Compression::none()};
  if (IQDB_PERSIST_HAS_ZSTD != 0) {
    all.push_back(Compression::zstd(3));
  }
  if (IQDB_PERSIST_HAS_LZ4 != 0) {
    all.push_back(Compression::lz4());
  }
  return all;
}

FlatIndex make_index(std::uint64_t seed, std::size_t rows) {
  return iqdb_test::make_sample_index(64, iqdb::DistanceMetric::cosine, rows, seed);
}

iqdb::PersistConfig config_for(const std::filesystem::path& path, Compression compression) {
  // Small buffers make many writes; without helpers of its own the compressor gives the same bytes each time.
  return {
      .path = path, .compression = compression, .replace_existing = true, .buffer_bytes = 4096, .helper_threads = 0};
}

// Saves one index after the other until it is killed.
[[noreturn]] void save_forever(const std::filesystem::path& path, const std::vector<FlatIndex>& indexes,
                               std::size_t first) {
  for (std::size_t turn = first;; ++turn) {
    for (const Compression compression : codecs()) {
      PersistedIndex<FlatIndex>::open_with(indexes[turn % indexes.size()], config_for(path, compression)).save();
    }
  }
}

int run(std::uint64_t seed, int rounds) {
  const std::filesystem::path directory =
      std::filesystem::current_path() / ("kill_during_save." + std::to_string(::getpid()));
  std::filesystem::create_directory(directory);
  const std::filesystem::path path = directory / "index.iqdb";
  const std::filesystem::path temporary = directory / "index.iqdb.tmp";
  std::printf("kill_during_save: seed %llu, %d rounds\n", static_cast<unsigned long long>(seed), rounds);

  // Different contents and different sizes: a mixture of two would be seen, and so would an old tail.
  const std::vector<FlatIndex> indexes{make_index(1, 900), make_index(2, 1500)};
  std::vector<std::vector<std::byte>> whole;
  const auto slowest_start = std::chrono::steady_clock::now();
  for (const FlatIndex& index : indexes) {
    for (const Compression compression : codecs()) {
      PersistedIndex<FlatIndex>::open_with(index, config_for(path, compression)).save();
      whole.push_back(read_bytes(path));
    }
  }
  // Long enough for the child to be anywhere in its first few saves.
  const auto longest_life = 2 * (std::chrono::steady_clock::now() - slowest_start) / indexes.size();

  std::mt19937_64 random(seed);
  int within_save = 0;
  int file_changed = 0;
  std::vector<std::byte> before = read_bytes(path);
  for (int round = 0; round < rounds; ++round) {
    ChildProcess child([&]() -> int { save_forever(path, indexes, static_cast<std::size_t>(round)); });
    std::this_thread::sleep_for(std::chrono::nanoseconds(
        random() % static_cast<std::uint64_t>(std::chrono::nanoseconds(longest_life).count())));
    if (const int end = child.kill(); end != -SIGKILL) {
      std::printf("round %d: the child was not killed, it ended by itself with %d\n", round, end);
      return EXIT_FAILURE;
    }
    const std::vector<std::byte> found = read_bytes(path);
    if (std::ranges::find(whole, found) == whole.end()) {
      std::printf("round %d: the file has %zu bytes and is none of those that were saved; it is kept as %s\n", round,
                  found.size(), path.c_str());
      return EXIT_FAILURE;
    }
    file_changed += found == before ? 0 : 1;
    within_save += std::filesystem::exists(temporary) ? 1 : 0;

    const std::size_t which = random() % indexes.size();
    PersistedIndex<FlatIndex>::open_with(indexes[which], config_for(path, Compression::none())).save();
    before = read_bytes(path);
    if (std::filesystem::exists(temporary)) {
      std::printf("round %d: the temporary file of the killed process is still there after the next save\n", round);
      return EXIT_FAILURE;
    }
    if (before != whole[which * codecs().size()]) {
      std::printf("round %d: the save after the kill wrote something else\n", round);
      return EXIT_FAILURE;
    }
  }
  std::printf(
      "kill_during_save: %d rounds, each left a whole file; %d kills hit within a save, %d came after a new file\n",
      rounds, within_save, file_changed);
  std::filesystem::remove_all(directory);
  if (within_save < rounds / 20) {
    std::puts("too few kills hit within a save: the test has shown too little");
    return EXIT_FAILURE;
  }
  return EXIT_SUCCESS;
}

}  // namespace

int main(int count, char** arguments) {
  try {
    const std::vector<std::string> given(arguments + 1, arguments + count);
    const std::uint64_t seed = given.empty() ? std::random_device{}() : std::stoull(given[0]);
    const int rounds = given.size() < 2 ? 100 : std::stoi(given[1]);
    return run(seed, rounds);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "kill_during_save: %s\n", error.what());
    return EXIT_FAILURE;
  }
}
