// Runs of insertions: what a replay, a batch and a group of callers give an index that takes many rows in one call, and
// that nothing else about them changes.
#include "iqdb/persist/wal/insert_run.hpp"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "iqdb/persist.hpp"
#include "iqdb/persist/shared_index.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/child_process.hpp"
#include "support/durable.hpp"
#include "support/many_index.hpp"
#include "support/outcome.hpp"
#include "support/raw_log.hpp"
#include "support/sample_index.hpp"
#include "support/sanitized.hpp"

namespace {

using iqdb::InsertRun;
using iqdb::PersistConfig;
using iqdb_test::abort_body;
using iqdb_test::batch_body;
using iqdb_test::Bytes;
using iqdb_test::ByteVector;
using iqdb_test::close_body;
using iqdb_test::DurableDirectory;
using iqdb_test::erase_body;
using iqdb_test::FileSet;
using iqdb_test::Ids;
using iqdb_test::log_name;
using iqdb_test::ManyIndex;
using iqdb_test::ManyRuns;
using iqdb_test::OneByOneIndex;
using iqdb_test::RawLog;
using iqdb_test::snapshot_name;
using iqdb_test::UpgradedManyIndex;

using RunSizes = std::vector<std::size_t>;

constexpr std::size_t run_dim = 2;

ByteVector run_insertion(std::uint64_t id, float first = 1.0F, std::size_t components = run_dim) {
  std::vector<float> vector(components, 0.5F);
  if (!vector.empty()) {
    vector.front() = first;
  }
  return iqdb_test::insert_body(id, vector, id % 3 == 0 ? std::optional<std::string>("text") : std::nullopt);
}

ByteVector run_upsert(std::uint64_t id, float first = 1.0F) {
  return iqdb_test::upsert_body(id, std::vector<float>{first, 0.5F});
}

// An empty snapshot and a log that continues it.
struct RunFiles {
  ByteVector snapshot = [] {
    const DurableDirectory directory;
    iqdb::PersistedIndex<OneByOneIndex>::open_with(OneByOneIndex(run_dim), directory.config_without_log()).save();
    return directory.snapshot_bytes();
  }();
  RawLog log{0xABCDEF, 0, iqdb_test::fingerprint_of(snapshot)};

  [[nodiscard]] FileSet files() const { return {{snapshot_name, snapshot}, {log_name, log.bytes()}}; }

  RunFiles& insert(std::uint64_t id, float first = 1.0F) {
    log.frame(run_insertion(id, first), 1);
    return *this;
  }
};

// What a load came to, so that two can be compared.
struct RunLoad {
  std::string outcome = "ok";
  std::optional<std::uint64_t> offset = {};
  Ids ids = {};
  std::vector<std::uint64_t> report = {};  // its counts
  std::uint64_t lsn = 0;
  std::string new_log = {};  // its frames

  friend bool operator==(const RunLoad&, const RunLoad&) = default;
};

template <class I>
RunLoad load_runs(const FileSet& files, bool skip_rejected = false, std::optional<std::uint64_t> up_to = {},
                  std::optional<iqdb::FlatIndex>* rows = nullptr) {
  const DurableDirectory directory;
  directory.put(files);
  PersistConfig config = directory.config();
  config.skip_rejected = skip_rejected;
  config.up_to = up_to;
  config.read_only = up_to.has_value();
  RunLoad came;
  try {
    const auto db = iqdb::PersistedIndex<I>::load(config);
    for (const auto& row : iqdb_test::rows_of(db.index().rows())) {
      came.ids.push_back(row.id.integer());
    }
    const iqdb::RecoveryReport& report = db.recovery();
    came.report = {report.replayed, report.skipped, report.aborted, report.tolerated, report.dropped_bytes};
    came.lsn = db.lsn();
    if (rows != nullptr) {
      *rows = db.index().rows();
    }
    for (const auto& frame : iqdb_test::frames_of(directory.log_bytes())) {
      came.new_log +=
          std::to_string(frame.op) + " " + std::to_string(frame.lsn) + " " + iqdb_test::hex(frame.body) + "\n";
    }
  } catch (const iqdb::PersistError& error) {
    const std::string what = error.what();
    came.outcome = std::string(to_string(error.kind())) + ": " + what.substr(what.find(": ") + 2);
    came.offset = error.offset();
  } catch (const std::bad_alloc&) {
    came.outcome = "bad_alloc";
  }
  return came;
}

struct ForgettingRuns {
  ForgettingRuns() { ManyRuns::forget(); }
  ForgettingRuns(const ForgettingRuns&) = delete;
  ForgettingRuns& operator=(const ForgettingRuns&) = delete;
  ~ForgettingRuns() { ManyRuns::forget(); }
};

// Loads with and without runs, which must come to the same.
RunLoad same_load_of_runs(const FileSet& files, bool skip_rejected = false, std::optional<std::uint64_t> up_to = {}) {
  std::optional<iqdb::FlatIndex> rows;
  std::optional<iqdb::FlatIndex> expected_rows;
  const RunLoad expected = load_runs<OneByOneIndex>(files, skip_rejected, up_to, &expected_rows);
  RunLoad came = load_runs<ManyIndex>(files, skip_rejected, up_to, &rows);
  CHECK(came.outcome == expected.outcome);
  CHECK(came.offset == expected.offset);
  CHECK(came.ids == expected.ids);
  CHECK(came.report == expected.report);
  CHECK(came.lsn == expected.lsn);
  CHECK(came.new_log == expected.new_log);
  CHECK(rows.has_value() == expected_rows.has_value());
  if (rows && expected_rows) {
    CHECK(iqdb_test::difference(*rows, *expected_rows) == "");
  }
  return came;
}

}  // namespace

