#include "iqdb/persist/wal/group_commit.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <memory>
#include <new>
#include <optional>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/persist.hpp"
#include "iqdb/persist/testing/random.hpp"
#include "support/catch.hpp"
#include "support/memory_storage.hpp"
#include "support/raw_log.hpp"
#include "support/shared_calls.hpp"

namespace {

using iqdb::FrameOp;
using iqdb::Metadata;
using iqdb::MutationCall;
using iqdb::VectorId;
using iqdb_test::MemoryStorage;

const std::filesystem::path log_path = "/index.iqdb.wal";

// Holds identifiers. It has no checks, so that it rejects only when a mutation is applied.
class IdSet {
 public:
  void insert(const VectorId& id, std::span<const float> /*vector*/, const std::optional<Metadata>& /*metadata*/) {
    if (id == VectorId(666)) {
      throw std::runtime_error("no such number");
    }
    if (!ids_.insert(id.integer()).second) {
      throw iqdb::IndexError(iqdb::IndexErrorKind::duplicate, "it is there");
    }
  }
  void erase(const VectorId& id) {
    if (ids_.erase(id.integer()) == 0) {
      throw iqdb::IndexError(iqdb::IndexErrorKind::not_found, "it is not there");
    }
  }
  [[nodiscard]] std::size_t size() const noexcept { return ids_.size(); }
  [[nodiscard]] static std::size_t dim() noexcept { return 1; }
  [[nodiscard]] static iqdb::DistanceMetric metric() noexcept { return iqdb::DistanceMetric::euclidean; }
  [[nodiscard]] std::vector<std::uint64_t> ids() const { return {ids_.begin(), ids_.end()}; }

 private:
  std::set<std::uint64_t> ids_;
};

// The same, and it tells beforehand what it will reject.
class CheckedIdSet : public IdSet {
 public:
  void check_insert(const VectorId& id, std::span<const float> /*vector*/,
                    const std::optional<Metadata>& /*metadata*/) const {
    const auto held = ids();
    if (std::ranges::binary_search(held, id.integer())) {
      throw iqdb::IndexError(iqdb::IndexErrorKind::duplicate, "it is there");
    }
  }
};

// Takes many in one call.
template <class Set>
class TakesMany : public Set {
 public:
  void insert_many(const iqdb::InsertedRows& rows, iqdb::LentThreads& /*threads*/) {
    given.push_back(rows.size());
    if (out_of_memory) {
      throw std::bad_alloc();
    }
    Set all = *this;
    for (std::size_t row = 0; row < rows.size(); ++row) {
      all.insert(rows.ids[row], rows.vectors.subspan(row, 1), rows.metadata[row]);
    }
    static_cast<Set&>(*this) = std::move(all);
  }

  std::vector<std::size_t> given;  // how many each time
  bool out_of_memory = false;
};
using ManyIdSet = TakesMany<IdSet>;
using CheckedManyIdSet = TakesMany<CheckedIdSet>;

using Ids = std::vector<std::uint64_t>;
using Sizes = std::vector<std::size_t>;

// A log in memory, and the calls of a group.
template <class I>
class Group {
 public:
  explicit Group(iqdb::FsyncPolicy policy = iqdb::FsyncPolicy::always())
      : lock_(storage_.lock("/index.iqdb")), writer_({.path = "/index.iqdb", .fsync_policy = policy}) {
    iqdb::NewLog<MemoryStorage> log(storage_, log_path, lock_, {}, 0, std::nullopt, {});
    log.finish();
    iqdb::put_in_place(log.file());
    writer_.go_on_with(storage_, log);
    storage_.watch([this](std::string_view what) {
      syncs += what == "sync the log" ? 1U : 0U;
      writes += what == "write the log" ? 1U : 0U;
      if (what == fails && --fails_at == 0) {
        iqdb::throw_persist_error(iqdb::PersistErrorKind::io, "the disk is gone");
      }
    });
  }

  void insert(std::uint64_t id) { add({.op = FrameOp::insert, .id = id, .vector = vector_}); }
  void erase(std::uint64_t id) { add({.op = FrameOp::erase, .id = id}); }
  void insert_all(const Ids& ids) { insert_all_and_erase(ids, {}); }
  void insert_all_and_erase(const Ids& ids, const Ids& erased) {
    auto& batch = batches_.emplace_back(std::make_unique<iqdb::WriteBatch>());
    for (const std::uint64_t id : ids) {
      batch->insert(id, vector_);
    }
    for (const std::uint64_t id : erased) {
      batch->erase(id);
    }
    add({.op = FrameOp::batch, .batch = batch->mutations()});
  }

