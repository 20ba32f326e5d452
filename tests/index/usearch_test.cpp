// UsearchIndex: what it takes, what it finds, that it comes back as it was, and files of usearch's own.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <future>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/index/usearch.hpp"
#include "iqdb/persist.hpp"
#include "iqdb/persist/testing/conformance.hpp"
#include "support/adapters.hpp"
#include "support/catch.hpp"
#include "support/earlier_index.hpp"
#include "support/expect_error.hpp"
#include "support/files.hpp"
#include "support/sample_index.hpp"
#include "support/sanitized.hpp"
#include "support/temporary_directory.hpp"

namespace {

using iqdb::DistanceMetric;
using iqdb::FlatIndex;
using iqdb::Hit;
using iqdb::IndexErrorKind;
using iqdb::PersistErrorKind;
using iqdb::usearch_export;
using iqdb::usearch_import;
using iqdb::UsearchConfig;
using iqdb::UsearchIndex;
using iqdb::UsearchScalar;
using iqdb::VectorId;
using iqdb_test::contents_of;
using iqdb_test::ids_of;
using iqdb_test::insert_all;
using iqdb_test::mentions;
using iqdb_test::payload_of;
using iqdb_test::Random;
using iqdb_test::random_vectors;
using iqdb_test::recall;
using iqdb_test::require_kind;
using iqdb_test::TemporaryDirectory;
using unum::usearch::index_dense_t;

constexpr std::array metrics = {DistanceMetric::euclidean, DistanceMetric::dot_product, DistanceMetric::cosine};
constexpr std::array scalars = {UsearchScalar::f32, UsearchScalar::f16, UsearchScalar::i8, UsearchScalar::bf16,
                                UsearchScalar::f64};

[[nodiscard]] UsearchIndex loaded(const UsearchIndex& index) {
  return iqdb_test::loaded<UsearchIndex>(payload_of(index));
}

[[nodiscard]] UsearchIndex index_of(std::size_t count, std::size_t dim,
                                    DistanceMetric metric = DistanceMetric::euclidean,
                                    const UsearchConfig& config = {}) {
  UsearchIndex index(dim, metric, config);
  insert_all(index, random_vectors(count, dim, 1));
  return index;
}

// An index of usearch's own.
[[nodiscard]] index_dense_t native_index(std::size_t dim, unum::usearch::metric_kind_t metric,
                                         unum::usearch::scalar_kind_t scalar = unum::usearch::scalar_kind_t::f32_k,
                                         bool multi = false) {
  unum::usearch::index_dense_config_t config;
  config.multi = multi;
  index_dense_t index = std::move(index_dense_t::make({dim, metric, scalar}, config).index);
  REQUIRE(index.try_reserve({256, 2}));
  return index;
}

void save(const index_dense_t& index, const std::filesystem::path& path) { REQUIRE(index.save(path.c_str())); }

[[nodiscard]] std::vector<std::uint64_t> native_search(const index_dense_t& index, const std::vector<float>& query,
                                                       std::size_t k) {
  const auto result = index.search(query.data(), k);
  std::vector<std::uint64_t> keys(result.size());
  result.dump_to(keys.data());
  return keys;
}

constexpr auto l2sq = unum::usearch::metric_kind_t::l2sq_k;

// usearch's own, of doubles, with one vector of the key 9: 1 and `component`.
[[nodiscard]] index_dense_t native_double(double component) {
  index_dense_t native = native_index(2, l2sq, unum::usearch::scalar_kind_t::f64_k);
  const std::vector<double> vector = {1.0, component};
  REQUIRE(native.add(9, vector.data()));
  return native;
}

}  // namespace

TEST_CASE("UsearchIndex: keeps what PersistedIndex relies on with each metric", "[usearch][conformance]") {
  for (const DistanceMetric metric : metrics) {
    INFO(to_string(metric));
    const iqdb::testing::ConformanceReport report = iqdb::testing::check_persistable<UsearchIndex>(
        {.make = [metric] { return UsearchIndex(4, metric); }, .contents = contents_of<UsearchIndex>},
        {.steps = 200, .lives = 1});
    CHECK(report.metadata_seen);
  }
}

TEST_CASE("UsearchIndex: keeps what PersistedIndex relies on with other scalars", "[usearch][conformance]") {
  for (const UsearchScalar scalar : {UsearchScalar::f16, UsearchScalar::i8, UsearchScalar::bf16, UsearchScalar::f64}) {
    INFO(static_cast<unsigned>(scalar));
    const auto make = [scalar] {
      return UsearchIndex(4, DistanceMetric::cosine,
                          {.connectivity = 4, .connectivity_base = 8, .expansion_add = 50, .scalar = scalar});
    };
    iqdb::testing::check_persistable<UsearchIndex>({.make = make, .contents = contents_of<UsearchIndex>},
                                                   {.steps = 100, .lives = 1});
  }
}

