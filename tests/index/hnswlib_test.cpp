// HnswIndex: what it takes, what it finds, that it comes back as it was, and files of hnswlib's own.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/index/hnswlib.hpp"
#include "iqdb/persist.hpp"
#include "iqdb/persist/shared_index.hpp"
#include "iqdb/persist/testing/conformance.hpp"
#include "support/adapters.hpp"
#include "support/catch.hpp"
#include "support/earlier_index.hpp"
#include "support/expect_error.hpp"
#include "support/files.hpp"
#include "support/hnsw_graph_bytes.hpp"
#include "support/sample_index.hpp"
#include "support/sanitized.hpp"
#include "support/temporary_directory.hpp"

namespace {

using iqdb::DistanceMetric;
using iqdb::FlatIndex;
using iqdb::Hit;
using iqdb::HnswConfig;
using iqdb::HnswIndex;
using iqdb::hnswlib_export;
using iqdb::hnswlib_import;
using iqdb::IndexErrorKind;
using iqdb::PersistErrorKind;
using iqdb::VectorId;
using iqdb_test::ids_of;
using iqdb_test::insert_all;
using iqdb_test::mentions;
using iqdb_test::Random;
using iqdb_test::random_vectors;
using iqdb_test::recall;
using iqdb_test::require_kind;
using iqdb_test::TemporaryDirectory;
using Native = hnswlib::HierarchicalNSW<float>;

constexpr std::array metrics = {DistanceMetric::euclidean, DistanceMetric::dot_product, DistanceMetric::cosine};

HnswIndex loaded(const HnswIndex& index) { return iqdb_test::loaded<HnswIndex>(iqdb_test::payload_of(index)); }

HnswIndex index_of(std::size_t count, std::size_t dim, DistanceMetric metric = DistanceMetric::euclidean,
                   const HnswConfig& config = {}) {
  HnswIndex index(dim, metric, config);
  insert_all(index, random_vectors(count, dim, 1));
  return index;
}

// Writes hnswlib's file of `vectors` under the labels 7000, 7001, … The nodes are made by HnswIndex, since
// HierarchicalNSW::addPoint reads beyond their links, which a sanitizer refuses.
void write_labels_from_7000(const std::vector<std::vector<float>>& vectors, const std::filesystem::path& path) {
  HnswIndex index(vectors.at(0).size(), DistanceMetric::euclidean, {.links = 4, .ef_construction = 10});
  for (std::size_t number = 0; number < vectors.size(); ++number) {
    index.insert(7000 + number, vectors[number]);
  }
  hnswlib_export(index, path);
}

std::vector<std::size_t> native_search(const Native& native, const std::vector<float>& query, std::size_t k) {
  auto queue = native.searchKnn(query.data(), k);
  std::vector<std::size_t> labels(queue.size());
  for (auto each = labels.rbegin(); each != labels.rend(); ++each) {
    *each = queue.top().second;
    queue.pop();
  }
  return labels;
}

}  // namespace

TEST_CASE("HnswIndex: keeps what PersistedIndex relies on with each metric", "[hnswlib][conformance]") {
  // A graph of hnswlib's has megabytes of locks, of which a sanitizer makes much: there one metric, and less of it.
  const auto options = iqdb_test::sanitized ? iqdb::testing::ConformanceOptions{.steps = 50,
                                                                                .lives = 1,
                                                                                .exhaustive_bytes = 64,
                                                                                .samples = 20,
                                                                                .approximate_search = true}
                                            : iqdb::testing::ConformanceOptions{.approximate_search = true};
  for (const DistanceMetric metric : std::span(metrics).last(iqdb_test::sanitized ? 1 : std::size(metrics))) {
    INFO(to_string(metric));
    const iqdb::testing::ConformanceReport report = iqdb::testing::check_persistable<HnswIndex>(
        {.make = [metric] { return HnswIndex(4, metric, {.links = 4, .ef_construction = 40}); },
         .contents = iqdb_test::contents_of<HnswIndex>},
        options);
    CHECK(report.metadata_seen);
  }
}