  // Commits the calls added since the last one; the outcome of each.
  std::vector<std::string> commit(std::uint64_t piece = 1000) { return commit(piece, piece); }

  // The same. It is enough when that was asked so often.
  std::vector<std::string> commit(std::uint64_t whole, std::uint64_t questions) {
    const auto alone = [&](auto&& apply) {
      ++pieces;
      std::size_t asked = 0;
      apply([&] { return ++asked == questions; });
    };
    committed = iqdb::commit_group(index, &writer_, "/index.iqdb", std::span(calls_), whole, alone, &runs_);
    std::vector<std::string> outcomes;
    for (const MutationCall& call : calls_) {
      outcomes.push_back(iqdb_test::outcome_in_a_word(call.error));
    }
    calls_.clear();
    return outcomes;
  }

  [[nodiscard]] std::vector<iqdb_test::SeenFrame> frames() {
    return iqdb_test::frames_of(storage_.files().at(log_path));
  }
  [[nodiscard]] bool poisoned() { return writer_.poisoned(); }

  I index;
  iqdb::CommittedGroup committed;
  std::size_t syncs = 0;
  std::size_t writes = 0;
  std::size_t pieces = 0;
  std::string fails;  // what fails, the time after `fails_at` - 1 others
  std::size_t fails_at = 1;

 private:
  void add(MutationCall call) {
    call.encoded = encoded_.emplace_back(to_vector(encoder_.encode(call)));
    calls_.push_back(std::move(call));
  }

  static std::vector<std::byte> to_vector(std::span<const std::byte> bytes) { return {bytes.begin(), bytes.end()}; }

  MemoryStorage storage_;
  MemoryStorage::Lock lock_;
  iqdb::LogWriter<MemoryStorage> writer_;
  iqdb::CallEncoder encoder_;
  iqdb::InsertRuns runs_{0};
  std::vector<float> vector_{1.0F};
  std::vector<std::unique_ptr<iqdb::WriteBatch>> batches_;
  std::vector<std::vector<std::byte>> encoded_;
  std::vector<MutationCall> calls_;
};

using Outcomes = std::vector<std::string>;

std::vector<unsigned> ops_of(const std::vector<iqdb_test::SeenFrame>& frames) {
  std::vector<unsigned> ops;
  for (const auto& frame : frames) {
    ops.push_back(frame.op);
  }
  return ops;
}

using Ops = std::vector<unsigned>;

}  // namespace

TEST_CASE("The calls of a group are one record with one sync", "[group_commit]") {
  Group<IdSet> group;
  group.insert(1);
  group.insert(2);
  group.insert_all({3, 4});
  CHECK(group.commit() == Outcomes{"ok", "ok", "ok"});
  CHECK(group.index.ids() == Ids{1, 2, 3, 4});
  CHECK(group.writes == 1);
  CHECK(group.syncs == 1);
  CHECK(ops_of(group.frames()) == Ops{3});
  CHECK(group.committed.applied == 4);
}

TEST_CASE("A group of one mutation is the record that a single thread writes", "[group_commit]") {
  Group<IdSet> group;
  group.insert(1);
  CHECK(group.commit() == Outcomes{"ok"});
  group.erase(1);
  CHECK(group.commit() == Outcomes{"ok"});
  CHECK(ops_of(group.frames()) == Ops{1, 2});
}

TEST_CASE("A call that a check refuses is not logged and those beside it are", "[group_commit]") {
  Group<CheckedIdSet> group;
  group.insert(1);
  std::ignore = group.commit();
  group.insert(2);
  group.insert(1);
  group.insert(3);
  CHECK(group.commit() == Outcomes{"ok", "duplicate", "ok"});
  CHECK(group.index.ids() == Ids{1, 2, 3});
  CHECK(ops_of(group.frames()) == Ops{1, 3});
  CHECK(iqdb_test::number_at(group.frames()[1].body, 1, 4) == 2);
}

TEST_CASE("A group whose calls are all refused by checks writes nothing and takes no number", "[group_commit]") {
  Group<CheckedIdSet> group;
  group.insert(1);
  std::ignore = group.commit();
  group.insert(1);
  CHECK(group.commit() == Outcomes{"duplicate"});
  group.insert(2);
  CHECK(group.commit() == Outcomes{"ok"});
  CHECK(group.writes == 2);
  CHECK(group.frames().back().lsn == 2);
}