TEST_CASE("UsearchIndex: a new one is empty and has what it was made with", "[usearch]") {
  const UsearchIndex index(3, DistanceMetric::cosine, {.expansion_search = 5});
  CHECK(index.size() == 0);
  CHECK(index.dim() == 3);
  CHECK(index.metric() == DistanceMetric::cosine);
  CHECK(index.config().expansion_search == 5);
  CHECK(index.search({1.0F, 2.0F, 3.0F}).empty());
  CHECK(!index.contains(1));
}

TEST_CASE("UsearchIndex: a metric that usearch has not is refused", "[usearch]") {
  for (const auto metric : {DistanceMetric::manhattan, DistanceMetric::hamming, static_cast<DistanceMetric>(9)}) {
    require_kind(IndexErrorKind::invalid_metric, [&] { return UsearchIndex(3, metric); });
  }
}

TEST_CASE("UsearchIndex: settings out of their range are refused", "[usearch]") {
  const std::vector<UsearchConfig> wrong = {{.connectivity = 1},
                                            {.connectivity = 1025, .connectivity_base = 2048},
                                            {.connectivity = 16, .connectivity_base = 15},
                                            {.connectivity_base = 2049},
                                            {.expansion_add = 0},
                                            {.expansion_add = 65537},
                                            {.expansion_search = 0},
                                            {.expansion_search = 65537},
                                            {.scalar = UsearchScalar::i8},
                                            {.scalar = static_cast<UsearchScalar>(5)},
                                            {.capacity = std::size_t{1} << 32U}};
  for (const UsearchConfig& config : wrong) {
    require_kind(IndexErrorKind::invalid_config, [&] { return UsearchIndex(3, DistanceMetric::euclidean, config); });
  }
  require_kind(IndexErrorKind::invalid_config, [&] { return UsearchIndex(0, DistanceMetric::euclidean); });
  require_kind(IndexErrorKind::invalid_config,
               [&] { return UsearchIndex(std::size_t{1} << 30U, DistanceMetric::euclidean); });
}

TEST_CASE("UsearchIndex: a mutation that is refused names its kind and changes nothing", "[usearch]") {
  UsearchIndex index = index_of(20, 3);
  const std::vector<std::byte> before = payload_of(index);
  constexpr float infinity = std::numeric_limits<float>::infinity();
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  require_kind(IndexErrorKind::dimension_mismatch, [&] { index.insert(100, {1.0F, 2.0F}); });
  require_kind(IndexErrorKind::duplicate, [&] { index.insert(7, {1.0F, 2.0F, 3.0F}); });
  require_kind(IndexErrorKind::invalid_vector, [&] { index.insert(100, {1.0F, nan, 3.0F}); });
  require_kind(IndexErrorKind::invalid_vector, [&] { index.insert(100, {1.0F, 2.0F, -infinity}); });
  require_kind(IndexErrorKind::invalid_config, [&] { index.insert(100, {1.0F, 2.0F, 3.0F}, {{"\xFF", 1}}); });
  require_kind(IndexErrorKind::not_found, [&] { index.erase(100); });
  CHECK(payload_of(index) == before);
}

TEST_CASE("UsearchIndex: a query that insert would not take is refused", "[usearch]") {
  const UsearchIndex index = index_of(20, 3);
  require_kind(IndexErrorKind::dimension_mismatch, [&] { return index.search({1.0F, 2.0F}); });
  require_kind(IndexErrorKind::invalid_vector, [&] {
    return index.search({1.0F, 2.0F, std::numeric_limits<float>::quiet_NaN()});
  });
}

TEST_CASE("UsearchIndex: what a small scalar cannot hold is refused", "[usearch]") {
  UsearchIndex half(2, DistanceMetric::euclidean, {.scalar = UsearchScalar::f16});
  half.insert(1, {65504.0F, -65504.0F});
  require_kind(IndexErrorKind::invalid_vector, [&] { half.insert(2, {65536.0F, 0.0F}); });
  CHECK(half.search({65504.0F, -65504.0F}).at(0).distance == 0.0F);

  UsearchIndex direction(2, DistanceMetric::cosine, {.scalar = UsearchScalar::i8});
  require_kind(IndexErrorKind::invalid_vector, [&] { direction.insert(1, {0.0F, -0.0F}); });
  direction.insert(1, {30.0F, 40.0F});
  CHECK(direction.search({3.0F, 4.0F}).at(0).distance == Approx(0.0F).margin(1e-3));
}

