// Life: steps that an index is made to go through, and any life.
#include "iqdb/persist/testing/life.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "support/catch.hpp"

namespace of_life {

namespace {

using iqdb::Compression;
using iqdb::FlatIndex;
using iqdb::FrameOp;
using iqdb::FsyncPolicy;
using iqdb::IndexError;
using iqdb::Mutation;
using iqdb::testing::batch_of;
using iqdb::testing::CallerCall;
using iqdb::testing::Life;
using iqdb::testing::make_mutation;
using iqdb::testing::Random;
using iqdb::testing::Step;
using iqdb::testing::Subject;

constexpr std::size_t dim = 3;

const Subject<FlatIndex> subject{.make = [] { return FlatIndex(dim, iqdb::DistanceMetric::euclidean); }};

std::vector<Life> any_lives(std::uint64_t seed, int count) {
  Random random(seed);
  std::vector<Life> lives;
  for (int life = 0; life < count; ++life) {
    lives.push_back(any_life(subject, dim, 12, random));
  }
  return lives;
}

std::set<std::string> texts_of(const std::vector<Life>& lives) {
  std::set<std::string> texts;
  for (const Life& life : lives) {
    texts.insert(to_string(life));
  }
  return texts;
}

}  // namespace

TEST_CASE("Life: every step has words", "[testing]") {
  const std::vector<Mutation> mutations = {insert_of(subject, dim, 4), erase_of(subject, 3)};
  CHECK(to_string(Step{.kind = Step::Kind::mutate, .mutations = {insert_of(subject, dim, 3)}}) == "insert 3");
  CHECK(to_string(Step{.kind = Step::Kind::batch, .mutations = mutations}) ==
        "batch (insert 4 with metadata, erase 3)");
  CHECK(to_string(Step{.kind = Step::Kind::batch}) == "batch ()");
  std::set<std::string> texts;
  for (const Step::Kind kind :
       {Step::Kind::sync, Step::Kind::save, Step::Kind::checkpoint, Step::Kind::reopen, Step::Kind::drop,
        Step::Kind::kill, Step::Kind::power_cut, Step::Kind::restore, Step::Kind::exchange, Step::Kind::lose_lock,
        Step::Kind::call_back, Step::Kind::mix_backups}) {
    texts.insert(to_string(Step{.kind = kind}));
  }
  CHECK(texts == std::set<std::string>{
                     "sync", "save", "checkpoint", "close and load", "destroy and load", "kill and load",
                     "cut the power and load", "put unsynced copies in place and load",
                     "exchange the directory, put it back", "remove the lock file and load in another process",
                     "save, and call the index from the callback", "checkpoint, and load files of before and after"});
  CHECK(to_string(Step{.kind = Step::Kind::exchange, .mutations = mutations}) ==
        "exchange the directory, insert 4 with metadata, erase 3, put it back");
}

TEST_CASE("Life: a step of many callers tells each call and when it is made", "[testing]") {
  using Kind = CallerCall::Kind;
  CHECK(to_string(Step{.kind = Step::Kind::together,
                       .calls = {{.mutations = {insert_of(subject, dim, 3)}},
                                 {.kind = Kind::batch, .mutations = {erase_of(subject, 3)}, .behind = 1},
                                 {.kind = Kind::sync},
                                 {.kind = Kind::checkpoint, .behind = 12},
                                 {.kind = Kind::checkpoint_beside},
                                 {.kind = Kind::close, .behind = 2, .place = 4}},
                       .most_mutations = 2}) ==
        "together, in groups of 2 [insert 3, batch (erase 3) behind 1 calls, sync, checkpoint behind 12 calls, "
        "checkpoint beside others, close behind 2 calls of \"copy the log\"]");
}

TEST_CASE("Life: its text tells its settings and its steps", "[testing]") {
  Life life{.policy = FsyncPolicy::never(),
            .compression = Compression::lz4(),
            .log_extent_bytes = 600,
            .steps = {{.kind = Step::Kind::save}, {.kind = Step::Kind::kill}}};
  CHECK(to_string(life) == "log on, never, lz4, extents of 600 bytes: save; kill and load");
  life.policy = FsyncPolicy::always();
  life.compression = Compression::zstd();
  life.wal_enabled = false;
  CHECK(to_string(life) == "log off, always, zstd, extents of 600 bytes: save; kill and load");
  CHECK(to_string(Life{.policy = FsyncPolicy::periodic(std::chrono::hours(1))}) ==
        "log on, periodic, no compression, extents of 0 bytes:");
}

TEST_CASE("Life: an insert follows from its number and variant", "[testing]") {
  std::set<std::string> ids;
  bool has_bytes = false;
  bool has_metadata = false;
  for (std::uint64_t number = 0; number < 12; ++number) {
    const Mutation insert = insert_of(subject, dim, number);
    const Mutation variant = insert_of(subject, dim, number, 7);
    CHECK(insert.op == FrameOp::insert);
    CHECK(insert.vector.size() == dim);
    CHECK(insert.vector == insert_of(subject, dim, number).vector);
    CHECK(insert.id == variant.id);
    CHECK(insert.vector != variant.vector);
    ids.insert(to_string(insert.id));
    has_bytes = has_bytes || !insert.id.is_integer();
    has_metadata = has_metadata || insert.metadata.has_value();
    const Mutation erase = erase_of(subject, number);
    CHECK(erase.op == FrameOp::erase);
    CHECK(erase.id == insert.id);
  }
  CHECK(ids.size() == 12);
  CHECK(has_bytes);
  CHECK(has_metadata);
}

TEST_CASE("Life: a mutation is made on an index and in a batch alike", "[testing]") {
  FlatIndex index = subject.make();
  make_mutation(index, insert_of(subject, dim, 1));
  make_mutation(index, insert_of(subject, dim, 2));
  make_mutation(index, erase_of(subject, 1));
  CHECK(index.size() == 1);
  CHECK(index.contains(2));
  const std::vector<Mutation> mutations = {insert_of(subject, dim, 1), erase_of(subject, 1)};
  const iqdb::WriteBatch batch = batch_of(mutations);
  REQUIRE(batch.size() == 2);
  CHECK(batch.mutations()[0].vector == mutations[0].vector);
  CHECK(batch.mutations()[0].metadata == mutations[0].metadata);
  CHECK(batch.mutations()[1].op == FrameOp::erase);
}

TEST_CASE("any_life: the same random numbers make the same life", "[testing]") {
  CHECK(texts_of(any_lives(1, 20)) == texts_of(any_lives(1, 20)));
  CHECK(texts_of(any_lives(1, 20)) != texts_of(any_lives(2, 20)));
  CHECK(texts_of(any_lives(1, 20)).size() == 20);
}

TEST_CASE("any_life: it has as many steps as were asked for and every kind of them", "[testing]") {
  std::map<Step::Kind, int> kinds;
  for (const Life& life : any_lives(1, 100)) {
    CHECK(life.steps.size() == 12);
    for (const Step& step : life.steps) {
      ++kinds[step.kind];
      const std::size_t mutations = step.mutations.size();
      if (step.kind == Step::Kind::mutate) {
        CHECK(mutations == 1);
      } else if (step.kind == Step::Kind::batch) {
        CHECK(mutations < 5);
      } else {
        CHECK(mutations == 0);
      }
    }
  }
  CHECK(kinds.size() == 10);
  CHECK(kinds[Step::Kind::mutate] > 500);
  for (const auto& [kind, count] : kinds) {
    CHECK(count >= 10);
  }
}

TEST_CASE("any_life: every setting is drawn", "[testing]") {
  std::set<bool> logs;
  std::set<int> policies;
  std::set<Compression::Codec> codecs;
  std::set<std::size_t> extents;
  for (const Life& life : any_lives(1, 200)) {
    logs.insert(life.wal_enabled);
    policies.insert(life.policy.is_always() ? 0 : life.policy.is_never() ? 1 : 2);
    // No simulation must wait for it.
    CHECK((!life.policy.is_periodic() || life.policy.interval() >= std::chrono::hours(1)));
    codecs.insert(life.compression.codec());
    extents.insert(life.log_extent_bytes);
  }
  CHECK(logs.size() == 2);
  CHECK(policies.size() == 3);
  CHECK(codecs.size() == 1 + (IQDB_PERSIST_HAS_ZSTD != 0 ? 1U : 0U) + (IQDB_PERSIST_HAS_LZ4 != 0 ? 1U : 0U));
  CHECK(extents.contains(0));
  CHECK(extents.size() > 3);
}

TEST_CASE("any_life: mutations are taken and rejected for every reason", "[testing]") {
  std::map<iqdb::IndexErrorKind, int> rejected;
  int taken = 0;
  for (const Life& life : any_lives(1, 100)) {
    FlatIndex index = subject.make();
    for (const Step& step : life.steps) {
      for (const Mutation& mutation : step.mutations) {
        try {
          make_mutation(index, mutation);
          ++taken;
        } catch (const IndexError& error) {
          ++rejected[error.kind()];
        }
      }
    }
  }
  CHECK(taken > 300);
  CHECK(rejected[iqdb::IndexErrorKind::duplicate] > 50);
  CHECK(rejected[iqdb::IndexErrorKind::not_found] > 50);
  CHECK(rejected[iqdb::IndexErrorKind::dimension_mismatch] > 10);
}

}  // namespace of_life