TEST_CASE("HnswIndex: a new one is empty and has what it was made with", "[hnswlib]") {
  const HnswIndex index(3, DistanceMetric::cosine, {.ef = 5});
  CHECK(index.size() == 0);
  CHECK(index.dim() == 3);
  CHECK(index.metric() == DistanceMetric::cosine);
  CHECK(index.config().ef == 5);
  CHECK(index.search({1.0F, 2.0F, 3.0F}).empty());
  CHECK(!index.contains(1));
}

TEST_CASE("HnswIndex: a metric that hnswlib has not is refused", "[hnswlib]") {
  for (const auto metric : {DistanceMetric::manhattan, DistanceMetric::hamming, static_cast<DistanceMetric>(9)}) {
    require_kind(IndexErrorKind::invalid_metric, [&] { return HnswIndex(3, metric); });
  }
}

TEST_CASE("HnswIndex: settings out of their range are refused", "[hnswlib]") {
  const std::vector<HnswConfig> wrong = {{.links = 1},
                                         {.links = 1025},
                                         {.ef_construction = 0},
                                         {.ef_construction = 65537},
                                         {.ef = 0},
                                         {.ef = 65537},
                                         {.capacity = std::size_t{1} << 31U}};
  for (const HnswConfig& config : wrong) {
    require_kind(IndexErrorKind::invalid_config, [&] { return HnswIndex(3, DistanceMetric::euclidean, config); });
  }
  require_kind(IndexErrorKind::invalid_config, [&] { return HnswIndex(0, DistanceMetric::euclidean); });
  require_kind(IndexErrorKind::invalid_config,
               [&] { return HnswIndex(~std::size_t{0} / 4, DistanceMetric::euclidean); });
}

TEST_CASE("HnswIndex: a mutation that is refused names its kind and changes nothing", "[hnswlib]") {
  HnswIndex index = index_of(10, 2);
  const std::string before = iqdb_test::contents_of(index);
  iqdb_test::require_refusals(index);
  CHECK(iqdb_test::contents_of(index) == before);
  CHECK(index.size() == 10);
}

TEST_CASE("HnswIndex: distances are those of FlatIndex", "[hnswlib][search]") {
  for (const DistanceMetric metric : metrics) {
    INFO(to_string(metric));
    FlatIndex exact(5, metric);
    insert_all(exact, random_vectors(50, 5, 1));
    const HnswIndex index = index_of(50, 5, metric);
    iqdb_test::require_distances_of(index, exact);
  }
}

TEST_CASE("HnswIndex: cosine distance is 1 where a norm is 0", "[hnswlib][search]") {
  HnswIndex index(2, DistanceMetric::cosine);
  index.insert(1, {0.0F, 0.0F});
  CHECK(index.search({3.0F, 4.0F}).at(0).distance == 1.0F);
  CHECK(index.search({0.0F, 0.0F}).at(0).distance == 1.0F);
}

TEST_CASE("HnswIndex: hits come nearest first with what was stored", "[hnswlib][search]") {
  HnswIndex index(1, DistanceMetric::euclidean);
  iqdb_test::require_hits_as_stored(index);
}

TEST_CASE("HnswIndex: k beyond the number of vectors finds all and k of 0 none", "[hnswlib][search]") {
  const HnswIndex index = index_of(30, 3);
  CHECK(index.search({0.0F, 0.0F, 0.0F}, {.k = 1000}).size() == 30);
  CHECK(index.search({0.0F, 0.0F, 0.0F}, {.k = 0}).empty());
}

TEST_CASE("HnswIndex: ef widens the one search it is given to", "[hnswlib][search]") {
  const HnswIndex index = index_of(3000, 16, DistanceMetric::euclidean, {.links = 4, .ef_construction = 20, .ef = 10});
  FlatIndex exact(16, DistanceMetric::euclidean);
  insert_all(exact, random_vectors(3000, 16, 1));
  iqdb_test::require_wider_by(index, exact, 1000);
}

TEST_CASE("HnswIndex: what is nearest is found beside vectors whose distances are no numbers", "[hnswlib][search]") {
  iqdb_test::require_nearest_beside_no_numbers(HnswIndex(2, DistanceMetric::dot_product));
}

