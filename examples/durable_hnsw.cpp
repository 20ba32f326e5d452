// hnswlib, made durable. Today a program keeps its index like this:
//
//   hnswlib::L2Space space(dim);
//   hnswlib::HierarchicalNSW<float> index(&space, max_elements);
//   for (auto& [id, vector] : what_comes_in) {
//     index.addPoint(vector.data(), id);
//   }
//   index.saveIndex("vectors.bin");     // not synced, not checked, the old file overwritten; what came in since the
//                                       // last call is lost in a crash
//   …
//   hnswlib::HierarchicalNSW<float> again(&space, "vectors.bin");
//
// and with this library as below. The program kills itself in the middle of its insertions, and shows that every one
// that had returned is there.
#include <iqdb/index/hnswlib.hpp>
#include <iqdb/persist.hpp>

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <tuple>
#include <vector>

namespace {

using Database = iqdb::PersistedIndex<iqdb::HnswIndex>;

constexpr std::size_t dim = 4;
constexpr std::uint64_t killed_after = 500;

Database open() {
  return Database::load_or_create({.path = "durable_hnsw.iqdb", .wal_enabled = true},
                                  [] { return iqdb::HnswIndex(dim, iqdb::DistanceMetric::euclidean); });
}

std::vector<float> vector_of(std::uint64_t id) {
  const auto x = static_cast<float>(id);
  return {x, x / 2, -x, 1.0F};
}

[[noreturn]] void insert_until_killed() {
  Database db = open();
  for (std::uint64_t id = db.index().size();; ++id) {
    db.insert(id, vector_of(id));
    if (id + 1 == killed_after) {
      std::ignore = std::raise(SIGKILL);  // no destructor, no close: as a crash would
    }
  }
}

}  // namespace

int main() try {
  std::filesystem::remove("durable_hnsw.iqdb");
  std::filesystem::remove("durable_hnsw.iqdb.wal");
  const pid_t child = ::fork();
  if (child == 0) {
    insert_until_killed();
  }
  int status = 0;
  if (child < 0 || ::waitpid(child, &status, 0) != child || !WIFSIGNALED(status)) {
    std::cerr << "the child was not killed\n";
    return EXIT_FAILURE;
  }

  const Database db = open();
  std::cout << "killed after " << killed_after << " insertions; recovered " << db.index().size() << ", of which "
            << db.recovery().replayed << " from the log\n";
  for (std::uint64_t id = 0; id < killed_after; ++id) {
    const auto hits = db.index().search(vector_of(id), {.k = 1});
    if (hits.empty() || hits.front().id != id) {
      std::cerr << "vector " << id << " is lost\n";
      return EXIT_FAILURE;
    }
  }
  std::cout << "each of them is found\n";
  return EXIT_SUCCESS;
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return EXIT_FAILURE;
}