TEST_CASE("What the index rejects is named by one abort directly behind the record", "[group_commit]") {
  Group<IdSet> group;
  group.insert(1);
  group.insert(2);
  std::ignore = group.commit();  // 1 and 2
  group.insert(1);               // 3: rejected
  group.insert(5);               // 4
  group.insert(2);               // 5: rejected
  group.erase(9);                // 6: rejected, directly behind
  group.insert(6);               // 7
  CHECK(group.commit() == Outcomes{"duplicate", "ok", "duplicate", "not_found", "ok"});
  CHECK(group.index.ids() == Ids{1, 2, 5, 6});
  const auto frames = group.frames();
  REQUIRE(ops_of(frames) == Ops{3, 3, 4});
  const auto expected = iqdb_test::Bytes().u8(4).u32(2).u64(3).u64(3).u64(5).u64(6).get();
  CHECK(frames.back().body == expected);
}

TEST_CASE("Of a batch that is rejected in part the rest is not made and other calls are", "[group_commit]") {
  Group<IdSet> group;
  group.insert_all({1, 2, 2, 3});  // 1 to 4: rejected from 3 on
  group.insert(7);                 // 5
  CHECK(group.commit() == Outcomes{"mutation 2", "ok"});
  CHECK(group.index.ids() == Ids{1, 2, 7});
  const auto expected = iqdb_test::Bytes().u8(4).u32(1).u64(3).u64(4).get();
  CHECK(group.frames().back().body == expected);
}

TEST_CASE("The abort of an exception that need not repeat is synced under every policy", "[group_commit]") {
  Group<IdSet> group(iqdb::FsyncPolicy::never());
  group.insert(1);
  group.insert(1);
  CHECK(group.commit() == Outcomes{"ok", "duplicate"});
  CHECK(group.syncs == 0);
  group.insert(2);
  group.insert(666);
  CHECK(group.commit() == Outcomes{"ok", "no such number"});
  CHECK(group.syncs == 1);
}

TEST_CASE("A record that cannot be written fails each call of the group and nothing is applied", "[group_commit]") {
  Group<IdSet> group;
  group.insert(1);
  group.insert(2);
  group.fails = "write the log";
  CHECK(group.commit() == Outcomes{"io", "io"});
  CHECK(group.index.ids().empty());
  CHECK(group.frames().empty());
  group.fails.clear();
  group.insert(1);
  CHECK(group.commit() == Outcomes{"ok"});
}

TEST_CASE("A sync that fails poisons and no call of the group is told success", "[group_commit]") {
  Group<IdSet> group;
  group.insert(1);
  group.insert(2);
  group.fails = "sync the log";
  CHECK(group.commit() == Outcomes{"io", "io"});
  CHECK(group.index.ids().empty());
  CHECK(group.poisoned());
}

TEST_CASE("A group that comes to a poisoned log writes nothing", "[group_commit]") {
  Group<IdSet> group;
  group.insert(1);
  group.fails = "sync the log";
  REQUIRE(group.commit() == Outcomes{"io"});
  const std::size_t writes_before = group.writes;
  group.insert(2);
  CHECK(group.commit() == Outcomes{"poisoned"});
  CHECK(group.writes == writes_before);
}

TEST_CASE("An abort that cannot be written poisons and no call of the group is told success", "[group_commit]") {
  Group<IdSet> group;
  group.insert(1);
  group.insert(1);
  group.fails = "write the log";
  group.fails_at = 2;
  CHECK(group.commit() == Outcomes{"poisoned", "duplicate"});
  CHECK(group.poisoned());
}

TEST_CASE("A large group is applied in pieces and rejected with the right numbers", "[group_commit]") {
  Group<IdSet> group;
  group.insert_all({1, 2, 3, 4, 5});  // 1 to 5
  group.insert(3);                    // 6: rejected
  group.insert(8);                    // 7
  CHECK(group.commit(2) == Outcomes{"ok", "duplicate", "ok"});
  CHECK(group.index.ids() == Ids{1, 2, 3, 4, 5, 8});
  CHECK(group.pieces == 4);
  const auto expected = iqdb_test::Bytes().u8(4).u32(1).u64(6).u64(6).get();
  CHECK(group.frames().back().body == expected);
}

TEST_CASE("The insertions of a group are given to the index in runs that reach over calls",
          "[group_commit][insert_run]") {
  Group<ManyIdSet> group;
  group.insert(1);
  group.insert_all({2, 3});
  group.insert(4);
  group.erase(1);
  group.insert(5);
  group.insert_all_and_erase({6, 7}, {2});
  group.insert(8);
  CHECK(group.commit() == Outcomes(7, "ok"));
  CHECK(group.index.given == Sizes{4, 3});
  CHECK(group.index.ids() == Ids{3, 4, 5, 6, 7, 8});
  CHECK(group.committed.applied == 10);
  CHECK(group.pieces == 1);
}

