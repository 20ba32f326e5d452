// What the headers of examples/forest/ promise: by the checks for indexes of one's own, beside an exact
// index, and where there is no memory.
#include "../../examples/forest/forest_index.hpp"

#include <iqdb/index/flat.hpp>
#include <iqdb/persist/shared_index.hpp>
#include <iqdb/persist/testing/conformance.hpp>
#include <iqdb/persist/testing/fault_exploration.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <new>
#include <optional>
#include <span>
#include <stdexcept>
#include <tuple>
#include <utility>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"

namespace forest_tests {

using iqdb::testing::Random;

std::vector<float> any_vector(Random& random, std::size_t dim) {
  std::vector<float> vector(dim);
  for (float& component : vector) {
    component = random.component();
  }
  return vector;
}

ForestIndex filled(std::size_t dim, std::uint64_t vectors) {
  ForestIndex index(dim, 3);
  Random random(7);
  for (std::uint64_t number = 0; number < vectors; ++number) {
    index.insert(number, any_vector(random, dim), iqdb::Metadata{{"number", iqdb::make_value(number)}});
  }
  return index;
}

}  // namespace forest_tests

using namespace forest_tests;

TEST_CASE("Forest: refuses what cannot be added, and what is no forest", "[forest]") {
  forest::Forest forest(2, 3, 1);
  const std::vector<float> vector = {1, 2};
  forest.add(0, vector);
  CHECK_THROWS_AS(forest.add(0, vector), std::invalid_argument);
  CHECK_THROWS_AS(forest.add(1, std::vector<float>{1}), std::invalid_argument);
  CHECK_THROWS_AS(forest.remove(1), std::invalid_argument);
  CHECK_THROWS_AS(forest::Forest(0, 1, 1), std::invalid_argument);
  CHECK_THROWS_AS(forest::Forest(2, 0, 1), std::invalid_argument);
  CHECK_THROWS_AS(forest::Forest(2, 65, 1), std::invalid_argument);
  const auto tree = [&](std::vector<forest::Node> nodes) { return forest::Tree(1, std::move(nodes), forest.rows()); };
  const forest::Node to_itself{.normal = {1, 0}, .left = 0, .right = 1};
  const forest::Node twice{.normal = {1, 0}, .left = 1, .right = 1};
  CHECK_THROWS_AS(tree({}), std::invalid_argument);
  CHECK_THROWS_AS(tree({to_itself, {}}), std::invalid_argument);
  CHECK_THROWS_AS(tree({twice, {}}), std::invalid_argument);
  CHECK_THROWS_AS(tree({{}, {}}), std::invalid_argument);
  CHECK_THROWS_AS(tree({{.items = {0, 0}}}), std::invalid_argument);
  CHECK_THROWS_AS(tree({{.items = {1}}}), std::invalid_argument);
  CHECK_THROWS_AS(forest::Forest(forest.rows(), {tree({{.items = {0}}}), tree({{}})}), std::invalid_argument);
}

TEST_CASE("Forest: vectors that no plane separates share a leaf", "[forest]") {
  ForestIndex index(2);
  for (int number = 0; number < 1000; ++number) {
    index.insert(number, {1, 1});
  }
  index.insert(1000, {3, 3});
  CHECK(index.search({2.9F, 3}, {.k = 1}).at(0).id == 1000);
  CHECK(index.search({1, 1}, {.k = 2000}).size() == 1001);
}

TEST_CASE("ForestIndex: keeps what PersistedIndex relies on", "[forest][conformance]") {
  for (const std::size_t trees : {1U, 3U}) {
    iqdb::testing::ConformanceReport report;
    std::ignore = iqdb_test::allocated_by([&] {
      report = iqdb::testing::check_persistable<ForestIndex>(
          {.make = [trees] { return ForestIndex(4, trees, 42); }},
          {.sizes = {0, 1, 2, 33, 150}, .lives = 1, .allocated_bytes = [] {
             return iqdb_test::last_allocations().total;
           }});
    });
    CHECK(report.metadata_seen);
    CHECK(report.upserts > 0);
    CHECK(report.crash_states > 0);
  }
}

