#include "iqdb/persist/follower.hpp"

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"
#include "iqdb/persist/shared_index.hpp"
#include "support/catch.hpp"
#include "support/child_process.hpp"
#include "support/durable.hpp"
#include "support/expect_error.hpp"
#include "support/faulty_file_system.hpp"
#include "support/files.hpp"
#include "support/raw_log.hpp"
#include "support/shared_calls.hpp"

namespace {

using iqdb::PersistErrorKind;
using iqdb_test::DurableDirectory;
using iqdb_test::DurableIndex;
using iqdb_test::empty_index;
using iqdb_test::Ids;
using iqdb_test::ids_of;
using iqdb_test::index_of;
using iqdb_test::insert_row;
using iqdb_test::RawLog;
using iqdb_test::require_kind;
using iqdb_test::vector_of;
using FlatFollower = iqdb::Follower<iqdb::FlatIndex>;

Ids shown_by(const FlatFollower& follower) {
  return follower.read([](const iqdb::FlatIndex& index) { return ids_of(index); });
}

// A snapshot with the vector 1 and a log beside it, which the test writes byte by byte.
struct WrittenByHand {
  WrittenByHand() {
    auto db = directory.open_with(index_of({1}));
    db.close();
    log.emplace(log_id, 0, iqdb_test::fingerprint_of(directory.snapshot_bytes()));
    put();
  }

  // Makes the file hold what `log` holds, in place: as an append does, or the undoing of one.
  void put() const { iqdb_test::write_bytes(directory.log(), log->bytes()); }
  void put(const RawLog& other) const { iqdb_test::write_bytes(directory.log(), other.bytes()); }

  RawLog& insert(std::uint64_t id) { return log->frame(iqdb_test::insert_body(id, vector_of(id)), 1); }

  static constexpr std::uint64_t log_id = 77;
  DurableDirectory directory;
  std::optional<RawLog> log;
};

}  // namespace

TEST_CASE("A follower shows changes that were not logged once they are saved", "[follower]") {
  for (const bool checkpoints : {false, true}) {
    const DurableDirectory directory;
    auto db = directory.open_with(index_of({1}));
    auto follower = FlatFollower::load({.path = directory.path()});
    db.index_mut().insert(2, vector_of(2));
    if (checkpoints) {
      db.checkpoint();
    } else {
      db.save();
    }
    insert_row(db, 3);
    follower.catch_up();
    CHECK(shown_by(follower) == Ids{1, 2, 3});
    db.close();
    CHECK(ids_of(directory.load().index()) == Ids{1, 2, 3});
  }
}

TEST_CASE("A follower shows what the writer has made since", "[follower]") {
  const DurableDirectory directory;
  auto db = directory.open_with(index_of({1}));
  auto follower = FlatFollower::load({.path = directory.path()});
  CHECK(shown_by(follower) == Ids{1});
  insert_row(db, 2);
  db.erase(1);
  iqdb::WriteBatch batch;
  insert_row(batch, 3);
  insert_row(batch, 4);
  db.apply(batch);
  db.upsert(2, vector_of(2));
  db.update_metadata(3, iqdb::Metadata{{"page", 5}});
  CHECK(shown_by(follower) == Ids{1});
  CHECK(follower.catch_up() == db.lsn());
  CHECK(shown_by(follower) == Ids{2, 3, 4});
  CHECK(follower.search(vector_of(3), {.k = 1}).front().id == iqdb::VectorId(3));
  CHECK(follower.metadata(3) == iqdb::Metadata{{"page", 5}});
  CHECK(follower.catch_up() == db.lsn());
  CHECK(follower.stats().reloads == 0);
}

TEST_CASE("A follower goes on over checkpoints, saves and restarts without a reload", "[follower]") {
  const DurableDirectory directory;
  std::optional<DurableIndex> db(directory.open_with());
  auto follower = FlatFollower::load({.path = directory.path()});
  Ids expected;
  for (std::uint64_t id = 1; id <= 60; ++id) {
    insert_row(*db, id);
    expected.push_back(id);
    if (id % 3 == 0) {
      db->checkpoint();
    } else if (id % 7 == 0) {
      db->save();
    } else if (id % 11 == 0) {
      db.reset();
      db.emplace(directory.load());
    }
    if (id % 4 == 0) {
      insert_row(*db, 100 + id);
      db->erase(100 + id);
    }
    if (id % 5 != 0) {
      CHECK(follower.catch_up() == db->lsn());
      CHECK(shown_by(follower) == expected);
    }
  }
  CHECK(follower.stats().reloads == 0);
  CHECK(follower.stats().taken_back == 0);
}