TEST_CASE("A call that a check refuses is in no run and those beside it are", "[group_commit][insert_run]") {
  Group<CheckedManyIdSet> group;
  group.insert(2);
  CHECK(group.commit() == Outcomes{"ok"});
  group.insert(1);
  group.insert(2);
  group.insert(3);
  group.insert_all({4, 2});
  CHECK(group.commit() == Outcomes{"ok", "duplicate", "ok", "mutation 1"});
  CHECK(group.index.given == Sizes{2});
  CHECK(group.index.ids() == Ids{1, 2, 3});
}

TEST_CASE("A run is no longer than what readers may wait for and they are let in behind it",
          "[group_commit][insert_run]") {
  Group<ManyIdSet> group;
  group.insert_all({1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
  CHECK(group.commit(4, 1) == Outcomes{"ok"});
  CHECK(group.index.given == Sizes{4, 4, 2});
  CHECK(group.pieces == 3);

  Group<ManyIdSet> calls;
  for (std::uint64_t id = 1; id <= 5; ++id) {
    calls.insert(id);
  }
  CHECK(calls.commit(2, 1) == Outcomes(5, "ok"));
  CHECK(calls.index.given == Sizes{2, 2});
  CHECK(calls.pieces == 3);
}

TEST_CASE("A run that ends within a batch that readers see whole lets none in", "[group_commit][insert_run]") {
  Group<ManyIdSet> group;
  group.insert(1);
  group.insert_all({2, 3, 4});
  group.insert(5);
  CHECK(group.commit(3, 1) == Outcomes(3, "ok"));
  CHECK(group.index.given == Sizes{3, 2});
  CHECK(group.pieces == 1);
}

TEST_CASE("A run for which the index finds no memory is applied one by one", "[group_commit][insert_run]") {
  Group<ManyIdSet> group;
  group.index.out_of_memory = true;
  group.insert_all({1, 2, 3});
  group.insert(4);
  CHECK(group.commit() == Outcomes(2, "ok"));
  CHECK(group.index.given == Sizes{4});  // and is not tried again
  CHECK(group.index.ids() == Ids{1, 2, 3, 4});
  CHECK(ops_of(group.frames()) == Ops{3});
}

TEST_CASE("Any group comes to the same with and without runs", "[group_commit][insert_run]") {
  const auto seed = static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
  CAPTURE(seed);
  iqdb::testing::Random random(seed);
  std::size_t many = 0;
  for (int round = 0; round < 100; ++round) {
    CAPTURE(round);
    Group<IdSet> expected;
    Group<ManyIdSet> group;
    const auto both = [&](auto&& add) {
      add(expected);
      add(group);
    };
    for (int commit = 0; commit < 6; ++commit) {
      const auto any_ids = [&] {
        Ids ids;
        for (std::uint64_t count = 1 + random.below(6); count > 0; --count) {
          ids.push_back(random.one_in(40) ? 666 : random.below(60));
        }
        return ids;
      };
      for (std::uint64_t calls = random.below(10); calls > 0; --calls) {
        const Ids ids = any_ids();
        const std::uint64_t choice = random.below(6);
        if (choice == 0) {
          both([&](auto& each) { each.erase(ids.front()); });
        } else if (choice == 1) {
          both([&](auto& each) { each.insert_all(ids); });
        } else if (choice == 2) {
          both([&](auto& each) { each.insert_all_and_erase(ids, {ids.front()}); });
        } else {
          both([&](auto& each) { each.insert(ids.front()); });
        }
      }
      const std::uint64_t whole = 1 + random.below(12);
      const std::uint64_t questions = 1 + random.below(4);
      group.index.out_of_memory = random.one_in(4);
      REQUIRE(group.commit(whole, questions) == expected.commit(whole, questions));
      REQUIRE(group.index.ids() == expected.index.ids());
      REQUIRE(group.committed.applied == expected.committed.applied);
      REQUIRE(group.frames().size() == expected.frames().size());
      for (std::size_t frame = 0; frame < group.frames().size(); ++frame) {
        REQUIRE(group.frames()[frame].body == expected.frames()[frame].body);
      }
      for (const std::size_t rows : group.index.given) {
        REQUIRE(rows <= whole);
        REQUIRE(rows > 1);
      }
      many += group.index.given.size();
      group.index.given.clear();
    }
  }
  CHECK(many > 50);
}