TEST_CASE("UsearchIndex: distances are those of FlatIndex", "[usearch][search]") {
  const auto vectors = random_vectors(50, 7, 3);
  for (const DistanceMetric metric : metrics) {
    for (const float scale : {1.0F, 1e-6F, 1e6F}) {
      INFO(to_string(metric) << " of components up to " << scale);
      UsearchIndex index(7, metric);
      FlatIndex flat(7, metric);
      for (std::size_t number = 0; number < vectors.size(); ++number) {
        std::vector<float> vector = vectors[number];
        std::ranges::for_each(vector, [scale](float& component) { component *= scale; });
        index.insert(number, std::span<const float>(vector));
        flat.insert(number, std::span<const float>(vector));
      }
      const std::vector<Hit> hits = index.search(vectors[0], {.k = 50});
      const std::vector<Hit> expected = flat.search(vectors[0], {.k = 50});
      REQUIRE(hits.size() == expected.size());
      for (std::size_t at = 0; at < hits.size(); ++at) {
        CHECK(hits[at].distance == Approx(expected[at].distance).epsilon(1e-5).margin(1e-6 * scale));
      }
    }
  }
}

TEST_CASE("UsearchIndex: cosine distance is 1 where a norm is 0", "[usearch][search]") {
  UsearchIndex index(2, DistanceMetric::cosine);
  index.insert(1, {0.0F, 0.0F});
  CHECK(index.search({0.0F, 0.0F}).at(0).distance == 1.0F);
  CHECK(index.search({1.0F, 0.0F}).at(0).distance == 1.0F);
}

TEST_CASE("UsearchIndex: hits come nearest first with what was stored", "[usearch][search]") {
  UsearchIndex index(1, DistanceMetric::euclidean);
  index.insert(VectorId::from_bytes("far"), {9.0F}, {{"name", "nine"}});
  index.insert(4, {1.0F});
  const std::vector<Hit> hits = index.search({0.0F});
  REQUIRE(hits.size() == 2);
  CHECK(hits[0].id == VectorId(4));
  CHECK(hits[0].distance == 1.0F);
  CHECK(!hits[0].metadata);
  CHECK(hits[1].id == VectorId::from_bytes("far"));
  CHECK(std::get<std::string>(hits[1].metadata->at("name")) == "nine");
}

TEST_CASE("UsearchIndex: k beyond the number of vectors finds all and k of 0 none", "[usearch][search]") {
  const UsearchIndex index = index_of(30, 4);
  const std::vector<float> query(4);
  CHECK(index.search(query, {.k = std::numeric_limits<std::size_t>::max()}).size() == 30);
  CHECK(index.search(query, {.k = 0}).empty());
}

TEST_CASE("UsearchIndex: ef widens the one search it is given to", "[usearch][search]") {
  const UsearchIndex index =
      index_of(3000, 16, DistanceMetric::euclidean, {.connectivity = 4, .connectivity_base = 8, .expansion_search = 1});
  FlatIndex exact(16, DistanceMetric::euclidean);
  insert_all(exact, random_vectors(3000, 16, 1));
  const double narrow = recall(index, exact, {.k = 1});
  CHECK(narrow < 80);
  CHECK(recall(index, exact, {.k = 1, .ef = 500}) > 95);
  CHECK(recall(index, exact, {.k = 1}) == narrow);
}

TEST_CASE("UsearchIndex: what is nearest is found beside vectors whose distances are no numbers", "[usearch][search]") {
  iqdb_test::require_nearest_beside_no_numbers(UsearchIndex(2, DistanceMetric::dot_product));
}

TEST_CASE("UsearchIndex: searches at the same time find what each finds alone", "[usearch][search]") {
  for (const UsearchScalar scalar : scalars) {
    const UsearchIndex index = index_of(500, 8, DistanceMetric::cosine, {.scalar = scalar});
    const auto queries = random_vectors(50, 8, 4);
    const auto search_all = [&] {
      std::vector<std::vector<VectorId>> found;
      for (std::size_t number = 0; number < queries.size(); ++number) {
        found.push_back(ids_of(index.search(queries[number], {.k = 5, .ef = 5 + number})));
      }
      return found;
    };
    const auto expected = search_all();
    std::vector<std::future<std::vector<std::vector<VectorId>>>> searches(8);  // more than a small machine's processors
    for (auto& search : searches) {
      search = std::async(std::launch::async, search_all);
    }
    for (auto& search : searches) {
      CHECK(search.get() == expected);
    }
  }
}

TEST_CASE("UsearchIndex: erased vectors are not found", "[usearch]") {
  UsearchIndex index = index_of(100, 4);
  const auto vectors = random_vectors(100, 4, 1);
  for (std::size_t number = 0; number < 100; ++number) {
    index.erase(number);
    CHECK(!index.contains(number));
    const std::vector<VectorId> found = ids_of(index.search(vectors[number], {.k = 100}));
    CHECK(found.size() == 99 - number);
    CHECK(std::ranges::find(found, VectorId(number)) == found.end());
  }
  CHECK(index.size() == 0);
}