TEST_CASE("HnswIndex: searches at the same time find what each finds alone", "[hnswlib][search]") {
  const HnswIndex index = index_of(2000, 8);
  iqdb_test::require_same_beside_each_other(index, 200);
}

TEST_CASE("HnswIndex: erased vectors are not found and their identifiers may come back", "[hnswlib]") {
  HnswIndex index = index_of(100, 3);
  for (std::uint64_t id = 0; id < 100; id += 2) {
    index.erase(id);
  }
  CHECK(index.size() == 50);
  const std::vector<Hit> hits = index.search({0.0F, 0.0F, 0.0F}, {.k = 100});
  CHECK(hits.size() == 50);
  CHECK(std::ranges::all_of(hits, [](const Hit& hit) { return hit.id.integer() % 2 == 1; }));
  require_kind(IndexErrorKind::not_found, [&] { index.erase(0); });
  index.insert(0, {9.0F, 9.0F, 9.0F});
  CHECK(index.search({9.0F, 9.0F, 9.0F}, {.k = 1}).at(0).id == 0);
}

TEST_CASE("HnswIndex: the place of an erased vector is taken by the next one", "[hnswlib]") {
  HnswIndex index = index_of(50, 4);
  const std::size_t bytes = iqdb_test::payload_of(index).size();
  Random random(9);
  for (std::uint64_t round = 0; round < 500; ++round) {
    index.erase(round % 50);
    index.insert(round % 50, random.vector(4));
  }
  CHECK(index.size() == 50);
  // Upper levels aside, which stay as they are: not one node more.
  CHECK(iqdb_test::payload_of(index).size() == bytes);
}

TEST_CASE("HnswIndex: vectors that replace others are found as well as those before", "[hnswlib][recall]") {
  const auto vectors = random_vectors(3000, 16, 1);
  HnswIndex index(16, DistanceMetric::euclidean);
  insert_all(index, random_vectors(3000, 16, 7));
  for (std::uint64_t id = 0; id < 3000; ++id) {
    index.erase(id);
    index.insert(id, vectors[id]);
  }
  FlatIndex exact(16, DistanceMetric::euclidean);
  insert_all(exact, vectors);
  CHECK(recall(index, exact) > 90);
}

TEST_CASE("HnswIndex: what is inserted after everything was erased is found", "[hnswlib]") {
  HnswIndex index = index_of(100, 3);
  for (std::uint64_t id = 0; id < 100; ++id) {
    index.erase(id);
  }
  CHECK(index.size() == 0);
  CHECK(index.search({0.0F, 0.0F, 0.0F}).empty());
  index.insert(7, {1.0F, 2.0F, 3.0F});
  CHECK(ids_of(index.search({0.0F, 0.0F, 0.0F})) == std::vector<VectorId>{7});
  CHECK(ids_of(loaded(index).search({0.0F, 0.0F, 0.0F})) == std::vector<VectorId>{7});
}

TEST_CASE("HnswIndex: all vectors are found when nearly all others were erased", "[hnswlib][search]") {
  HnswIndex index = index_of(2000, 4, DistanceMetric::euclidean, {.links = 2, .ef_construction = 4, .ef = 1});
  for (std::uint64_t id = 0; id < 2000; ++id) {
    if (id % 100 != 0) {
      index.erase(id);
    }
  }
  CHECK(index.search({0.0F, 0.0F, 0.0F, 0.0F}, {.k = 100}).size() == 20);
}

TEST_CASE("HnswIndex: for_each gives the vectors as they were inserted and for the cosine their direction",
          "[hnswlib]") {
  HnswIndex index(2, DistanceMetric::euclidean);
  index.insert(1, {3.0F, 4.0F}, {{"n", 1}});
  CHECK(iqdb_test::contents_of(index) == "1 3.000000 4.000000 1\n");
  HnswIndex cosine(2, DistanceMetric::cosine);
  cosine.insert(1, {3.0F, 4.0F});
  CHECK(iqdb_test::contents_of(cosine) == "1 0.600000 0.800000\n");
}