TEST_CASE("A follower that begins behind a save in the middle of a log goes on", "[follower]") {
  const DurableDirectory directory;
  auto db = directory.open_with();
  insert_row(db, 1);
  db.save();
  auto follower = FlatFollower::load({.path = directory.path()});
  CHECK(follower.lsn() == 1);
  insert_row(db, 2);
  db.checkpoint();
  insert_row(db, 3);
  CHECK(follower.catch_up() == 3);
  CHECK(shown_by(follower) == Ids{1, 2, 3});
  CHECK(follower.stats().reloads == 0);
}

TEST_CASE("A rejected mutation is not shown and keeps no later one from being shown", "[follower]") {
  const DurableDirectory directory;
  auto db = directory.open_with(index_of({1}));
  auto follower = FlatFollower::load({.path = directory.path()});
  for (std::uint64_t id = 2; id < 6; ++id) {
    std::ignore = require_kind(iqdb::IndexErrorKind::duplicate, [&] { insert_row(db, 1); });
    insert_row(db, id);
    follower.catch_up();
  }
  CHECK(shown_by(follower) == Ids{1, 2, 3, 4, 5});
}

TEST_CASE("A record that is being written is not shown before it is whole", "[follower][torn]") {
  WrittenByHand files;
  auto follower = FlatFollower::load({.path = files.directory.path()});
  RawLog whole = *files.log;
  whole.frame(iqdb_test::insert_body(2, vector_of(2)), 1);
  for (std::size_t bytes = files.log->size(); bytes < whole.size(); ++bytes) {
    iqdb_test::write_bytes(files.directory.log(), std::span(whole.bytes()).first(bytes));
    CHECK(follower.catch_up() == 0);
  }
  files.put(whole);
  CHECK(follower.catch_up() == 1);
  CHECK(shown_by(follower) == Ids{1, 2});
  CHECK(follower.stats().reloads == 0);
}

TEST_CASE("What a writer has undone and written anew is taken back", "[follower][taken_back]") {
  WrittenByHand files;
  auto follower = FlatFollower::load({.path = files.directory.path()});
  files.insert(2);
  files.put();
  follower.catch_up();
  RawLog undone = *files.log;
  undone.frame(iqdb_test::insert_body(3, vector_of(3)), 1);
  files.put(undone);
  follower.catch_up();
  CHECK(shown_by(follower) == Ids{1, 2, 3});
  SECTION("nothing came instead") { files.put(); }
  SECTION("another mutation has its number") {
    files.insert(4);
    files.put();
  }
  SECTION("others stand behind it") {
    files.insert(4);
    files.insert(5);
    files.put();
  }
  follower.catch_up();
  CHECK(shown_by(follower) == ids_of(DurableIndex::load({.path = files.directory.path(), .read_only = true}).index()));
  CHECK(follower.stats().taken_back == 1);
  CHECK(follower.stats().reloads == 1);
}

TEST_CASE("A mutation that is aborted after it was shown is taken back", "[follower][taken_back]") {
  WrittenByHand files;
  auto follower = FlatFollower::load({.path = files.directory.path()});
  iqdb_test::Bytes batch =
      iqdb_test::batch_body({iqdb_test::insert_body(2, vector_of(2)), iqdb_test::insert_body(3, vector_of(3))});
  files.log->frame(batch, 2);
  files.put();
  follower.catch_up();
  CHECK(shown_by(follower) == Ids{1, 2, 3});
  files.log->control(iqdb_test::abort_body(2));
  files.insert(4);
  files.put();
  CHECK(follower.catch_up() == 3);
  CHECK(shown_by(follower) == Ids{1, 2, 4});
  CHECK(follower.stats().taken_back == 1);
  files.insert(5);
  files.put();
  follower.catch_up();
  CHECK(shown_by(follower) == Ids{1, 2, 4, 5});
  CHECK(follower.stats().reloads == 1);
}