TEST_CASE("UsearchIndex: an erased vector's place is taken by the next one", "[usearch]") {
  UsearchIndex index = index_of(100, 4);
  const std::size_t full = payload_of(index).size();
  for (std::uint64_t round = 0; round < 50; ++round) {
    index.erase(round);
    index.insert(1000 + round, {1.0F, 2.0F, 3.0F, static_cast<float>(round)});
    CHECK(index.search({1.0F, 2.0F, 3.0F, static_cast<float>(round)}).at(0).id == VectorId(1000 + round));
  }
  CHECK(index.size() == 100);
  CHECK(payload_of(index).size() < full + 200);  // a level more or less, no node
}

TEST_CASE("UsearchIndex: vectors that replace others are found as well as those before", "[usearch]") {
  const auto vectors = random_vectors(2000, 16, 1);
  UsearchIndex index(16, DistanceMetric::euclidean);
  FlatIndex exact(16, DistanceMetric::euclidean);
  insert_all(index, vectors);
  insert_all(exact, vectors);
  const auto others = random_vectors(2000, 16, 5);
  for (std::size_t number = 0; number < 2000; ++number) {
    index.erase(number);
    index.insert(5000 + number, std::span<const float>(others[number]));
    exact.erase(number);
    exact.insert(5000 + number, std::span<const float>(others[number]));
  }
  CHECK(recall(index, exact) > 95);
}

TEST_CASE("UsearchIndex: a search for as many as there are finds every one after any replacements", "[usearch]") {
  UsearchIndex index = index_of(40, 4);
  std::vector<std::uint64_t> ids;
  for (std::uint64_t id = 0; id < 40; ++id) {
    ids.push_back(id);
  }
  Random random(7);
  for (std::uint64_t id = 40; id < 1000; ++id) {
    std::uint64_t& replaced = ids[random.below(ids.size())];
    index.erase(replaced);
    replaced = id;
    index.insert(id, random.vector(4));
    if (index.search(random.vector(4), {.k = 40}).size() != 40) {
      FAIL("after the insertion of " << id << " a vector is not found any more");
    }
  }
  CHECK(index.size() == 40);
}

TEST_CASE("UsearchIndex: as many as were asked for are found when nearly all others were erased", "[usearch][search]") {
  UsearchIndex index = index_of(2000, 4, DistanceMetric::euclidean,
                                {.connectivity = 2, .connectivity_base = 2, .expansion_add = 4, .expansion_search = 1});
  for (std::uint64_t id = 0; id < 2000; ++id) {
    if (id % 100 != 0) {
      index.erase(id);
    }
  }
  for (const auto& query : random_vectors(20, 4, 2)) {
    CHECK(index.search(query, {.k = 10}).size() == 10);
  }
}

TEST_CASE("UsearchIndex: for_each gives the vectors as they were inserted", "[usearch]") {
  const auto vectors = random_vectors(10, 5, 1);
  UsearchIndex index = index_of(10, 5);
  index.erase(3);
  std::size_t visited = 0;
  index.for_each([&](const VectorId& id, std::span<const float> vector, const auto& metadata) {
    CHECK(std::ranges::equal(vector, vectors.at(id.integer())));
    CHECK(!metadata);
    ++visited;
  });
  CHECK(visited == 9);
}

TEST_CASE("UsearchIndex: an index that was moved goes on", "[usearch]") {
  UsearchIndex first = index_of(10, 3);
  UsearchIndex second = std::move(first);
  second.insert(100, {1.0F, 1.0F, 1.0F});
  UsearchIndex third(1, DistanceMetric::cosine);
  third = std::move(second);
  third.erase(4);
  CHECK(third.size() == 10);
  CHECK(third.search({1.0F, 1.0F, 1.0F}).at(0).id == VectorId(100));
}

TEST_CASE("UsearchIndex: an index that was moved from refuses what it is given", "[usearch]") {
  iqdb_test::require_refusals_when_moved_from(index_of(10, 3));
}

TEST_CASE("UsearchIndex: settings come back with the payload", "[usearch][payload]") {
  const UsearchConfig config{.connectivity = 5,
                             .connectivity_base = 9,
                             .expansion_add = 33,
                             .expansion_search = 44,
                             .scalar = UsearchScalar::f16,
                             .capacity = 100};
  for (const std::size_t count : {0U, 20U}) {
    const UsearchIndex index = loaded(index_of(count, 3, DistanceMetric::dot_product, config));
    CHECK(index.metric() == DistanceMetric::dot_product);
    CHECK(index.config().connectivity == 5);
    CHECK(index.config().connectivity_base == 9);
    CHECK(index.config().expansion_add == 33);
    CHECK(index.config().expansion_search == 44);
    CHECK(index.config().scalar == UsearchScalar::f16);
    CHECK(index.size() == count);
  }
}