TEST_CASE("HnswIndex: an index that was moved goes on", "[hnswlib]") {
  HnswIndex first = index_of(10, 2);
  HnswIndex second = std::move(first);
  second.insert(100, {1.0F, 2.0F});
  HnswIndex third(2, DistanceMetric::cosine);
  third = std::move(second);
  third.insert(101, {1.0F, 3.0F});
  CHECK(third.size() == 12);
  CHECK(third.metric() == DistanceMetric::euclidean);
  CHECK(third.search({1.0F, 3.0F}, {.k = 1}).at(0).id == 101);
}

TEST_CASE("HnswIndex: an index that was moved from refuses what it is given", "[hnswlib]") {
  iqdb_test::require_refusals_when_moved_from(index_of(10, 2));
}

TEST_CASE("HnswIndex: settings come back with the payload", "[hnswlib][payload]") {
  const HnswConfig config{.links = 5, .ef_construction = 33, .ef = 44, .capacity = 100, .seed = 66};
  for (const std::size_t count : {0U, 20U}) {
    const HnswIndex index = loaded(index_of(count, 3, DistanceMetric::cosine, config));
    CHECK(index.metric() == DistanceMetric::cosine);
    CHECK(index.dim() == 3);
    CHECK(index.config().links == 5);
    CHECK(index.config().ef_construction == 33);
    CHECK(index.config().ef == 44);
    CHECK(index.config().capacity == 100);
    CHECK(index.config().seed == 66);
  }
}

TEST_CASE("HnswIndex: a loaded index finds the same as the one that was saved and saves the same",
          "[hnswlib][payload]") {
  HnswIndex index = index_of(500, 8, DistanceMetric::dot_product);
  for (std::uint64_t id = 0; id < 500; id += 3) {
    index.erase(id);
  }
  HnswIndex again = loaded(index);
  for (const auto& query : random_vectors(50, 8, 6)) {
    CHECK(ids_of(again.search(query)) == ids_of(index.search(query)));
  }
  CHECK(iqdb_test::payload_of(again) == iqdb_test::payload_of(index));
  again.insert(1000, random_vectors(1, 8, 8).front());
  CHECK(again.size() == index.size() + 1);
}

TEST_CASE("HnswIndex: insertions with loads between them make the graph that they make without", "[hnswlib][payload]") {
  const HnswConfig config{.links = 4, .ef_construction = 20};
  const auto vectors = random_vectors(300, 4, 1);
  HnswIndex expected(4, DistanceMetric::euclidean, config);
  insert_all(expected, vectors);
  HnswIndex index(4, DistanceMetric::euclidean, config);
  for (std::size_t number = 0; number < vectors.size(); ++number) {
    index.insert(number, std::span<const float>(vectors[number]));
    if (number % 10 == 9) {
      index = loaded(index);
    }
  }
  CHECK(iqdb_test::graph_bytes_of(index) == iqdb_test::graph_bytes_of(expected));
}