TEST_CASE("A follower never shows a mixture of two histories", "[follower][history]") {
  const DurableDirectory directory;
  const DurableDirectory place;
  std::optional<DurableIndex> db(directory.open_with());
  for (std::uint64_t id = 1; id <= 7; ++id) {
    insert_row(*db, id);
  }
  db->backup(place.directory() / "earlier", {.up_to = 5});
  auto follower = FlatFollower::load({.path = directory.path()});
  CHECK(follower.lsn() == 7);
  db.reset();
  // The backup takes the place of the index, and other mutations get the numbers 6 and 7.
  for (const char* const name : {"index.iqdb.wal", "index.iqdb"}) {
    std::filesystem::copy_file(place.directory() / "earlier" / name, directory.directory() / "new");
    std::filesystem::rename(directory.directory() / "new", directory.directory() / name);
  }
  db.emplace(directory.load());
  const std::uint64_t more = GENERATE(0U, 1U, 2U, 5U);
  for (std::uint64_t id = 0; id < more; ++id) {
    insert_row(*db, 20 + id);
  }
  CHECK(follower.catch_up() == 5 + more);
  CHECK(shown_by(follower) == ids_of(db->index()));
  CHECK(follower.stats().reloads == 1);
}

TEST_CASE("A copy of the same history that was put back and went on otherwise is told from it", "[follower][history]") {
  const DurableDirectory directory;
  std::optional<DurableIndex> db(directory.open_with());
  for (std::uint64_t id = 1; id <= 5; ++id) {
    insert_row(*db, id);
  }
  db.reset();
  const auto copy = directory.files();
  db.emplace(directory.load());
  insert_row(*db, 6);
  insert_row(*db, 7);
  const bool checkpoints = GENERATE(false, true);
  auto follower = FlatFollower::load({.path = directory.path()});
  CHECK(shown_by(follower) == Ids{1, 2, 3, 4, 5, 6, 7});
  db.reset();
  for (const auto& [name, bytes] : copy) {  // as cp and mv do: the follower has the old files open
    iqdb_test::write_bytes(directory.directory() / "new", bytes);
    std::filesystem::rename(directory.directory() / "new", directory.directory() / name);
  }
  db.emplace(directory.load());
  insert_row(*db, 26);
  insert_row(*db, 7);  // with the number and the bytes that it had
  if (checkpoints) {
    db->checkpoint();
  } else {
    insert_row(*db, 8);
  }
  follower.catch_up();
  CHECK(shown_by(follower) == ids_of(db->index()));
  CHECK(follower.stats().reloads == 1);
}

TEST_CASE("What a load passed over is shown if the writer takes it", "[follower][taken_back]") {
  WrittenByHand files;
  // The first is a duplicate; the second was another caller's.
  files.log->frame(
      iqdb_test::batch_body({iqdb_test::insert_body(1, vector_of(1)), iqdb_test::insert_body(2, vector_of(2))}), 2);
  files.put();
  auto follower = FlatFollower::load({.path = files.directory.path()});
  CHECK(shown_by(follower) == Ids{1});  // nobody was told that they are there
  files.log->control(iqdb_test::abort_body(1));
  SECTION("nothing stands behind the abort") {}
  SECTION("more stands behind it") { files.insert(3); }
  files.put();
  follower.catch_up();
  CHECK(shown_by(follower) == ids_of(DurableIndex::load({.path = files.directory.path(), .read_only = true}).index()));
  CHECK(shown_by(follower).size() >= 2);
}

TEST_CASE("A failure while mutations are applied loses none of them", "[follower][faults]") {
  const DurableDirectory directory;
  iqdb_test::FaultyFileSystem system;
  using Faulty = iqdb::Follower<iqdb::FlatIndex, iqdb_test::FaultyStorage>;
  auto db = directory.open_with(empty_index(), iqdb::FsyncPolicy::never());
  insert_row(db, 1);
  auto follower = Faulty::load({.path = directory.path()}, iqdb_test::FaultyStorage(system));
  Ids expected{1};
  bool failed = true;
  for (std::size_t call = 0; failed; ++call) {
    for (int row = 0; row < 500; ++row) {  // more than a piece that is read at once
      expected.push_back(expected.size() + 1);
      insert_row(db, expected.back());
    }
    system.plan(iqdb_test::fail_call(call, EIO));
    failed = iqdb_test::word_of([&] { follower.catch_up(); }) != "ok";
    system.plan({});
    follower.catch_up();
    CHECK(follower.lsn() == db.lsn());
    CHECK(follower.read([](const iqdb::FlatIndex& index) { return ids_of(index); }) == expected);
  }
  CHECK(expected.size() > 1000);
}

