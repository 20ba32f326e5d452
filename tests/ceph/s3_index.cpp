// An index on a store over S3 with a real server: what its writers were told is there when they are killed and displaced.
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "ceph/s3_place.hpp"
#include "iqdb/index/flat.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/follower.hpp"
#include "iqdb/persist/object_storage.hpp"
#include "iqdb/persist/shared_index.hpp"
#include "iqdb/persist/storage/s3_object_store.hpp"
#include "support/catch.hpp"
#include "support/child_process.hpp"
#include "support/expect_error.hpp"

namespace with_s3 {

using Storage = iqdb::ObjectStorage<S3ObjectStore>;
using Index = iqdb::SharedIndex<iqdb::FlatIndex, Storage>;

constexpr std::size_t dimensions = 8;

std::vector<float> vector_of(std::uint64_t id) { return std::vector<float>(dimensions, static_cast<float>(id % 1000)); }

iqdb::PersistConfig settings(bool take_over) {
  return {.path = "index", .wal_enabled = true, .freezing = iqdb::Freezing::by_copy, .take_over = take_over};
}

Index opened(const Place& place, bool take_over) {
  const iqdb::FlatIndex empty(dimensions, iqdb::DistanceMetric::euclidean);
  return Index::load_or_create(settings(take_over), empty, Storage(S3ObjectStore(place.config())));
}

TEST_CASE("S3: an index has what many threads inserted, over checkpoints and restarts", "[store]") {
  const Place place;
  constexpr std::uint64_t threads = 8;
  constexpr std::uint64_t each = 40;
  {
    Index index = opened(place, false);
    std::vector<std::thread> running;
    for (std::uint64_t thread = 0; thread < threads; ++thread) {
      running.emplace_back([&index, thread] {
        for (std::uint64_t id = 1; id <= each; ++id) {
          index.insert(thread * each + id, vector_of(id));
        }
      });
    }
    for (int checkpoints = 0; checkpoints < 3; ++checkpoints) {
      index.checkpoint();
    }
    for (std::thread& thread : running) {
      thread.join();
    }
    CHECK(index.stats().syncs.count() < threads * each);
  }
  const Index index = opened(place, false);
  CHECK(index.size() == threads * each);
}

TEST_CASE("S3: a follower shows what the writer is told, and takes its place", "[store]") {
  const Place place;
  Index writer = opened(place, false);
  writer.insert(1, vector_of(1));
  iqdb::PersistConfig config = settings(true);
  auto follower = iqdb::Follower<iqdb::FlatIndex, Storage>::load(config, Storage(S3ObjectStore(place.config())));
  writer.insert(2, vector_of(2));
  CHECK(follower.catch_up() == 2);
  Index promoted = follower.promote();
  iqdb_test::require_kind(iqdb::PersistErrorKind::fenced, [&] { writer.insert(3, vector_of(3)); });
  promoted.insert(4, vector_of(4));
  CHECK(follower.catch_up() == 3);
  CHECK(follower.size() == 3);
}

// Takes the index over, inserts from several threads until it is killed, makes checkpoints, and tells each identifier that is durable
// in a line.
int serve(const Place& place, std::uint64_t first_id, const iqdb_test::Pipe& tell) {
  Index index = opened(place, true);
  constexpr std::uint64_t threads = 4;
  std::vector<std::thread> running;
  for (std::uint64_t thread = 0; thread < threads; ++thread) {
    running.emplace_back([&, thread] {
      for (std::uint64_t id = first_id + thread;; id += threads) {
        index.insert(id, vector_of(id));
        tell.write(std::to_string(id) + "\n");
      }
    });
  }
  for (;;) {
    index.checkpoint();
  }
}

TEST_CASE("S3: what a server was told before it was killed is in the index of the next one", "[store]") {
  const Place place;
  std::set<std::uint64_t> told_ids;
  constexpr std::uint64_t servers = 12;
  constexpr std::uint64_t most_ids = 1'000'000;
  for (std::uint64_t server = 1; server <= servers; ++server) {
    iqdb_test::Pipe told;
    iqdb_test::ChildProcess child([&] { return serve(place, server * most_ids, told); });
    told.close_writing();
    CHECK(told.wait_for_byte());  // the first digit of the first identifier
    std::this_thread::sleep_for(std::chrono::milliseconds(std::random_device()() % 300));
    child.kill();
    std::istringstream lines(told.read_all());
    std::string line;
    std::getline(lines, line);  // its first digit was read
    while (std::getline(lines, line) && !lines.eof()) {
      told_ids.insert(std::stoull(line));
    }
    iqdb::PersistConfig config = settings(false);
    config.read_only = true;
    const Index index = Index::load(config, Storage(S3ObjectStore(place.config())));
    const std::size_t missing = index.read([&](const iqdb::FlatIndex& content) {
      std::size_t absent = 0;
      for (const std::uint64_t id : told_ids) {
        absent += content.contains(id) ? 0U : 1U;
      }
      return absent;
    });
    CHECK(missing == 0);
  }
  INFO(told_ids.size() << " acknowledged");
  CHECK(told_ids.size() > servers);
}

}  // namespace with_s3