TEST_CASE("A run has at most 1,024 rows and 4 MiB and vectors of the dimension of the index", "[insert_run]") {
  InsertRun run;
  const iqdb::VectorId id = 1;
  const std::optional<iqdb::Metadata> none;
  const std::vector<float> small(2);
  run.begin(2);
  CHECK_FALSE(run.takes({}));
  CHECK_FALSE(run.takes({&id, std::vector<float>(3), &none}));
  for (std::size_t row = 0; row < InsertRun::most_rows; ++row) {
    REQUIRE(run.takes({&id, small, &none}));
    run.add(id, small, none);
  }
  CHECK_FALSE(run.takes({&id, small, &none}));
  CHECK(run.rows().size() == 1024);
  CHECK(run.rows().vectors.size() == 2048);

  const std::vector<float> large(250'000);  // a million bytes
  run.begin(large.size());
  std::size_t rows = 0;
  for (; run.takes({&id, large, &none}); ++rows) {
    run.add(id, large, none);
  }
  CHECK(rows == 4);

  run.begin(0);
  const std::optional<iqdb::Metadata> huge = iqdb::Metadata{{"text", std::string(3U << 20U, 'x')}};
  CHECK_FALSE(run.takes({&id, {}, &huge}));
}

TEST_CASE("Helpers that are lent do each number once and an exception of one reaches the caller", "[insert_run]") {
  for (const unsigned helpers : {0U, 3U}) {
    iqdb::HelperThreads threads(helpers);
    iqdb::LentHelpers lent(threads);
    CHECK(lent.count() == helpers + 1);
    std::vector<std::atomic<int>> seen(1000);
    lent.each(seen.size(), [&](std::size_t number) { ++seen[number]; });
    for (const auto& times : seen) {
      REQUIRE(times == 1);
    }
    std::atomic<int> calls = 0;
    const auto fails = [&](std::size_t number) {
      ++calls;
      if (number == 10) {
        throw std::runtime_error("ten");
      }
    };
    CHECK_THROWS_AS(lent.each(1'000'000, fails), std::runtime_error);
    CHECK(calls < 1'000'000);
    lent.each(0, [&](std::size_t /*number*/) { FAIL("there is no number"); });
  }
}

TEST_CASE("A replay gives runs that reach over records and ends them before any other mutation", "[insert_run]") {
  const ForgettingRuns forgetting;
  RunFiles files;
  files.insert(1).insert(2);
  files.log.frame(batch_body({run_insertion(3), run_insertion(4), erase_body(2), run_insertion(5)}), 4);
  files.insert(6);
  files.log.frame(run_upsert(6, 7.0F), 1);
  files.insert(8);
  files.log.control(close_body());
  const RunLoad came = same_load_of_runs(files.files());
  CHECK(came.ids == Ids{1, 3, 4, 5, 6, 8});
  CHECK(ManyRuns::given == std::vector<std::vector<iqdb::VectorId>>{{1, 2, 3, 4}, {5, 6}});  // and 8 alone
  CHECK(came.report.front() == 9);
}

TEST_CASE("A replay gives no more than a run takes at once", "[insert_run]") {
  const ForgettingRuns forgetting;
  RunFiles files;
  for (std::uint64_t id = 0; id < 2500; ++id) {
    files.insert(id);
  }
  const RunLoad came = same_load_of_runs(files.files());
  CHECK(came.ids.size() == 2500);
  CHECK(ManyRuns::sizes() == RunSizes{1024, 1024, 452});
}

TEST_CASE("What a replay leaves out is in no run", "[insert_run]") {
  const ForgettingRuns forgetting;
  RunFiles files;
  files.insert(1);
  files.log.frame(batch_body({run_insertion(2), run_insertion(1), run_insertion(3)}), 3).control(abort_body(3));
  files.insert(4);
  const RunLoad came = same_load_of_runs(files.files());
  CHECK(came.ids == Ids{1, 2, 3, 4});
  CHECK(ManyRuns::given == std::vector<std::vector<iqdb::VectorId>>{{1, 2, 3, 4}});

  ManyRuns::forget();
  const RunLoad part = same_load_of_runs(files.files(), false, 2);
  CHECK(part.ids == Ids{1, 2});
  CHECK(ManyRuns::sizes() == RunSizes{2});
}

TEST_CASE("A vector of another dimension ends a run and is rejected alone", "[insert_run]") {
  const ForgettingRuns forgetting;
  RunFiles files;
  files.insert(1).insert(2);
  files.log.frame(run_insertion(3, 1.0F, 5), 1);  // the last one: tolerated
  const RunLoad came = same_load_of_runs(files.files());
  CHECK(came.ids == Ids{1, 2});
  CHECK(came.report[3] == 1);
  files.insert(4);
  CHECK(same_load_of_runs(files.files())
            .outcome.starts_with("replay_rejected: the index rejects the mutation of vector 3 "));
}

TEST_CASE("A row of a run that is rejected is named with the place of its record", "[insert_run]") {
  for (const float reason : {iqdb_test::not_finite_enough, iqdb_test::over_the_limit, iqdb_test::out_of_order}) {
    const ForgettingRuns forgetting;
    RunFiles files;
    files.insert(1).insert(2);
    const std::size_t offset = files.log.size();
    files.insert(3, reason).insert(4).insert(5);
    const RunLoad came = same_load_of_runs(files.files());
    CHECK(came.outcome.starts_with("replay_rejected: the index rejects the mutation of vector 3 "));
    CHECK(came.offset == offset);
    const RunLoad skipped = same_load_of_runs(files.files(), true);
    CHECK(skipped.ids == Ids{1, 2, 4, 5});
    CHECK(skipped.report == std::vector<std::uint64_t>{4, 0, 0, 1, 0});
  }
}

TEST_CASE("A rejection at the end of a log is tolerated though the records before it were a run", "[insert_run]") {
  const ForgettingRuns forgetting;
  RunFiles files;
  files.insert(1).insert(2);
  files.log.frame(batch_body({run_insertion(3), run_insertion(4), run_insertion(1), run_insertion(5)}), 4);
  const RunLoad came = same_load_of_runs(files.files());
  CHECK(came.ids == Ids{1, 2, 3, 4});
  CHECK(came.report == std::vector<std::uint64_t>{4, 0, 0, 2, 0});
  // Read once, nobody knows which record is the last one; read twice, that one is no part of a run.
  CHECK(ManyRuns::sizes() == RunSizes{6, 2});
}

TEST_CASE("An upsert that is tolerated leaves its old vector behind a run", "[insert_run]") {
  const ForgettingRuns forgetting;
  RunFiles files;
  files.insert(1).insert(2).insert(3);
  files.log.frame(run_upsert(2, iqdb_test::not_finite_enough), 1);
  const RunLoad came = same_load_of_runs(files.files());
  CHECK(came.ids == Ids{1, 2, 3});
  CHECK(came.report == std::vector<std::uint64_t>{3, 0, 0, 1, 0});
}

TEST_CASE("A log of version 1 is replayed one by one", "[insert_run]") {
  const ForgettingRuns forgetting;
  ByteVector log = Bytes().text(iqdb_test::raw_log_magic).u32(1);
  for (const ByteVector& body :
       {run_insertion(1), run_insertion(2), run_insertion(1, 9.0F), erase_body(7).get(), run_insertion(3)}) {
    const ByteVector frame = iqdb_test::raw_frame_1(body);
    log.insert(log.end(), frame.begin(), frame.end());
  }
  const RunLoad came = same_load_of_runs(iqdb_test::with_log(RunFiles().files(), log));
  CHECK(came.ids == Ids{2, 1, 3});
  CHECK(ManyRuns::given.empty());
}

TEST_CASE("A record that does not parse is log_corrupted whatever rows of a run wait before it", "[insert_run]") {
  const ForgettingRuns forgetting;
  RunFiles files;
  files.insert(1).insert(2, iqdb_test::over_the_limit).insert(3);
  const std::size_t offset = files.log.size();
  files.log.frame(Bytes().append(run_insertion(4)).u8(0), 1);  // a byte too many
  files.insert(5);
  const RunLoad came = same_load_of_runs(files.files());
  CHECK(came.outcome.starts_with("log_corrupted"));
  CHECK(came.offset == offset);
  RunFiles without;
  without.insert(1).insert(2);
  without.log.frame(Bytes().u8(1).u8(0).u64(4).u32(1'000'000), 1);
  CHECK(same_load_of_runs(without.files()).outcome.starts_with("log_corrupted"));
}

TEST_CASE("Memory that runs out for a row of a run is std::bad_alloc and for the run it is nothing", "[insert_run]") {
  const ForgettingRuns forgetting;
  RunFiles files;
  files.insert(1).insert(2).insert(3);
  ManyRuns::answer = ManyRuns::Answer::no_memory;
  CHECK(same_load_of_runs(files.files()).ids == Ids{1, 2, 3});
  ManyRuns::answer = ManyRuns::Answer::no;
  CHECK(same_load_of_runs(files.files()).ids == Ids{1, 2, 3});
  ManyRuns::answer = ManyRuns::Answer::as_insert;
  files.insert(4, iqdb_test::out_of_memory).insert(5);
  CHECK(same_load_of_runs(files.files()).outcome == "bad_alloc");
}

TEST_CASE("A replay takes one by one what an index takes only since it was logged", "[insert_run]") {
  const ForgettingRuns forgetting;
  RunFiles files;
  files.insert(1).insert(2, iqdb_test::over_the_limit).insert(3).insert(4);
  const RunLoad came = load_runs<UpgradedManyIndex>(files.files());
  CHECK(came.outcome == "ok");
  CHECK(came.ids == Ids{1, 2, 3, 4});
  CHECK(came.report == std::vector<std::uint64_t>{4, 0, 0, 0, 0});
  CHECK(ManyRuns::sizes() == RunSizes{4});
}

TEST_CASE("A load that is cancelled within a run ends with the exception of on_progress", "[insert_run]") {
  const ForgettingRuns forgetting;
  RunFiles files;
  files.insert(1).insert(2).insert(3);
  const DurableDirectory directory;
  directory.put(files.files());
  PersistConfig config = directory.config();
  config.on_progress = [](const iqdb::Progress& progress) {
    if (progress.phase == iqdb::Progress::Phase::replay) {
      throw std::runtime_error("enough");
    }
  };
  CHECK_THROWS_AS(iqdb::PersistedIndex<ManyIndex>::load(config), std::runtime_error);
  CHECK(directory.files() == files.files());
}

TEST_CASE("Any log comes to the same with and without runs", "[insert_run]") {
  const auto seed = static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
  CAPTURE(seed);
  iqdb_test::Random random(seed);
  std::size_t many = 0;
  const std::size_t rounds = iqdb_test::sanitized ? 60 : 300;
  for (std::size_t round = 0; round < rounds; ++round) {
    CAPTURE(round);
    const ForgettingRuns forgetting;
    RunFiles files;
    const bool is_clean = random.one_in(2);  // or it holds what is rejected
    const auto first = [&] {
      constexpr float wrong[] = {iqdb_test::not_finite_enough, iqdb_test::over_the_limit, iqdb_test::out_of_order,
                                 iqdb_test::out_of_memory};
      return is_clean || !random.one_in(30) ? random.component() + 5.0F : wrong[random.below(4)];
    };
    std::uint64_t next_id = 0;
    const auto mutation = [&]() -> ByteVector {
      const std::uint64_t choice = random.below(20);
      if (choice == 0 && next_id > 0) {
        return run_upsert(random.below(next_id), first());
      }
      if (choice == 1 && next_id > 0 && !is_clean) {
        return erase_body(random.below(next_id));
      }
      if (choice == 2 && next_id > 0 && !is_clean && random.one_in(5)) {
        return run_insertion(random.below(next_id), first());  // perhaps a second time
      }
      return run_insertion(next_id++, first(), !is_clean && random.one_in(60) ? 3 : run_dim);
    };
    const std::uint64_t records = random.below(40);
    for (std::uint64_t record = 0; record < records; ++record) {
      const std::uint64_t lsn = files.log.next_lsn();
      const std::uint64_t mutations = random.one_in(4) ? 1 + random.below(8) : 1;
      if (mutations == 1) {
        files.log.frame(mutation(), 1);
      } else {
        std::vector<ByteVector> bodies;
        for (std::uint64_t at = 0; at < mutations; ++at) {
          bodies.push_back(mutation());
        }
        files.log.frame(batch_body(bodies), mutations);
      }
      if (random.one_in(8)) {
        const std::uint64_t from = random.below(mutations);
        files.log.control(abort_body(lsn + from, lsn + from + random.below(mutations - from)));
      }
      if (random.one_in(10)) {
        files.log.control(iqdb_test::time_body(static_cast<std::int64_t>(record)));
      }
    }
    if (random.one_in(3)) {
      files.log.control(close_body());
    } else if (random.one_in(6)) {
      files.log.raw(random.bytes(30));
    }
    const bool skips = random.one_in(4);
    std::optional<std::uint64_t> up_to;
    if (random.one_in(4)) {
      up_to = random.below(files.log.next_lsn());
    }
    const RunLoad came = same_load_of_runs(files.files(), skips, up_to);
    many += ManyRuns::given.size();
    CAPTURE(came.outcome);
    REQUIRE(came == load_runs<OneByOneIndex>(files.files(), skips, up_to));
  }
  CHECK(many > rounds / 2);
}

namespace {

// A batch of insertions, of which some may have a reason to be rejected.
iqdb::WriteBatch run_batch(const std::vector<std::pair<std::uint64_t, float>>& rows) {
  iqdb::WriteBatch batch;
  for (const auto& [id, first] : rows) {
    const std::vector<float> vector = {first, 0.5F};
    batch.insert(id, std::span<const float>(vector), iqdb::Metadata{{"id", static_cast<std::int64_t>(id)}});
  }
  return batch;
}

iqdb::WriteBatch run_batch_of_ids(std::uint64_t first, std::uint64_t count) {
  std::vector<std::pair<std::uint64_t, float>> rows;
  for (std::uint64_t id = first; id < first + count; ++id) {
    rows.emplace_back(id, 1.0F);
  }
  return run_batch(rows);
}

// What applying a batch came to: the outcome, the position, what is in memory, what the log holds.
template <class I>
std::string batch_applied(const iqdb::WriteBatch& batch, bool logged) {
  const DurableDirectory directory;
  auto db =
      iqdb::PersistedIndex<I>::open_with(I(run_dim), logged ? directory.config() : directory.config_without_log());
  db.apply(run_batch({{1, 1.0F}}));
  std::string outcome = "ok";
  try {
    db.apply(batch);
  } catch (const iqdb::BatchError& error) {
    outcome = std::string("batch error at ") + std::to_string(error.position()) + ": " + error.what();
  } catch (const std::exception& error) {
    outcome = error.what();
  }
  for (const auto& row : iqdb_test::rows_of(db.index().rows())) {
    outcome += " " + to_string(row.id) + (row.metadata ? "m" : "");
  }
  if (logged) {
    outcome += ", " + std::to_string(db.lsn());
    for (const auto& frame : iqdb_test::frames_of(directory.log_bytes())) {
      outcome += " | " + iqdb_test::hex(frame.body);
    }
  }
  return outcome;
}

}  // namespace

TEST_CASE("A batch gives runs and each outcome of it is that without runs", "[insert_run]") {
  using Rows = std::vector<std::pair<std::uint64_t, float>>;
  for (const Rows& rows :
       {Rows{{2, 1.0F}, {3, 1.0F}, {4, 1.0F}}, Rows{{2, 1.0F}}, Rows{{2, 1.0F}, {3, 1.0F}, {1, 1.0F}, {4, 1.0F}},
        Rows{{1, 1.0F}, {2, 1.0F}}, Rows{{2, 1.0F}, {2, 1.0F}, {3, 1.0F}},
        Rows{{2, 1.0F}, {3, iqdb_test::out_of_order}, {4, 1.0F}},
        Rows{{2, 1.0F}, {3, iqdb_test::over_the_limit}, {4, 1.0F}},
        Rows{{2, 1.0F}, {3, iqdb_test::out_of_memory}, {4, 1.0F}}}) {
    for (const bool logged : {true, false}) {
      for (const auto answer : {ManyRuns::Answer::as_insert, ManyRuns::Answer::no_memory, ManyRuns::Answer::no}) {
        const ForgettingRuns forgetting;
        ManyRuns::answer = answer;
        CHECK(batch_applied<ManyIndex>(run_batch(rows), logged) ==
              batch_applied<OneByOneIndex>(run_batch(rows), logged));
        CHECK(ManyRuns::sizes() == (rows.size() > 1 ? RunSizes{rows.size()} : RunSizes{}));
      }
    }
  }
}

TEST_CASE("Other mutations of a batch are applied in their order between its runs", "[insert_run]") {
  const ForgettingRuns forgetting;
  iqdb::WriteBatch batch = run_batch_of_ids(2, 2);
  batch.erase(2);
  const std::vector<float> vector = {4.0F, 0.5F};
  for (const std::uint64_t id : {2U, 5U}) {
    batch.insert(id, std::span<const float>(vector));
  }
  batch.upsert(3, std::span<const float>(vector));
  batch.insert(6, std::span<const float>(vector));
  CHECK(batch_applied<ManyIndex>(batch, true) == batch_applied<OneByOneIndex>(batch, true));
  CHECK(ManyRuns::given == std::vector<std::vector<iqdb::VectorId>>{{2, 3}, {2, 5}});
}

TEST_CASE("A run that is not taken is not tried again from its second row on", "[insert_run]") {
  const ForgettingRuns forgetting;
  ManyRuns::answer = ManyRuns::Answer::no;
  const iqdb::WriteBatch batch = run_batch_of_ids(2, 2000);
  CHECK(batch_applied<ManyIndex>(batch, false) == batch_applied<OneByOneIndex>(batch, false));
  CHECK(ManyRuns::sizes() == RunSizes{1024, 976});
}

TEST_CASE("How long the runs of a batch take counts for the next checkpoint", "[insert_run]") {
  const ForgettingRuns forgetting;
  const DurableDirectory directory;
  auto db = iqdb::PersistedIndex<ManyIndex>::open_with(ManyIndex(run_dim), directory.config());
  db.apply(run_batch_of_ids(1, 10));
  CHECK(db.stats().replay_estimate.count() > 0);
  auto alone = iqdb::PersistedIndex<ManyIndex>::open_with(ManyIndex(run_dim), DurableDirectory().config_without_log());
  alone.apply(run_batch_of_ids(1, 10));
  CHECK(alone.stats().replay_estimate.count() == 0);
}

TEST_CASE("An index is lent as many threads as the configuration says and none before it asks", "[insert_run]") {
  for (const unsigned helpers : {0U, 2U}) {
    const ForgettingRuns forgetting;
    ManyRuns::uses_threads = true;
    const DurableDirectory directory;
    PersistConfig config = directory.config();
    config.helper_threads = helpers;
    {
      auto db = iqdb::PersistedIndex<ManyIndex>::open_with(ManyIndex(run_dim), config);
      db.apply(run_batch_of_ids(1, 1000));
      auto moved = std::move(db);
      moved.apply(run_batch_of_ids(2000, 1000));
      auto other = iqdb::PersistedIndex<ManyIndex>::open_with(ManyIndex(run_dim), DurableDirectory().config());
      other.apply(run_batch_of_ids(1, 3));
      other = std::move(moved);
      other.apply(run_batch_of_ids(4000, 1000));
    }
    auto loaded = iqdb::PersistedIndex<ManyIndex>::load(config);
    CHECK(loaded.index().size() == 3000);
    CHECK(ManyRuns::threads.contains(std::this_thread::get_id()));
    if (helpers == 0) {
      CHECK(ManyRuns::threads.size() == 1);
      CHECK(ManyRuns::counts.front() == 1);
    } else {
      CHECK(ManyRuns::counts.front() == 3);
    }
  }
}

TEST_CASE("A child of a fork can use and destroy an index whose threads it has not inherited", "[insert_run][fork]") {
  for (const bool logged : {false, true}) {
    const ForgettingRuns forgetting;
    ManyRuns::uses_threads = true;
    const DurableDirectory directory;
    PersistConfig config = logged ? directory.config() : directory.config_without_log();
    config.helper_threads = 2;
    auto db = std::make_unique<iqdb::PersistedIndex<ManyIndex>>(
        iqdb::PersistedIndex<ManyIndex>::open_with(ManyIndex(run_dim), config));
    db->apply(run_batch_of_ids(1, 1000));
    iqdb_test::ChildProcess using_it([&] {
      ::alarm(30);
      ManyRuns::uses_threads = !iqdb_test::sanitized;  // of those, one starts no thread behind a fork
      const std::string outcome = iqdb_test::outcome_of([&] {
        db->apply(run_batch_of_ids(2000, 1000));
        return 0;
      });
      const bool as_expected = logged ? outcome == "poisoned" : outcome == "ok" && db->index().size() == 2000;
      db.reset();
      return as_expected ? 0 : 1;
    });
    CHECK(using_it.wait() == 0);
    iqdb_test::ChildProcess destroying_it([&] {
      ::alarm(30);
      const auto moved = std::move(*db);
      db.reset();
      return 0;
    });
    CHECK(destroying_it.wait() == 0);
    iqdb_test::ChildProcess assigning_it([&] {
      ::alarm(30);
      *db = iqdb::PersistedIndex<ManyIndex>::open_with(ManyIndex(run_dim), DurableDirectory().config_without_log());
      return 0;
    });
    CHECK(assigning_it.wait() == 0);
    db->apply(run_batch_of_ids(4000, 1000));
    CHECK(db->index().size() == 2000);
  }
}

TEST_CASE("Whoever leads the callers of a SharedIndex lends its threads", "[insert_run][threads]") {
  const ForgettingRuns forgetting;
  ManyRuns::uses_threads = true;  // all of it is written by the leader alone
  const DurableDirectory directory;
  PersistConfig config = directory.config(iqdb::FsyncPolicy::never());
  config.helper_threads = 2;
  constexpr std::uint64_t caller_count = 4;
  constexpr std::uint64_t batches = 25;
  {
    auto db = iqdb::SharedIndex<ManyIndex>::open_with(ManyIndex(run_dim), config);
    std::vector<std::thread> threads;
    for (std::uint64_t caller = 0; caller < caller_count; ++caller) {
      threads.emplace_back([&db, caller] {
        for (std::uint64_t batch = 0; batch < batches; ++batch) {
          db.apply(run_batch_of_ids((caller * batches + batch) * 10, 10));
        }
      });
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
    CHECK(db.read([](const ManyIndex& index) { return index.size(); }) == caller_count * batches * 10);
    db.close();
  }
  CHECK_FALSE(ManyRuns::given.empty());
  CHECK(ManyRuns::counts.front() == 3);
  CHECK(iqdb::PersistedIndex<ManyIndex>::load(config).index().size() == caller_count * batches * 10);
}

TEST_CASE("Where memory for a run is missing a batch is applied one by one", "[insert_run]") {
  const ForgettingRuns forgetting;
  ManyIndex index(run_dim);
  const iqdb::WriteBatch batch = run_batch_of_ids(1, 50);
  const auto mutations = batch.mutations();
  // Every allocation in turn is the one that fails.
  for (std::size_t failing = 1;; ++failing) {
    iqdb::InsertRuns runs(0);
    ManyRuns::given.clear();
    ManyRuns::given.reserve(10);
    std::size_t position = 0;
    iqdb::GivenRun given;
    ManyIndex tried = index;
    iqdb_test::refusing_allocation(failing, [&] {
      given = runs.give(tried, 50, [&] {
        return position < mutations.size() ? iqdb::Insertion::of(mutations[position++]) : iqdb::Insertion();
      });
    });
    if (given.taken) {
      CHECK(failing > 50);
      CHECK(tried.size() == 50);
      break;
    }
    REQUIRE(given.rows >= 1);
    REQUIRE(given.rows <= 50);
    REQUIRE(tried.size() == 0);
  }
}
