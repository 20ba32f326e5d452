// Writers of an index on a store over S3 that are killed, and writers that are stopped, taken over and continued, as often as one
// likes:
//
//   s3_writers killed COUNT      each is killed by SIGKILL under load; the next one takes over: everything acknowledged is there
//   s3_writers stopped COUNT     each is stopped by SIGSTOP under load, taken over, and continued: it acknowledges nothing more
//
// The environment names the store, as for s3_store.cpp. Beside a Ceph that is started for it: with-ceph s3_writers killed 100.
#include <sys/types.h>

#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <random>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "ceph/s3_place.hpp"
#include "iqdb/index/flat.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/object_storage.hpp"
#include "iqdb/persist/shared_index.hpp"
#include "iqdb/persist/storage/s3_object_store.hpp"
#include "support/child_process.hpp"

namespace {

using with_s3::Place;
using Storage = iqdb::ObjectStorage<iqdb::S3ObjectStore>;
using Index = iqdb::SharedIndex<iqdb::FlatIndex, Storage>;
using Identifiers = std::set<std::uint64_t>;

constexpr std::size_t dimensions = 8;
constexpr std::uint64_t threads = 4;
constexpr std::uint64_t most_ids = 1'000'000;  // of one writer
constexpr int ended_fenced = 3;

std::vector<float> vector_of(std::uint64_t id) { return std::vector<float>(dimensions, static_cast<float>(id % 1000)); }

Index opened(const Place& place) {
  const iqdb::PersistConfig config{
      .path = "index", .wal_enabled = true, .freezing = iqdb::Freezing::by_copy, .take_over = true};
  return Index::load_or_create(config, iqdb::FlatIndex(dimensions, iqdb::DistanceMetric::euclidean),
                               Storage(iqdb::S3ObjectStore(place.config())));
}

// Takes the index over, and inserts from several threads, with checkpoints beside them, until it is killed or displaced. Tells each
// identifier that is durable in a line. Returns ended_fenced if it was displaced, and every thread was told so or that nothing can be
// written any more.
int write_on(const Place& place, std::uint64_t first_id, const iqdb_test::Pipe& tell) {
  Index index = opened(place);
  std::vector<std::thread> running;
  std::vector<int> ends(threads, 0);
  for (std::uint64_t thread = 0; thread < threads; ++thread) {
    running.emplace_back([&, thread] {
      try {
        for (std::uint64_t id = first_id + thread;; id += threads) {
          index.insert(id, vector_of(id));
          tell.write(std::to_string(id) + "\n");
        }
      } catch (const iqdb::PersistError& error) {
        const bool is_end =
            error.kind() == iqdb::PersistErrorKind::fenced || error.kind() == iqdb::PersistErrorKind::poisoned;
        ends[thread] = is_end ? ended_fenced : 1;
      }
    });
  }
  try {
    for (;;) {
      index.checkpoint();
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  } catch (const iqdb::PersistError&) {
    // It is displaced; the threads are told the same.
  }
  for (std::thread& thread : running) {
    thread.join();
  }
  for (const int end : ends) {
    if (end != ended_fenced) {
      return 1;
    }
  }
  return ended_fenced;
}

Identifiers identifiers_of(const Index& index) {
  Identifiers found;
  for (const iqdb::VectorId& id : index.ids()) {
    found.insert(id.integer());
  }
  return found;
}

// The whole lines of what a child told; the first digit of the first one was read already, and its rest is passed over.
Identifiers told(const std::string& text) {
  Identifiers ids;
  std::istringstream lines(text);
  std::string line;
  std::getline(lines, line);
  while (std::getline(lines, line) && !lines.eof()) {
    ids.insert(std::stoull(line));
  }
  return ids;
}

std::size_t missing_of(const Identifiers& wanted, const Identifiers& found) {
  std::size_t missing = 0;
  for (const std::uint64_t id : wanted) {
    missing += found.contains(id) ? 0U : 1U;
  }
  return missing;
}

void wait_up_to(unsigned milliseconds) {
  std::this_thread::sleep_for(std::chrono::milliseconds(std::random_device()() % milliseconds));
}

void require(bool holds, const std::string& what) {
  if (!holds) {
    throw std::runtime_error(what);
  }
}

void run_killed(const Place& place, std::uint64_t count) {
  Identifiers acknowledged;
  for (std::uint64_t round = 1; round <= count; ++round) {
    iqdb_test::Pipe pipe;
    iqdb_test::ChildProcess child([&] { return write_on(place, round * most_ids, pipe); });
    pipe.close_writing();
    require(pipe.wait_for_byte(), "a writer ended by itself");  // the first digit of the first identifier
    wait_up_to(400);
    require(child.kill() == -SIGKILL, "a writer ended before it was killed");
    acknowledged.merge(told(pipe.read_all()));
    const Index next = opened(place);
    const std::size_t missing = missing_of(acknowledged, identifiers_of(next));
    require(missing == 0,
            std::to_string(missing) + " acknowledged insertions are missing in round " + std::to_string(round));
  }
  std::cout << count << " writers killed and taken over; " << acknowledged.size()
            << " insertions acknowledged, all of them there each time\n";
}

void run_stopped(const Place& place, std::uint64_t count) {
  Identifiers acknowledged;
  Identifiers markers;
  for (std::uint64_t round = 1; round <= count; ++round) {
    iqdb_test::Pipe pipe;
    iqdb_test::ChildProcess child([&] { return write_on(place, round * most_ids, pipe); });
    pipe.close_writing();
    require(pipe.wait_for_byte(), "a writer ended by itself");
    wait_up_to(400);
    ::kill(child.id(), SIGSTOP);
    Identifiers at_fence;
    {
      Index next = opened(place);
      at_fence = identifiers_of(next);
      next.insert(round, vector_of(round));  // no writer has it
      markers.insert(round);
    }
    ::kill(child.id(), SIGCONT);
    const Identifiers all = told(pipe.read_all());
    require(child.wait() == ended_fenced,
            "a writer that was displaced was not told so in round " + std::to_string(round));
    const std::size_t wrong = missing_of(all, at_fence);
    require(wrong == 0, std::to_string(wrong) +
                            " insertions were acknowledged that the next writer did not load, in round " +
                            std::to_string(round));
    acknowledged.insert(all.begin(), all.end());
    const Identifiers now = identifiers_of(opened(place));
    at_fence.insert(round);
    require(now == at_fence,
            "what a displaced writer did afterwards is in the index, in round " + std::to_string(round));
    require(missing_of(acknowledged, now) == 0 && missing_of(markers, now) == 0,
            "an acknowledged insertion is missing");
  }
  std::cout << count << " writers stopped, taken over and continued; " << acknowledged.size()
            << " insertions acknowledged, none of them behind the take-over, all of them there\n";
}

}  // namespace

int main(int argc, char** argv) try {
  const std::vector<std::string> words(argv + 1, argv + argc);
  if (words.size() != 2 || (words[0] != "killed" && words[0] != "stopped")) {
    std::cerr << "usage: s3_writers killed COUNT | s3_writers stopped COUNT\n";
    return 2;
  }
  const Place place;
  words[0] == "killed" ? run_killed(place, std::stoull(words[1])) : run_stopped(place, std::stoull(words[1]));
  return EXIT_SUCCESS;
} catch (const std::exception& error) {
  std::cerr << "s3_writers: " << error.what() << '\n';
  return EXIT_FAILURE;
}