TEST_CASE("UsearchIndex: an index of which everything was erased comes back and goes on", "[usearch][payload]") {
  UsearchIndex index = index_of(5, 2);
  for (std::uint64_t id = 0; id < 5; ++id) {
    index.erase(id);
  }
  UsearchIndex again = loaded(index);
  CHECK(again.size() == 0);
  CHECK(again.search({0.0F, 0.0F}).empty());
  again.insert(1, {0.0F, 1.0F});
  CHECK(again.search({0.0F, 0.0F}).at(0).id == VectorId(1));
}

TEST_CASE("UsearchIndex: a loaded index finds what the saved one does", "[usearch][payload]") {
  for (const UsearchScalar scalar : scalars) {
    UsearchIndex index = index_of(1000, 12, DistanceMetric::cosine, {.scalar = scalar});
    for (std::uint64_t id = 0; id < 300; ++id) {
      index.erase(3 * id);
    }
    const UsearchIndex again = loaded(index);
    for (const std::vector<float>& query : random_vectors(100, 12, 2)) {
      CHECK(ids_of(again.search(query)) == ids_of(index.search(query)));
    }
  }
}

TEST_CASE("UsearchIndex: finds as much after a save and a load and after a crash", "[usearch][recall]") {
  constexpr std::size_t dim = 32;
  constexpr std::size_t count = iqdb_test::sanitized ? 1'000 : 5'000;
  const auto vectors = random_vectors(count, dim, 1);
  const TemporaryDirectory directory(iqdb_test::memory_directory());
  const iqdb::PersistConfig config{.path = directory / "index.iqdb",
                                   .wal_enabled = true,
                                   .fsync_policy = iqdb::FsyncPolicy::never(),
                                   .checkpoint = iqdb::CheckpointPolicy::manual()};
  for (const DistanceMetric metric : metrics) {
    INFO(to_string(metric));
    FlatIndex exact(dim, metric);
    insert_all(exact, vectors);
    double in_memory = 0;
    {
      auto database = iqdb::PersistedIndex<UsearchIndex>::open_with(UsearchIndex(dim, metric), config);
      insert_all(database, vectors);
      in_memory = recall(database.index(), exact);
      CHECK(in_memory > 80);
      CHECK(std::abs(recall(loaded(database.index()), exact) - in_memory) <= 0.5);
    }  // not closed: what is in the log is replayed
    {
      const auto database = iqdb::PersistedIndex<UsearchIndex>::load(config);
      CHECK(database.recovery().replayed == count);
      CHECK(std::abs(recall(database.index(), exact) - in_memory) <= 0.5);
    }
    for (const auto& file : std::filesystem::directory_iterator(directory.path())) {
      std::filesystem::remove(file);
    }
  }
}

TEST_CASE("UsearchIndex: an empty index takes no memory whatever its dimension", "[usearch][payload]") {
  const UsearchIndex index = loaded(UsearchIndex((std::size_t{1} << 30U) - 1, DistanceMetric::euclidean));
  CHECK(index.dim() == (std::size_t{1} << 30U) - 1);
}

TEST_CASE("UsearchIndex: a checkpoint beside mutations is written by a forked process", "[usearch][fork]") {
  iqdb_test::require_checkpoint_by_fork([] { return UsearchIndex(2, DistanceMetric::euclidean); });
}

TEST_CASE("usearch_export: usearch loads the file and finds the same", "[usearch][export]") {
  const TemporaryDirectory directory;
  UsearchIndex index = index_of(500, 8);
  index.insert(std::uint64_t{1} << 60U, {0.1F, 0.2F, 0.3F, 0.4F, 0.5F, 0.6F, 0.7F, 0.8F});
  index.erase(17);
  usearch_export(index, directory / "index.usearch");

  index_dense_t native = native_index(8, l2sq);
  REQUIRE(native.load((directory / "index.usearch").c_str()));
  REQUIRE(native.try_reserve({501, 2}));
  CHECK(native.size() == 500);
  CHECK(native.contains(std::uint64_t{1} << 60U));
  CHECK(!native.contains(17));
  for (const std::vector<float>& query : random_vectors(50, 8, 2)) {
    std::vector<std::uint64_t> expected;
    for (const Hit& hit : index.search(query)) {
      expected.push_back(hit.id.integer());
    }
    CHECK(native_search(native, query, 10) == expected);
  }
}

