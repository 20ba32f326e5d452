// Random lives of a durable index against a plain map: whatever is done in whatever order, a load gives what the map
// has.
//
// A life is a sequence of inserts, erases, batches (rejected ones among them), syncs, saves, checkpoints, orderly
// reopenings, and kills: a kill goes on with copies of the files as they are at that moment. RapidCheck makes the
// lives, and shrinks one that fails to the least that still does; it prints the seed to repeat it with.
//
//   log_model [LIVES]
#include <rapidcheck.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"
#include "support/temporary_directory.hpp"

namespace {

using iqdb::FsyncPolicy;
using Database = iqdb::PersistedIndex<iqdb::FlatIndex>;
using Model = std::map<std::uint64_t, float>;

enum class Act : std::uint8_t { insert, erase, batch, sync, save, checkpoint, reopen, kill };

struct Deed {
  Act act;
  std::uint8_t id;
  std::uint8_t number;
  std::vector<std::pair<bool, std::uint8_t>> batch;  // insert or erase, and of which vector
};

std::ostream& operator<<(std::ostream& out, const Deed& deed) {
  constexpr const char* names[] = {"insert", "erase", "batch", "sync", "save", "checkpoint", "reopen", "kill"};
  out << names[static_cast<std::size_t>(deed.act)] << '(' << int{deed.id} << ", " << int{deed.number};
  for (const auto& [inserts, id] : deed.batch) {
    out << (inserts ? " +" : " -") << int{id};
  }
  return out << ')';
}

rc::Gen<Deed> any_deed() {
  const auto id = rc::gen::inRange<std::uint8_t>(0, 12);  // few, so that duplicates and absent ones are common
  return rc::gen::build<Deed>(
      rc::gen::set(&Deed::act, rc::gen::weightedElement<Act>({{8, Act::insert},
                                                              {5, Act::erase},
                                                              {3, Act::batch},
                                                              {1, Act::sync},
                                                              {1, Act::save},
                                                              {2, Act::checkpoint},
                                                              {2, Act::reopen},
                                                              {3, Act::kill}})),
      rc::gen::set(&Deed::id, id), rc::gen::set(&Deed::number, rc::gen::arbitrary<std::uint8_t>()),
      rc::gen::set(&Deed::batch, rc::gen::resize(5, rc::gen::container<std::vector<std::pair<bool, std::uint8_t>>>(
                                                        rc::gen::pair(rc::gen::arbitrary<bool>(), id)))));
}

// One life: the index, its files, and the map that it must agree with.
class Life {
 public:
  Life(const std::filesystem::path& directory, FsyncPolicy policy, iqdb::Compression compression)
      : directory_(directory), policy_(policy), compression_(compression) {
    fresh_directory();
    db_.emplace(Database::open_with(iqdb::FlatIndex(2, iqdb::DistanceMetric::euclidean), config()));
  }

  void live(const Deed& deed) {
    switch (deed.act) {
      case Act::insert:
        expect_same_answer([&] { insert(deed.id, deed.number); },
                           [&] {
                             db_->insert(deed.id, {static_cast<float>(deed.number), 0.0F}, {{"n", int{deed.number}}});
                           });
        break;
      case Act::erase:
        expect_same_answer([&] { erase(deed.id); }, [&] { db_->erase(deed.id); });
        break;
      case Act::batch:
        expect_same_answer(
            [&] {
              // What the index's checks refuse is not made in part: they ask about the first mutation of each vector.
              std::set<std::uint64_t> seen;
              for (const auto& [inserts, id] : deed.batch) {
                if (seen.insert(id).second && model_.contains(id) == inserts) {
                  throw Rejected{};
                }
              }
              for (const auto& [inserts, id] : deed.batch) {
                inserts ? insert(id, deed.number) : erase(id);
              }
            },
            [&] {
              iqdb::WriteBatch batch;
              for (const auto& [inserts, id] : deed.batch) {
                if (inserts) {
                  batch.insert(id, {static_cast<float>(deed.number), 0.0F});
                } else {
                  batch.erase(id);
                }
              }
              db_->apply(batch);
            });
        break;
      case Act::sync:
        db_->sync();
        break;
      case Act::save:
        db_->save();
        break;
      case Act::checkpoint:
        db_->checkpoint();
        break;
      case Act::reopen:
        db_->close();
        db_.reset();
        db_.emplace(Database::load(config()));
        RC_ASSERT(db_->recovery().dropped_bytes == 0U);
        break;
      case Act::kill:
        kill();
        break;
    }
    RC_ASSERT(contents() == model_);
  }