TEST_CASE("ForestIndex: lives that are stopped at every call", "[forest][crash]") {
  using namespace iqdb::testing;
  // Few vectors: each one more multiplies the states that a crash may leave.
  const Subject<ForestIndex> subject{.make = [] { return ForestIndex(2, 2); }};
  const Step batch{.kind = Step::Kind::batch,
                   .mutations = {insert_of(subject, 2, 1), insert_of(subject, 2, 2), insert_of(subject, 2, 3)}};
  const Life life{.steps = {batch,
                            {.kind = Step::Kind::checkpoint},
                            {.kind = Step::Kind::mutate, .mutations = {erase_of(subject, 1)}},
                            {.kind = Step::Kind::reopen},
                            {.kind = Step::Kind::mutate, .mutations = {insert_of(subject, 2, 1)}}}};
  CrashExploration<ForestIndex> crashes(subject, {.seed = 7, .one_in_bits = 64});
  crashes.explore(life);
  Random random(3);
  crashes.explore(any_life(subject, 2, 8, random));
  CHECK(crashes.report().all_states() > 100);
  FaultExploration<ForestIndex> faults(subject, {.seed = 7});
  faults.explore(life);
  CHECK(faults.report().faults > 100);
}

TEST_CASE("ForestIndex: any life is that of an exact index", "[forest][model]") {
  Random random(11);
  ForestIndex index(3, 4);
  iqdb::FlatIndex model(3, iqdb::DistanceMetric::euclidean);
  for (int step = 0; step < 3000; ++step) {
    const iqdb::VectorId id = random.below(300);
    const std::vector<float> vector = any_vector(random, 3);
    const iqdb::Metadata metadata{{"step", step}};
    const auto both = [&](auto&& change) {
      const auto answer = [&](auto& one) -> std::optional<iqdb::IndexErrorKind> {
        try {
          change(one);
          return {};
        } catch (const iqdb::IndexError& error) {
          return error.kind();
        }
      };
      REQUIRE(answer(index) == answer(model));
    };
    switch (random.below(5)) {
      case 0:
        both([&](auto& one) { one.erase(id); });
        break;
      case 1:
        both([&](auto& one) { one.upsert(id, vector, metadata); });
        break;
      case 2:
        both([&](auto& one) { one.update_metadata(id, metadata); });
        break;
      default:
        both([&](auto& one) { one.insert(id, vector, metadata); });
    }
    REQUIRE(index.size() == model.size());
    REQUIRE(index.contains(id) == model.contains(id));
    if (step % 50 == 0) {
      const auto filter = iqdb::SearchFilter([](const iqdb::VectorId& one) { return one.integer() % 3 == 0; });
      const iqdb::SearchParams params{.k = 10, .ef = index.size(), .radius = 0.8F, .filter = filter};
      const auto found = index.search(vector, params);
      const auto expected = model.search(vector, params);
      REQUIRE(found.size() == expected.size());
      for (std::size_t at = 0; at < found.size(); ++at) {
        REQUIRE(found[at].id == expected[at].id);
        REQUIRE(found[at].metadata == expected[at].metadata);
        REQUIRE(found[at].distance == Approx(expected[at].distance));
      }
    }
  }
  for (const iqdb::VectorId& id : index.ids()) {
    CHECK(index.get(id).vector == model.get(id).vector);
    CHECK(index.metadata(id) == model.metadata(id));
    index.erase(id);
  }
  CHECK(index.size() == 0);
  CHECK(index.search({0, 0, 0}).empty());
}