TEST_CASE("A follower loads anew what was saved with the log off", "[follower]") {
  const DurableDirectory directory;
  { const auto db = directory.open_with(index_of({1})); }
  std::filesystem::remove(directory.log());
  auto follower = FlatFollower::load({.path = directory.path()});
  auto db = DurableIndex::load(directory.config_without_log());
  insert_row(db, 2);
  follower.catch_up();
  CHECK(shown_by(follower) == Ids{1});
  db.save();
  follower.catch_up();
  CHECK(shown_by(follower) == Ids{1, 2});
  follower.catch_up();
  CHECK(follower.stats().reloads == 1);
  { auto logged = directory.load(); }  // begins a log
  follower.catch_up();
  CHECK(follower.stats().reloads == 2);
}

TEST_CASE("Damage in a log is told and what was shown stays", "[follower][damage]") {
  WrittenByHand files;
  files.insert(2);
  files.put();
  auto follower = FlatFollower::load({.path = files.directory.path()});
  files.insert(3);
  files.insert(4);
  files.insert(5);
  std::vector<std::byte> damaged = files.log->bytes();
  damaged[damaged.size() - 100] ^= std::byte{1};
  iqdb_test::write_bytes(files.directory.log(), damaged);
  std::ignore = require_kind(PersistErrorKind::log_corrupted, [&] {
    follower.catch_up();  // up to the damage
    follower.catch_up();
  });
  CHECK(shown_by(follower).size() >= 2);
  files.put();
  follower.catch_up();
  CHECK(shown_by(follower) == Ids{1, 2, 3, 4, 5});
}

TEST_CASE("Followers beside a writer that makes checkpoints show what it has", "[follower][threads]") {
  const DurableDirectory directory;
  auto db = iqdb::SharedIndex<iqdb::FlatIndex>::open_with(empty_index(), directory.config());
  std::vector<std::unique_ptr<FlatFollower>> followers;
  for (int number = 0; number < 3; ++number) {
    followers.emplace_back(new FlatFollower(FlatFollower::load({.path = directory.path()})));
    followers.back()->catch_up_every(std::chrono::milliseconds(1));
  }
  constexpr std::uint64_t rows = 600;
  for (std::uint64_t id = 1; id <= rows; ++id) {
    insert_row(db, id);
    if (id % 100 == 0) {
      db.checkpoint();
    }
    const Ids ids = shown_by(*followers[id % followers.size()]);
    CHECK((ids.empty() || ids.back() == ids.size()));  // a beginning of what was inserted
  }
  for (const auto& follower : followers) {
    iqdb_test::wait_until([&] { return follower->lsn() == rows; });
    CHECK(shown_by(*follower).size() == rows);
    CHECK(follower->stats().why_failing.empty());
  }
}

TEST_CASE("The thread of a follower tells why it fails and tries again", "[follower][threads]") {
  WrittenByHand files;
  auto follower = FlatFollower::load({.path = files.directory.path()});
  const std::filesystem::path aside = files.directory.directory() / "aside";
  std::filesystem::rename(files.directory.path(), aside);
  std::filesystem::remove(files.directory.log());
  follower.catch_up_every(std::chrono::milliseconds(1));
  iqdb_test::wait_until([&] { return !follower.stats().why_failing.empty(); });
  CHECK(shown_by(follower) == Ids{1});
  std::filesystem::rename(aside, files.directory.path());
  iqdb_test::wait_until([&] { return follower.stats().why_failing.empty(); });
}

TEST_CASE("A follower becomes the writer when the writer has ended", "[follower][promote]") {
  const DurableDirectory directory;
  std::optional<DurableIndex> db(directory.open_with(index_of({1})));
  insert_row(*db, 2);
  auto follower = FlatFollower::load({.path = directory.path()});
  insert_row(*db, 3);
  std::ignore = require_kind(PersistErrorKind::locked, [&] { std::ignore = follower.promote(); });
  follower.catch_up();
  CHECK(shown_by(follower) == Ids{1, 2, 3});
  db.reset();
  auto writer = follower.promote();
  insert_row(writer, 4);
  CHECK(writer.read([](const iqdb::FlatIndex& index) { return ids_of(index); }) == Ids{1, 2, 3, 4});
  follower.catch_up();
  CHECK(shown_by(follower) == Ids{1, 2, 3, 4});
}