 private:
  struct Rejected {};

  void insert(std::uint64_t id, std::uint8_t number) {
    if (!model_.emplace(id, number).second) {
      throw Rejected{};
    }
  }

  void erase(std::uint64_t id) {
    if (model_.erase(id) == 0) {
      throw Rejected{};
    }
  }

  template <class InModel, class InDatabase>
  void expect_same_answer(InModel&& in_model, InDatabase&& in_database) {
    bool rejected_by_model = false;
    bool rejected_by_database = false;
    try {
      in_model();
    } catch (const Rejected&) {
      rejected_by_model = true;
    }
    try {
      in_database();
    } catch (const iqdb::IndexError&) {
      rejected_by_database = true;
    }
    RC_ASSERT(rejected_by_model == rejected_by_database);
  }

  void kill() {
    const auto killed = current_;
    fresh_directory();
    for (const char* name : {"index", "index.wal"}) {
      std::filesystem::copy_file(killed / name, current_ / name);
    }
    db_.reset();
    std::filesystem::remove_all(killed);
    db_.emplace(Database::load(config()));
  }

  void fresh_directory() {
    current_ = directory_ / std::to_string(lives_++);
    std::filesystem::create_directory(current_);
  }

  [[nodiscard]] iqdb::PersistConfig config() const {
    return {.path = current_ / "index",
            .wal_enabled = true,
            .fsync_policy = policy_,
            .compression = compression_,
            .buffer_bytes = 4096,
            .helper_threads = 0};
  }

  [[nodiscard]] Model contents() const {
    Model found;
    db_->index().for_each(
        [&](const iqdb::VectorId& id, auto vector, const auto&) { found.emplace(id.integer(), vector[0]); });
    return found;
  }

  std::filesystem::path directory_;
  std::filesystem::path current_;
  int lives_ = 0;
  FsyncPolicy policy_;
  iqdb::Compression compression_;
  Model model_;
  std::optional<Database> db_;
};

}  // namespace

int main(int argc, char** argv) {
  const std::string lives = argc > 1 ? argv[1] : "10000";
  ::setenv("RC_PARAMS", ("max_success=" + lives + " max_size=40").c_str(), /*overwrite=*/0);
  // A sync costs a tenth of a millisecond and more on a disk, and nothing in memory.
  if (std::filesystem::is_directory("/dev/shm")) {
    ::setenv("TMPDIR", "/dev/shm", /*overwrite=*/1);
  }
  const bool good = rc::check("a durable index holds what a map holds", [] {
    const iqdb_test::TemporaryDirectory directory;
    const auto policy =
        *rc::gen::element(FsyncPolicy::always(), FsyncPolicy::never(), FsyncPolicy::periodic(std::chrono::seconds(1)));
    const auto compression =
        *rc::gen::element(iqdb::Compression::none(), iqdb::Compression::none(),
                          IQDB_PERSIST_HAS_LZ4 != 0 ? iqdb::Compression::lz4() : iqdb::Compression::none(),
                          IQDB_PERSIST_HAS_ZSTD != 0 ? iqdb::Compression::zstd(1) : iqdb::Compression::none());
    Life life(directory.path(), policy, compression);
    for (const Deed& deed : *rc::gen::container<std::vector<Deed>>(any_deed())) {
      life.live(deed);
    }
  });
  return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