TEST_CASE("ForestIndex: finds most of the nearest", "[forest]") {
  const ForestIndex index = filled(8, 2000);
  Random random(5);
  std::size_t right = 0;
  std::vector<float> queries;
  for (int query = 0; query < 50; ++query) {
    const auto vector = any_vector(random, 8);
    queries.insert(queries.end(), vector.begin(), vector.end());
    const auto exact = index.search(vector, {.k = 10, .ef = index.size()});
    for (const iqdb::Hit& hit : index.search(vector, {.k = 10, .ef = 400})) {
      right += static_cast<std::size_t>(std::ranges::count(exact, hit.id, &iqdb::Hit::id));
    }
  }
  CHECK(right > 400);
  CHECK(index.search_many(queries, {.k = 1}, 3).size() == 50);
  CHECK(index.search_many({}).empty());
}

TEST_CASE("ForestIndex: a mutation that finds no memory changes nothing", "[forest]") {
  using iqdb::testing::payload_of;
  const iqdb::testing::Subject<ForestIndex> subject{.make = [] { return filled(3, 96); }};
  const std::vector<iqdb::VectorId> ids = {1000, 1001, 1002};
  const std::vector<float> vectors = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  const std::vector<std::optional<iqdb::Metadata>> metadata(3);
  class Alone final : public iqdb::LentThreads {
   public:
    [[nodiscard]] std::size_t count() const noexcept override { return 1; }
    void each(std::size_t numbers, const std::function<void(std::size_t)>& work) override {
      for (std::size_t number = 0; number < numbers; ++number) {
        work(number);
      }
    }
  };
  const std::vector<std::function<void(ForestIndex&)>> mutations = {
      [&](ForestIndex& index) {
        index.insert(1000, std::span(vectors).first(3), iqdb::Metadata{{"page", 1}});
      },
      [&](ForestIndex& index) {
        index.upsert(5, std::span(vectors).first(3), iqdb::Metadata{{"page", 1}});
      },
      [&](ForestIndex& index) {
        index.update_metadata(5, iqdb::Metadata{{"page", 1}});
      },
      [&](ForestIndex& index) { index.erase(5); },
      [&](ForestIndex& index) {
        Alone alone;
        index.insert_many({.ids = ids, .vectors = vectors, .metadata = metadata}, alone);
      }};
  const std::string before = payload_of(subject.make());
  for (const auto& mutation : mutations) {
    std::uint64_t refused = 0;
    for (bool done = false; !done;) {
      ForestIndex index = subject.make();
      try {
        iqdb_test::refusing_allocation(++refused, [&] { mutation(index); });
        done = true;
      } catch (const std::bad_alloc&) {
        REQUIRE(payload_of(index) == before);
        mutation(index);
        ForestIndex other = subject.make();
        mutation(other);
        REQUIRE(payload_of(index) == payload_of(other));
      }
    }
    CHECK(refused >= 1);
  }
}

TEST_CASE("ForestIndex: is shared by threads", "[forest]") {
  using Database = iqdb::SharedIndex<ForestIndex, iqdb::BasicFileStorage<iqdb::testing::SimulatedFileSystem>>;
  static_assert(iqdb::InsertsMany<ForestIndex> && iqdb::SearchesMany<ForestIndex> && iqdb::GivesContent<ForestIndex>);
  static_assert(iqdb::FreezesByFork<ForestIndex> && iqdb::TrustsNothing<ForestIndex>);
  iqdb::testing::SimulatedFileSystem machine;
  Database db =
      Database::open_with(ForestIndex(2), {.path = "/forest", .wal_enabled = true}, iqdb::BasicFileStorage(machine));
  iqdb::WriteBatch batch;
  for (int number = 0; number < 200; ++number) {
    batch.insert(number, {static_cast<float>(number), 0.5F});
  }
  db.apply(batch);
  db.checkpoint();
  CHECK(db.search(std::vector<float>{7, 0}, {.k = 1}).at(0).id == 7);
  CHECK(db.get(3).vector == std::vector<float>{3, 0.5F});
}