TEST_CASE("usearch_export: replaces the file that is there", "[usearch][export]") {
  const TemporaryDirectory directory;
  const auto path = directory / "index.usearch";
  iqdb_test::write_bytes(path, Random(1).bytes(100000));
  usearch_export(index_of(3, 2), path);
  CHECK(usearch_import(path).size() == 3);
}

TEST_CASE("usearch_export: an identifier that usearch has no key for is refused and writes nothing",
          "[usearch][export]") {
  const TemporaryDirectory directory;
  for (const VectorId& id : {VectorId::from_bytes("bytes"), VectorId(~std::uint64_t{0})}) {
    UsearchIndex index(1, DistanceMetric::euclidean);
    index.insert(id, {1.0F});
    const auto error =
        require_kind(IndexErrorKind::invalid_config, [&] { usearch_export(index, directory / "index.usearch"); });
    CHECK(mentions(error, to_string(id)));
    index.erase(id);
    usearch_export(index, directory / "erased.usearch");
  }
  CHECK(!std::filesystem::exists(directory / "index.usearch"));
}

TEST_CASE("usearch_export: an empty index comes back", "[usearch][export]") {
  const TemporaryDirectory directory;
  usearch_export(UsearchIndex(6, DistanceMetric::dot_product), directory / "index.usearch");
  const UsearchIndex index = usearch_import(directory / "index.usearch");
  CHECK(index.size() == 0);
  CHECK(index.dim() == 6);
  CHECK(index.metric() == DistanceMetric::dot_product);
  index_dense_t native = native_index(6, l2sq);
  CHECK(native.load((directory / "index.usearch").c_str()));
}

TEST_CASE("usearch_import: what usearch saved finds the same and goes on", "[usearch][import]") {
  const TemporaryDirectory directory;
  const auto path = directory / "index.usearch";
  const auto vectors = random_vectors(200, 6, 1);
  index_dense_t native = native_index(6, l2sq);
  for (std::size_t number = 0; number < 200; ++number) {
    REQUIRE(native.add(number * number + 5, vectors[number].data()));
  }
  REQUIRE(native.remove(5));
  REQUIRE(native.remove(9));
  save(native, path);

  UsearchIndex index = usearch_import(path, 100, 50);
  CHECK(index.size() == 198);
  CHECK(index.config().expansion_add == 100);
  CHECK(index.config().expansion_search == 50);
  for (const std::vector<float>& query : random_vectors(50, 6, 2)) {
    std::vector<VectorId> expected;
    for (const std::uint64_t key : native_search(native, query, 10)) {
      expected.emplace_back(key);
    }
    CHECK(ids_of(index.search(query)) == expected);
  }
  for (std::uint64_t id = 1000000; id < 1000010; ++id) {
    index.insert(id, std::span<const float>(vectors[id % 10]));
  }
  index.erase(6);
  CHECK(contents_of(loaded(index)) == contents_of(index));
  CHECK(loaded(index).size() == 207);
}

TEST_CASE("usearch_import: takes over every metric and scalar", "[usearch][import]") {
  const TemporaryDirectory directory;
  for (const DistanceMetric metric : metrics) {
    for (const UsearchScalar scalar : scalars) {
      if (scalar == UsearchScalar::i8 && metric != DistanceMetric::cosine) {
        continue;
      }
      const UsearchIndex index = index_of(30, 5, metric, {.connectivity = 3, .connectivity_base = 7, .scalar = scalar});
      usearch_export(index, directory / "index.usearch");
      const UsearchIndex again = usearch_import(directory / "index.usearch");
      CHECK(again.metric() == metric);
      CHECK(again.config().scalar == scalar);
      CHECK(again.config().connectivity == 3);
      CHECK(again.config().connectivity_base == 7);
      CHECK(contents_of(again) == contents_of(index));
    }
  }
}

TEST_CASE("usearch_import: an index of another kind is refused by its name", "[usearch][import]") {
  using unum::usearch::metric_kind_t;
  using unum::usearch::scalar_kind_t;
  const TemporaryDirectory directory;
  const auto path = directory / "index.usearch";
  const std::vector<float> vector(8, 1.0F);
  const auto refused = [&](index_dense_t index, const std::string& part) {
    REQUIRE(index.add(1, vector.data()));
    save(index, path);
    const auto error = require_kind(PersistErrorKind::invalid_payload, [&] { return usearch_import(path); });
    INFO(error.what());
    CHECK(mentions(error, part));
    CHECK(error.path() == path);
  };
  refused(native_index(8, l2sq, scalar_kind_t::f32_k, true), "several vectors of one key");
  refused(native_index(8, l2sq, scalar_kind_t::u8_k),
          "scalar u8 (code 17); expected l2sq, ip or cos of f32, f16, bf16, f64 or i8");
  refused(native_index(8, metric_kind_t::hamming_k, scalar_kind_t::b1x8_k), "metric hamming (code 98)");
  refused(native_index(8, metric_kind_t::ip_k, scalar_kind_t::i8_k), "keeps only the direction");
}