TEST_CASE("A follower writes nothing and takes no lock", "[follower]") {
  WrittenByHand files;
  std::filesystem::remove(files.directory.path().string() + ".lock");
  const auto before = files.directory.files();
  auto follower = FlatFollower::load({.path = files.directory.path()});
  follower.catch_up();
  CHECK(files.directory.files() == before);
}

TEST_CASE("A standby that asks for the index while the writer lives goes on following", "[follower][promote]") {
  const DurableDirectory directory;
  auto db = directory.open_with(index_of({1}));
  auto follower = FlatFollower::load({.path = directory.path()});
  follower.catch_up_every(std::chrono::milliseconds(1));
  std::ignore = require_kind(PersistErrorKind::locked, [&] { std::ignore = follower.promote(); });
  insert_row(db, 2);
  iqdb_test::wait_until([&] { return follower.lsn() == 1; });
  CHECK(shown_by(follower) == Ids{1, 2});
}

TEST_CASE("A call from on_progress of a follower's own reload is refused", "[follower][reentered]") {
  const DurableDirectory directory;
  { const auto db = directory.open_with(index_of({1})); }
  FlatFollower* follower = nullptr;
  std::string words;
  iqdb::PersistConfig config{.path = directory.path()};
  config.on_progress = [&](const iqdb::Progress& /*progress*/) {
    if (follower != nullptr && words.empty()) {
      words = iqdb_test::word_of([&] { follower->catch_up(); }) + " " +
              iqdb_test::word_of([&] { std::ignore = follower->promote(); });
    }
  };
  auto made = FlatFollower::load(config);
  follower = &made;
  std::filesystem::remove(directory.log());  // so that it must load anew
  made.catch_up();
  CHECK(words == "reentered reentered");
}

TEST_CASE("A call of a follower from within a read is refused but for a read", "[follower][reentered]") {
  WrittenByHand files;
  auto follower = FlatFollower::load({.path = files.directory.path()});
  follower.read([&](const iqdb::FlatIndex& /*index*/) {
    CHECK(shown_by(follower) == Ids{1});
    std::ignore = require_kind(PersistErrorKind::reentered, [&] { follower.catch_up(); });
    std::ignore = require_kind(PersistErrorKind::reentered, [&] { std::ignore = follower.promote(); });
    return 0;
  });
}

TEST_CASE("What a follower cannot do is refused and told", "[follower]") {
  WrittenByHand files;
  std::ignore =
      require_kind(PersistErrorKind::io, [&] { FlatFollower::load({.path = files.directory.directory() / "none"}); });
  std::ignore = require_kind(PersistErrorKind::invalid_config,
                             [&] { FlatFollower::load({.path = files.directory.path(), .up_to = 1}); });
  auto follower = FlatFollower::load({.path = files.directory.path()});
  std::ignore =
      require_kind(PersistErrorKind::invalid_config, [&] { follower.catch_up_every(std::chrono::milliseconds(0)); });
  std::ignore = require_kind(PersistErrorKind::invalid_config,
                             [&] { follower.catch_up_every(std::chrono::milliseconds::max()); });
}

TEST_CASE("In the child of a fork every call of a follower throws poisoned and its end does nothing",
          "[follower][fork]") {
  WrittenByHand files;
  std::unique_ptr<FlatFollower> follower(new FlatFollower(FlatFollower::load({.path = files.directory.path()})));
  follower->catch_up_every(std::chrono::milliseconds(1));
  CHECK(iqdb_test::in_child([&]() -> std::string {
          const std::string words = iqdb_test::word_of([&] { follower->catch_up(); }) + " " +
                                    iqdb_test::word_of([&] { std::ignore = shown_by(*follower); }) + " " +
                                    iqdb_test::word_of([&] { std::ignore = follower->stats(); });
          follower.reset();
          return words;
        }) == "poisoned poisoned poisoned");
}