TEST_CASE("HnswIndex: of as many nodes as there are links, one reaches the next level", "[hnswlib]") {
  hnswlib::L2Space space(1);
  const Native graph(&space, 1, 4);
  std::array<std::size_t, 3> reached = {};
  for (unsigned node = 0; node < 10'000; ++node) {
    const int level = iqdb::hnswlib_graph::level_of(graph, node, 100);
    for (std::size_t each = 0; each < reached.size(); ++each) {
      reached.at(each) += static_cast<std::size_t>(level >= static_cast<int>(each));
    }
  }
  CHECK(reached[0] == 10'000);
  CHECK(reached[1] == Approx(2500).epsilon(0.1));
  CHECK(reached[2] == Approx(625).epsilon(0.2));
}

TEST_CASE("HnswIndex: another seed makes other levels", "[hnswlib]") {
  hnswlib::L2Space space(1);
  const Native graph(&space, 1, 4);
  std::size_t different = 0;
  for (unsigned node = 0; node < 1000; ++node) {
    different += static_cast<std::size_t>(iqdb::hnswlib_graph::level_of(graph, node, 1) !=
                                          iqdb::hnswlib_graph::level_of(graph, node, 2));
  }
  CHECK(different > 250);
}

TEST_CASE("HnswIndex: the capacity of a payload is believed only so far as it is little", "[hnswlib][payload]") {
  CHECK(loaded(HnswIndex(2, DistanceMetric::euclidean, {.capacity = 1'000'000'000})).config().capacity == 65536);
  CHECK(loaded(index_of(10, 2)).config().capacity == 64);
}

TEST_CASE("HnswIndex: an empty index takes no memory whatever its dimension and capacity", "[hnswlib][payload]") {
  const HnswIndex index =
      loaded(HnswIndex(std::size_t{1} << 27U, DistanceMetric::euclidean, {.capacity = std::size_t{1} << 30U}));
  CHECK(index.size() == 0);
}

TEST_CASE("HnswIndex: finds as much after a save and a load and after a crash", "[hnswlib][recall]") {
  constexpr std::size_t dim = 32;
  constexpr std::size_t count = iqdb_test::sanitized ? 2'000 : 10'000;
  const auto vectors = random_vectors(count, dim, 1);
  const TemporaryDirectory directory(iqdb_test::memory_directory());
  const iqdb::PersistConfig config{.path = directory / "index.iqdb",
                                   .wal_enabled = true,
                                   .fsync_policy = iqdb::FsyncPolicy::never(),
                                   .checkpoint = iqdb::CheckpointPolicy::manual()};
  FlatIndex exact(dim, DistanceMetric::euclidean);
  insert_all(exact, vectors);
  double in_memory = 0;
  {
    auto database = iqdb::PersistedIndex<HnswIndex>::open_with(HnswIndex(dim, DistanceMetric::euclidean), config);
    insert_all(database, vectors);
    in_memory = recall(database.index(), exact);
    CHECK(in_memory > 80);
    CHECK(std::abs(recall(loaded(database.index()), exact) - in_memory) <= 0.5);
  }  // not closed by hand: what is in the log is replayed
  const auto database = iqdb::PersistedIndex<HnswIndex>::load(config);
  CHECK(database.recovery().replayed == count);
  CHECK(std::abs(recall(database.index(), exact) - in_memory) <= 0.5);
}

TEST_CASE("HnswIndex: a checkpoint beside mutations is written by a forked process", "[hnswlib][fork]") {
  iqdb_test::require_checkpoint_by_fork([] { return HnswIndex(2, DistanceMetric::euclidean); });
}

TEST_CASE("hnswlib_export: hnswlib loads the file and finds the same", "[hnswlib][export]") {
  const TemporaryDirectory directory(iqdb_test::memory_directory());
  const std::filesystem::path path = directory / "hnswlib.bin";
  HnswIndex index = index_of(300, 6);
  for (std::uint64_t id = 0; id < 300; id += 4) {
    index.erase(id);
  }
  hnswlib_export(index, path);
  hnswlib::L2Space space(6);
  // Of version 0.6.2 num_deleted_ is not set by a load: without one that counts them, what was erased would be found.
  Native native(&space);
  native.num_deleted_ = 0;
  native.loadIndex(path.string(), &space);
  native.setEf(64);
  for (const auto& query : random_vectors(30, 6, 3)) {
    const std::vector<Hit> hits = index.search(query);
    const std::vector<std::size_t> labels = native_search(native, query, 10);
    REQUIRE(labels.size() == hits.size());
    for (std::size_t at = 0; at < hits.size(); ++at) {
      CHECK(hits[at].id == labels[at]);
    }
  }
}

TEST_CASE("hnswlib_export: identifiers of bytes are refused and nothing is written", "[hnswlib][export]") {
  const TemporaryDirectory directory(iqdb_test::memory_directory());
  HnswIndex index = index_of(3, 2);
  index.insert(VectorId::from_bytes("bytes"), {1.0F, 2.0F});
  const auto error = iqdb_test::index_error_of([&] { hnswlib_export(index, directory / "hnswlib.bin"); });
  CHECK(error.kind() == IndexErrorKind::invalid_config);
  CHECK(mentions(error, "bytes"));
  CHECK(std::filesystem::is_empty(directory.path()));
}

TEST_CASE("hnswlib_export: an exported index comes back with every metric and erased places", "[hnswlib][export]") {
  const TemporaryDirectory directory(iqdb_test::memory_directory());
  const std::filesystem::path path = directory / "hnswlib.bin";
  for (const DistanceMetric metric : metrics) {
    for (const std::size_t count : {0U, 1U, 100U}) {
      CAPTURE(to_string(metric), count);
      HnswIndex index = index_of(count, 4, metric, {.links = 6, .ef_construction = 50});
      if (count > 1) {
        index.erase(3);
        index.insert(std::numeric_limits<std::uint64_t>::max(), {1.0F, 2.0F, 3.0F, 4.0F});
        index.erase(5);
      }
      hnswlib_export(index, path);
      const HnswIndex again = hnswlib_import(path, 4, metric);
      CHECK(again.config().links == 6);
      CHECK(again.config().ef_construction == 50);
      CHECK(iqdb_test::contents_of(again) == iqdb_test::contents_of(index));
    }
  }
}

TEST_CASE("hnswlib_import: what hnswlib saved finds the same and goes on as a durable index", "[hnswlib][import]") {
  if (iqdb_test::sanitized) {
    WARN("not examined under a sanitizer: hnswlib reads a link beyond the upper levels of its own nodes");
    return;
  }
  const TemporaryDirectory directory(iqdb_test::memory_directory());
  const std::filesystem::path path = directory / "hnswlib.bin";
  hnswlib::L2Space space(6);
  Native native(&space, 400, 8, 60);
  const auto vectors = random_vectors(300, 6, 1);
  for (std::size_t number = 0; number < vectors.size(); ++number) {
    native.addPoint(vectors[number].data(), 1'000'000 - number);
  }
  native.markDelete(1'000'000 - 7);
  native.setEf(64);
  native.saveIndex(path.string());

  const iqdb::PersistConfig config{.path = directory / "index.iqdb", .wal_enabled = true};
  {
    auto database =
        iqdb::PersistedIndex<HnswIndex>::open_with(hnswlib_import(path, 6, DistanceMetric::euclidean), config);
    database.insert(VectorId::from_bytes("new"), {50.0F, 0.0F, 0.0F, 0.0F, 0.0F, 0.0F});
  }
  const auto database = iqdb::PersistedIndex<HnswIndex>::load(config);
  CHECK(database.index().size() == 300);
  CHECK(database.index().search({49.0F, 0.0F, 0.0F, 0.0F, 0.0F, 0.0F}, {.k = 1}).at(0).id ==
        VectorId::from_bytes("new"));
  std::size_t same = 0;
  for (const auto& query : random_vectors(50, 6, 3)) {
    same += static_cast<std::size_t>(database.index().search(query, {.k = 1}).at(0).id ==
                                     native_search(native, query, 1).at(0));
  }
  CHECK(same >= 49);  // the new vector took the place of an erased one, which moves some links
}

TEST_CASE("hnswlib_import: a file of another dimension is refused by the numbers", "[hnswlib][import]") {
  const TemporaryDirectory directory(iqdb_test::memory_directory());
  const std::filesystem::path path = directory / "hnswlib.bin";
  hnswlib_export(index_of(10, 4), path);
  const auto error = require_kind(PersistErrorKind::invalid_payload,
                                  [&] { return hnswlib_import(path, 5, DistanceMetric::euclidean); });
  CHECK(error.path() == path);
  CHECK(mentions(error, "5 dimensions"));
}

TEST_CASE("hnswlib_import: vectors without a length of 1 are refused for the cosine", "[hnswlib][import]") {
  const TemporaryDirectory directory(iqdb_test::memory_directory());
  const std::filesystem::path path = directory / "hnswlib.bin";
  hnswlib_export(index_of(10, 4, DistanceMetric::dot_product), path);
  const auto error =
      require_kind(PersistErrorKind::invalid_payload, [&] { return hnswlib_import(path, 4, DistanceMetric::cosine); });
  CHECK(mentions(error, "length of 1"));
  CHECK(hnswlib_import(path, 4, DistanceMetric::dot_product).size() == 10);
}

TEST_CASE("hnswlib_import: a vector that is not finite is refused by its label", "[hnswlib][import]") {
  const TemporaryDirectory directory(iqdb_test::memory_directory());
  const std::filesystem::path path = directory / "hnswlib.bin";
  hnswlib::L2Space space(2);
  write_labels_from_7000(random_vectors(60, 2, 1), path);
  Native native(&space, path.string());
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::memcpy(native.getDataByInternalId(50), &nan, sizeof nan);
  native.saveIndex(path.string());
  const auto error = require_kind(PersistErrorKind::invalid_payload,
                                  [&] { return hnswlib_import(path, 2, DistanceMetric::euclidean); });
  INFO(error.what());
  CHECK(mentions(error, "the vector 7050 (node 50) has a component that is not finite"));
}

TEST_CASE("hnswlib_import: an erased vector that is not finite does not matter", "[hnswlib][import]") {
  const TemporaryDirectory directory(iqdb_test::memory_directory());
  const std::filesystem::path path = directory / "hnswlib.bin";
  hnswlib::L2Space space(2);
  const auto vectors = random_vectors(60, 2, 1);
  write_labels_from_7000(vectors, path);
  Native native(&space, path.string());
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::memcpy(native.getDataByInternalId(50), &nan, sizeof nan);
  native.markDelete(7050);
  native.saveIndex(path.string());
  HnswIndex index = hnswlib_import(path, 2, DistanceMetric::euclidean);
  CHECK(index.size() == 59);
  CHECK(!index.contains(7050));
  for (std::size_t number = 0; number < vectors.size(); ++number) {
    if (number != 50) {
      CHECK(index.search(vectors[number], {.k = 1, .ef = 60}).at(0).id == VectorId(7000 + number));
    }
  }
  CHECK(iqdb_test::contents_of(loaded(index)) == iqdb_test::contents_of(index));
  index.insert(7050, {1.0F, 2.0F});  // takes the place of the erased one
  CHECK(index.search({1.0F, 2.0F}, {.k = 1}).at(0).id == VectorId(7050));
  CHECK(iqdb_test::contents_of(loaded(index)) == iqdb_test::contents_of(index));
}

TEST_CASE("hnswlib_import: two vectors of one label are refused", "[hnswlib][import]") {
  const TemporaryDirectory directory(iqdb_test::memory_directory());
  const std::filesystem::path path = directory / "hnswlib.bin";
  hnswlib::L2Space space(2);
  Native native(&space, 2, 4, 10);
  const std::array<float, 2> vector = {1.0F, 2.0F};
  native.addPoint(vector.data(), 1);
  native.addPoint(vector.data(), 2);
  native.setExternalLabel(1, 1);
  native.saveIndex(path.string());
  const auto error = require_kind(PersistErrorKind::invalid_payload,
                                  [&] { return hnswlib_import(path, 2, DistanceMetric::euclidean); });
  CHECK(mentions(error, "label 1"));
}

TEST_CASE("hnswlib_import: a file that is not there is io and settings out of range are the caller's",
          "[hnswlib][import]") {
  const TemporaryDirectory directory(iqdb_test::memory_directory());
  require_kind(PersistErrorKind::io, [&] { return hnswlib_import(directory / "none", 2, DistanceMetric::cosine); });
  require_kind(IndexErrorKind::invalid_config,
               [&] { return hnswlib_import(directory / "none", 0, DistanceMetric::cosine); });
}

TEST_CASE("HnswIndex: what earlier versions logged is replayed, though insert refuses it now", "[hnswlib][wal]") {
  for (const DistanceMetric metric : {DistanceMetric::euclidean, DistanceMetric::dot_product}) {
    iqdb_test::require_earlier_logs_replayed([metric] { return HnswIndex(2, metric); }, true);
  }
}
