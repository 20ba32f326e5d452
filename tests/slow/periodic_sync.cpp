// The thread that syncs a log periodically, beside one that inserts, syncs, saves, checkpoints, moves and closes the
// index: for ThreadSanitizer, which sees a race whether or not it does harm, and for the outcome, which must be whole.
//
//   periodic_sync [INSERTS]
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <thread>
#include <utility>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"
#include "support/temporary_directory.hpp"

int main(int argc, char** argv) {
  using Database = iqdb::PersistedIndex<iqdb::FlatIndex>;
  const std::uint64_t inserts = argc > 1 ? std::stoull(argv[1]) : 20'000;
  try {
    const iqdb_test::TemporaryDirectory directory;
    const iqdb::PersistConfig config{.path = directory / "index.iqdb",
                                     .wal_enabled = true,
                                     .fsync_policy = iqdb::FsyncPolicy::periodic(std::chrono::milliseconds(1))};
    {
      auto db = Database::open_with(iqdb::FlatIndex(4, iqdb::DistanceMetric::cosine), config);
      for (std::uint64_t id = 0; id < inserts; ++id) {
        db.insert(id, {1, 2, 3, 4});
        if (id % 500 == 0) {
          db.sync();
        }
        if (id % 700 == 0) {
          // Longer than the interval: the other thread syncs while this one does nothing.
          std::this_thread::sleep_for(std::chrono::milliseconds(3));
        }
        if (id % 1500 == 0) {
          db.save();
        }
        if (id % 3000 == 0) {
          db.checkpoint();
        }
        if (id % 4000 == 0) {
          db = Database(std::move(db));
        }
      }
    }
    const auto loaded = Database::load(config);
    std::printf("%llu of %llu inserts are there\n", static_cast<unsigned long long>(loaded.index().size()),
                static_cast<unsigned long long>(inserts));
    return loaded.index().size() == inserts ? EXIT_SUCCESS : EXIT_FAILURE;
  } catch (const std::exception& error) {
    std::printf("%s\n", error.what());
    return EXIT_FAILURE;
  }
}