TEST_CASE("usearch_import: a vector that is not finite is refused by its key", "[usearch][import]") {
  const TemporaryDirectory directory;
  const auto path = directory / "index.usearch";
  // Infinities, as their bits.
  const std::array<std::pair<UsearchScalar, std::vector<std::uint8_t>>, 4> infinities{
      {{UsearchScalar::f32, {0, 0, 0x80, 0x7F}},
       {UsearchScalar::f16, {0, 0x7C}},
       {UsearchScalar::bf16, {0x80, 0x7F}},
       {UsearchScalar::f64, {0, 0, 0, 0, 0, 0, 0xF0, 0x7F}}}};
  for (const auto& [scalar, infinity] : infinities) {
    UsearchIndex whole(2, DistanceMetric::euclidean, {.scalar = scalar});
    for (const std::vector<float>& vector : random_vectors(60, 2, 1)) {
      whole.insert(7000 + whole.size(), vector);
    }
    usearch_export(whole, path);
    std::vector<std::byte> bytes = iqdb_test::read_bytes(path);
    std::memcpy(bytes.data() + 8 + 50 * 2 * infinity.size(), infinity.data(), infinity.size());
    iqdb_test::write_bytes(path, bytes);
    const auto error = require_kind(PersistErrorKind::invalid_payload, [&] { return usearch_import(path); });
    INFO(error.what());
    CHECK(mentions(error,
                   "the vector with the key 7050 (node 50 of usearch's graph) has a component that is not finite"));
  }
}

TEST_CASE("usearch_import: a double that is beyond the range of float is refused by its key, and others are rounded",
          "[usearch][import]") {
  const TemporaryDirectory directory;
  const auto path = directory / "index.usearch";
  save(native_double(0.1), path);
  const UsearchIndex index = usearch_import(path);
  CHECK(index.config().scalar == UsearchScalar::f64);
  CHECK(index.get(9).vector == std::vector<float>{1.0F, 0.1F});
  for (const double component : {1e39, -1e300, std::numeric_limits<double>::infinity()}) {
    save(native_double(component), path);
    const auto error = require_kind(PersistErrorKind::invalid_payload, [&] { return usearch_import(path); });
    CHECK(mentions(error, "the vector with the key 9 (node 0 of usearch's graph) has a component that is not finite"));
  }
}

TEST_CASE("UsearchIndex: compact keeps the doubles of a file", "[usearch][compact]") {
  const TemporaryDirectory directory;
  save(native_double(0.1), directory / "index.usearch");
  UsearchIndex index = usearch_import(directory / "index.usearch");
  index.insert(10, {1.0F, 2.0F});
  index.erase(10);
  index.compact();
  usearch_export(index, directory / "again.usearch");
  index_dense_t again = native_index(2, l2sq, unum::usearch::scalar_kind_t::f64_k);
  REQUIRE(again.load((directory / "again.usearch").c_str()));
  std::vector<double> vector(2);
  REQUIRE(again.get(9, vector.data()) == 1);
  CHECK(vector[1] == 0.1);
}

TEST_CASE("usearch_import: an erased vector that is not finite does not matter", "[usearch][import]") {
  const TemporaryDirectory directory;
  const auto path = directory / "index.usearch";
  const auto vectors = random_vectors(60, 2, 1);
  for (const DistanceMetric metric : metrics) {
    for (const UsearchScalar scalar :
         {UsearchScalar::f32, UsearchScalar::f16, UsearchScalar::bf16, UsearchScalar::f64}) {
      UsearchIndex whole(2, metric, {.scalar = scalar});
      for (const std::vector<float>& vector : vectors) {
        whole.insert(7000 + whole.size(), vector);
      }
      whole.erase(7050);
      usearch_export(whole, path);
      std::vector<std::byte> bytes = iqdb_test::read_bytes(path);
      const std::size_t row = scalar == UsearchScalar::f64 ? 2 * 8 : scalar == UsearchScalar::f32 ? 2 * 4 : 2 * 2;
      std::memset(bytes.data() + 8 + 50 * row, 0xFF, row);  // NaNs
      iqdb_test::write_bytes(path, bytes);
      UsearchIndex index = usearch_import(path);
      CHECK(contents_of(index) == contents_of(whole));
      for (const std::vector<float>& query : vectors) {
        CHECK(ids_of(index.search(query)) == ids_of(whole.search(query)));
      }
      CHECK(contents_of(loaded(index)) == contents_of(index));
      index.insert(7050, {1.0F, 2.0F});  // takes the place of the erased one
      CHECK(index.search({1.0F, 2.0F}, {.k = 60}).size() == 60);
      CHECK(contents_of(loaded(index)) == contents_of(index));
    }
  }
}

TEST_CASE("usearch_import: a file without vectors or with 64-bit dimensions is refused", "[usearch][import]") {
  const TemporaryDirectory directory;
  const auto path = directory / "index.usearch";
  index_dense_t native = native_index(8, l2sq);
  const std::vector<float> vector(8, 1.0F);
  REQUIRE(native.add(1, vector.data()));
  for (const bool exclude_vectors : {true, false}) {
    unum::usearch::index_dense_serialization_config_t config;
    config.exclude_vectors = exclude_vectors;
    config.use_64_bit_dimensions = !exclude_vectors;
    REQUIRE(native.save(path.c_str(), config));
    CHECK_THROWS_AS(usearch_import(path), iqdb::PersistError);
  }
}

TEST_CASE("usearch_import: a file of another version of usearch is refused by its name", "[usearch][import]") {
  const TemporaryDirectory directory;
  const auto path = directory / "index.usearch";
  usearch_export(index_of(2, 2), path);
  std::vector<std::byte> bytes = iqdb_test::read_bytes(path);
  bytes.at(8 + 2 * 8 + 7) = std::byte{3};
  iqdb_test::write_bytes(path, bytes);
  const auto error = require_kind(PersistErrorKind::invalid_payload, [&] { return usearch_import(path); });
  CHECK(mentions(error, "usearch 3."));
}

TEST_CASE("usearch_import: a file that is not there is io", "[usearch][import]") {
  const TemporaryDirectory directory;
  const auto error = require_kind(PersistErrorKind::io, [&] { return usearch_import(directory / "index.usearch"); });
  CHECK(error.code() == std::errc::no_such_file_or_directory);
}

TEST_CASE("usearch_import: a file that is cut off or goes on is refused", "[usearch][import]") {
  const TemporaryDirectory directory;
  const auto path = directory / "index.usearch";
  usearch_export(index_of(3, 2), path);
  std::vector<std::byte> bytes = iqdb_test::read_bytes(path);
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    iqdb_test::write_bytes(path, std::span(bytes).first(length));
    require_kind(PersistErrorKind::truncated_payload, [&] { return usearch_import(path); });
  }
  bytes.push_back({});
  iqdb_test::write_bytes(path, bytes);
  require_kind(PersistErrorKind::invalid_payload, [&] { return usearch_import(path); });
}

TEST_CASE("usearch_import: two nodes of one key are refused", "[usearch][import]") {
  const TemporaryDirectory directory;
  const auto path = directory / "index.usearch";
  usearch_export(index_of(2, 2), path);
  std::vector<std::byte> bytes = iqdb_test::read_bytes(path);
  const std::size_t node_bytes = 8 + 2 + 4 + 32 * 4;
  std::size_t second = bytes.size() - node_bytes;
  REQUIRE(bytes.at(second) == std::byte{1});
  bytes.at(second) = std::byte{0};
  iqdb_test::write_bytes(path, bytes);
  const auto error = require_kind(PersistErrorKind::invalid_payload, [&] { return usearch_import(path); });
  CHECK(mentions(error, "two vectors of the file have the key"));
}

TEST_CASE("usearch_import: candidates out of their range are refused", "[usearch][import]") {
  const TemporaryDirectory directory;
  usearch_export(index_of(2, 2), directory / "index.usearch");
  require_kind(IndexErrorKind::invalid_config, [&] { return usearch_import(directory / "index.usearch", 0); });
}

TEST_CASE("UsearchIndex: what earlier versions logged is replayed, though insert refuses it now", "[usearch][wal]") {
  for (const DistanceMetric metric : {DistanceMetric::euclidean, DistanceMetric::dot_product}) {
    iqdb_test::require_earlier_logs_replayed([metric] { return UsearchIndex(2, metric); }, true);
  }
}

TEST_CASE("UsearchIndex: a vector of which the scalar keeps zeros is taken from a log", "[usearch][wal]") {
  const std::vector<float> tiny = {1e-30F, 0.0F};
  UsearchIndex index(2, DistanceMetric::euclidean, {.scalar = UsearchScalar::f16});
  require_kind(iqdb::IndexErrorKind::invalid_vector, [&] { index.insert(1, tiny); });
  index.insert_logged(1, tiny, {});
  require_kind(iqdb::IndexErrorKind::invalid_vector, [&] {
    index.insert_logged(2, std::vector<float>{1e6F, 0.0F}, {});
  });
  CHECK(index.size() == 1);
}
