// FaissIndex: what it takes, what it finds, that it comes back as it was, and files of faiss' own.
#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIDMap.h>
#include <faiss/IndexIVFFlat.h>
#include <faiss/IndexLSH.h>
#include <faiss/IndexScalarQuantizer.h>
#include <faiss/MetaIndexes.h>
#include <faiss/index_io.h>
#include <omp.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <limits>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "iqdb/index/faiss.hpp"
#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"
#include "iqdb/persist/testing/conformance.hpp"
#include "support/adapters.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/earlier_index.hpp"
#include "support/expect_error.hpp"
#include "support/files.hpp"
#include "support/operator_new.hpp"
#include "support/sample_index.hpp"
#include "support/sanitized.hpp"
#include "support/temporary_directory.hpp"

namespace {

using iqdb::DistanceMetric;
using iqdb::faiss_export;
using iqdb::faiss_import;
using iqdb::FaissIndex;
using iqdb::FaissKind;
using iqdb::FlatIndex;
using iqdb::Hit;
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

constexpr std::array metrics = {DistanceMetric::euclidean, DistanceMetric::dot_product, DistanceMetric::cosine};
constexpr std::array kinds = {FaissKind::flat, FaissKind::hnsw, FaissKind::ivf};

std::string name_of(FaissKind kind) {
  return kind == FaissKind::flat ? "flat" : kind == FaissKind::hnsw ? "hnsw" : "ivf";
}

std::vector<float> joined(const std::vector<std::vector<float>>& vectors) {
  std::vector<float> all;
  for (const std::vector<float>& each : vectors) {
    all.insert(all.end(), each.begin(), each.end());
  }
  return all;
}

FaissIndex empty_index(FaissKind kind, std::size_t dim, DistanceMetric metric = DistanceMetric::euclidean) {
  omp_set_num_threads(1);  // so little is trained sooner without others
  switch (kind) {
    case FaissKind::flat:
      return FaissIndex::flat(dim, metric);
    case FaissKind::hnsw:
      return FaissIndex::hnsw(dim, metric, 16);
    case FaissKind::ivf:
      break;
  }
  return FaissIndex::ivf(dim, metric, 4, joined(random_vectors(200, dim, 99)), 2);
}

FaissIndex index_of(FaissKind kind, std::size_t count, std::size_t dim,
                    DistanceMetric metric = DistanceMetric::euclidean) {
  FaissIndex index = empty_index(kind, dim, metric);
  insert_all(index, random_vectors(count, dim, 1));
  return index;
}

FaissIndex loaded(const FaissIndex& index) { return iqdb_test::loaded<FaissIndex>(iqdb_test::payload_of(index)); }

std::vector<faiss::Index::idx_t> native_search(const faiss::Index& native, const std::vector<float>& query,
                                               std::size_t k) {
  std::vector<float> distances(k);
  std::vector<faiss::Index::idx_t> labels(k);
  native.search(1, query.data(), static_cast<faiss::Index::idx_t>(k), distances.data(), labels.data());
  return labels;
}

std::unique_ptr<faiss::Index> native_read(const std::filesystem::path& path) {
  return std::unique_ptr<faiss::Index>(faiss::read_index(path.c_str()));
}

}  // namespace

TEST_CASE("FaissIndex: keeps what PersistedIndex relies on with each kind and metric", "[faiss][conformance]") {
  // A sanitizer makes it take long, and sees the same with each metric.
  const auto tried_metrics = std::span(metrics).last(iqdb_test::sanitized ? 1 : metrics.size());
  for (const FaissKind kind : kinds) {
    for (const DistanceMetric metric : tried_metrics) {
      if (kind != FaissKind::flat && metric == DistanceMetric::dot_product) {
        continue;  // the cosine is the same to faiss
      }
      INFO(name_of(kind) << " " << to_string(metric));
      // The payload is the same after the same mutations, the graph's included. An HNSW index rejects every removal.
      const FaissIndex trained = empty_index(kind, 4, metric);
      const iqdb::testing::ConformanceReport report = iqdb::testing::check_persistable<FaissIndex>(
          {.make = [&trained] { return loaded(trained); }}, {.steps = 200, .lives = 1});
      CHECK(report.metadata_seen);
    }
  }
}

TEST_CASE("FaissIndex: a new one is empty and has what it was made with", "[faiss]") {
  for (const FaissKind kind : kinds) {
    const FaissIndex index = empty_index(kind, 3, DistanceMetric::cosine);
    CHECK(index.kind() == kind);
    CHECK(index.size() == 0);
    CHECK(index.dim() == 3);
    CHECK(index.metric() == DistanceMetric::cosine);
    CHECK(index.native().metric_type == faiss::METRIC_INNER_PRODUCT);
    CHECK(index.search({1.0F, 2.0F, 3.0F}).empty());
    CHECK(!index.contains(1));
  }
}

TEST_CASE("FaissIndex: a metric that is not taken over is refused", "[faiss]") {
  const std::vector<float> training = {1.0F, 2.0F, 3.0F};
  for (const auto metric : {DistanceMetric::manhattan, DistanceMetric::hamming, static_cast<DistanceMetric>(9)}) {
    require_kind(IndexErrorKind::invalid_metric, [&] { return FaissIndex::flat(3, metric); });
    require_kind(IndexErrorKind::invalid_metric, [&] { return FaissIndex::hnsw(3, metric); });
    require_kind(IndexErrorKind::invalid_metric, [&] { return FaissIndex::ivf(3, metric, 1, training); });
    require_kind(IndexErrorKind::invalid_metric, [&] { return FaissIndex(faiss::IndexFlatL2(3), metric); });
    require_kind(IndexErrorKind::invalid_metric, [&] { return faiss_import("none", metric); });
  }
  require_kind(IndexErrorKind::invalid_metric,
               [&] { return FaissIndex(faiss::IndexFlatL2(3), DistanceMetric::dot_product); });
}

TEST_CASE("FaissIndex: settings out of their range are refused", "[faiss]") {
  constexpr auto metric = DistanceMetric::euclidean;
  const std::vector<float> training = {1.0F, 2.0F, 3.0F, 4.0F};
  const float nan = std::numeric_limits<float>::quiet_NaN();
  require_kind(IndexErrorKind::invalid_config, [&] { return FaissIndex::flat(0, metric); });
  require_kind(IndexErrorKind::invalid_config, [&] { return FaissIndex::flat(~std::size_t{0}, metric); });
  require_kind(IndexErrorKind::invalid_config, [&] { return FaissIndex::hnsw(0, metric); });
  require_kind(IndexErrorKind::invalid_config, [&] { return FaissIndex::hnsw(2, metric, 1); });
  require_kind(IndexErrorKind::invalid_config, [&] { return FaissIndex::hnsw(2, metric, 1025); });
  require_kind(IndexErrorKind::invalid_config, [&] { return FaissIndex::hnsw(2, metric, 4, 0); });
  require_kind(IndexErrorKind::invalid_config, [&] { return FaissIndex::hnsw(2, metric, 4, 65537); });
  require_kind(IndexErrorKind::invalid_config, [&] { return FaissIndex::hnsw(2, metric, 4, 4, 0); });
  require_kind(IndexErrorKind::invalid_config, [&] { return FaissIndex::ivf(0, metric, 1, training); });
  require_kind(IndexErrorKind::invalid_config, [&] { return FaissIndex::ivf(2, metric, 0, training); });
  require_kind(IndexErrorKind::invalid_config, [&] { return FaissIndex::ivf(2, metric, 1, training, 0); });
  require_kind(IndexErrorKind::invalid_config, [&] { return FaissIndex::ivf(2, metric, 3, training); });
  require_kind(IndexErrorKind::invalid_config, [&] { return FaissIndex::ivf(3, metric, 1, training); });
  require_kind(IndexErrorKind::invalid_vector, [&] { return FaissIndex::ivf(1, metric, 1, std::array{nan}); });
}

TEST_CASE("FaissIndex: an index of faiss' that is not trained is refused and told how", "[faiss]") {
  faiss::IndexFlatL2 quantizer(3);
  const faiss::IndexIVFFlat native(&quantizer, 3, 4);
  const auto error = iqdb_test::index_error_of([&] { return FaissIndex(native, DistanceMetric::euclidean); });
  CHECK(error.kind() == IndexErrorKind::invalid_config);
  CHECK(mentions(error, "index.train"));
  const TemporaryDirectory directory(iqdb_test::memory_directory());
  faiss::write_index(&native, (directory / "faiss.bin").c_str());
  const auto in_file = require_kind(PersistErrorKind::invalid_payload,
                                    [&] { return faiss_import(directory / "faiss.bin", DistanceMetric::euclidean); });
  CHECK(mentions(in_file, "index.train"));
}

TEST_CASE("FaissIndex: an index of another type is refused and told what there is", "[faiss]") {
  faiss::IndexLSH native(8, 16);
  const auto error = iqdb_test::index_error_of([&] { return FaissIndex(native, DistanceMetric::euclidean); });
  CHECK(error.kind() == IndexErrorKind::invalid_config);
  CHECK(mentions(error, "IxHe"));
  CHECK(mentions(error, "IwFl"));

  // Inside of others too: a quantizer that has codes, a map in a map.
  faiss::IndexScalarQuantizer codes(2, faiss::ScalarQuantizer::QT_fp16);
  faiss::IndexIVFFlat lists(&codes, 2, 3);
  lists.cp.min_points_per_centroid = 1;
  lists.quantizer_trains_alone = 2;
  lists.train(50, joined(random_vectors(50, 2, 1)).data());
  CHECK(mentions(iqdb_test::index_error_of([&] { return FaissIndex(lists, DistanceMetric::euclidean); }),
                 "quantizer is of the type \"IxSQ\""));
  faiss::IndexFlatL2 flat(2);
  faiss::IndexIDMap inner(&flat);
  faiss::IndexIDMap outer(&inner);
  CHECK(mentions(iqdb_test::index_error_of([&] { return FaissIndex(outer, DistanceMetric::euclidean); }), "IxMp"));
  const faiss::IndexSplitVectors never_saved(2);
  CHECK(iqdb_test::index_error_of([&] { return FaissIndex(never_saved, DistanceMetric::euclidean); }).kind() ==
        IndexErrorKind::resource_limit);
}

TEST_CASE("FaissIndex: a mutation that is refused names its kind and changes nothing", "[faiss]") {
  for (const FaissKind kind : kinds) {
    INFO(name_of(kind));
    FaissIndex index = index_of(kind, 10, 2);
    const auto before = iqdb_test::payload_of(index);
    iqdb_test::require_refusals(index);
    CHECK(iqdb_test::payload_of(index) == before);
    CHECK(index.size() == 10);
  }
}

TEST_CASE("FaissIndex: an insertion that finds no memory changes nothing and may be repeated", "[faiss]") {
  const std::vector<float> vector = {0.1F, 0.2F, 0.3F};
  for (const FaissKind kind : kinds) {
    for (const std::size_t count : {0U, 1U, 64U}) {
      CAPTURE(name_of(kind), count);
      FaissIndex index = index_of(kind, count, 3);
      const std::string before = iqdb_test::contents_of(index);
      std::uint64_t number = 1;
      for (bool inserted = false; !inserted; ++number) {
        try {
          iqdb_test::refusing_allocation(number, [&] { index.insert(1000, std::span<const float>(vector)); });
          inserted = true;
        } catch (const std::bad_alloc&) {
          REQUIRE(iqdb_test::contents_of(index) == before);
          REQUIRE(iqdb_test::contents_of(loaded(index)) == before);
        }
      }
      CHECK(number > 3);
      CHECK(index.size() == count + 1);
      CHECK(index.search(vector, {.k = 1}).at(0).id == 1000);
    }
  }
}

TEST_CASE("FaissIndex: nothing can be erased from an HNSW index and the error says so", "[faiss]") {
  FaissIndex index = index_of(FaissKind::hnsw, 10, 2);
  const auto error = iqdb_test::index_error_of([&] { index.erase(3); });
  CHECK(error.kind() == IndexErrorKind::invalid_config);
  CHECK(mentions(error, "HNSW cannot remove"));
  CHECK(index.contains(3));
  CHECK(index.size() == 10);
}

TEST_CASE("FaissIndex: a removal from a durable HNSW index is refused and the log goes on", "[faiss]") {
  const TemporaryDirectory directory(iqdb_test::memory_directory());
  const iqdb::PersistConfig config{.path = directory / "index.iqdb", .wal_enabled = true};
  {
    auto database = iqdb::PersistedIndex<FaissIndex>::open_with(FaissIndex::hnsw(2, DistanceMetric::euclidean), config);
    insert_all(database, random_vectors(20, 2, 1));
    require_kind(IndexErrorKind::invalid_config, [&] { database.erase(3); });
    database.insert(100, {1.0F, 2.0F});
  }
  const auto database = iqdb::PersistedIndex<FaissIndex>::load(config);
  CHECK(database.index().size() == 21);
  CHECK(database.recovery().aborted == 0);  // refused before it was logged
}

TEST_CASE("FaissIndex: distances are those of FlatIndex", "[faiss][search]") {
  for (const FaissKind kind : kinds) {
    for (const DistanceMetric metric : metrics) {
      INFO(name_of(kind) << " " << to_string(metric));
      FlatIndex exact(5, metric);
      insert_all(exact, random_vectors(50, 5, 1));
      const FaissIndex index = index_of(kind, 50, 5, metric);
      iqdb_test::require_distances_of(index, exact);
    }
  }
}

TEST_CASE("FaissIndex: a flat one finds what FlatIndex finds", "[faiss][search]") {
  for (const DistanceMetric metric : metrics) {
    INFO(to_string(metric));
    FlatIndex exact(16, metric);
    insert_all(exact, random_vectors(2000, 16, 1));
    CHECK(recall(index_of(FaissKind::flat, 2000, 16, metric), exact) > 99.9);
  }
}

TEST_CASE("FaissIndex: hits come nearest first with what was stored", "[faiss][search]") {
  for (const FaissKind kind : kinds) {
    FaissIndex index = empty_index(kind, 1);
    iqdb_test::require_hits_as_stored(index);
  }
}

TEST_CASE("FaissIndex: k beyond the number of vectors finds all and k of 0 none", "[faiss][search]") {
  for (const FaissKind kind : kinds) {
    const FaissIndex index = index_of(kind, 30, 3);
    CHECK(index.search({0.0F, 0.0F, 0.0F}, {.k = 1000, .ef = 1}).size() == 30);
    CHECK(index.search({0.0F, 0.0F, 0.0F}, {.k = 0}).empty());
  }
}

TEST_CASE("FaissIndex: vectors as large as distances allow are kept and found, and larger ones are refused",
          "[faiss][search]") {
  constexpr float huge = 3e18F;
  for (const FaissKind kind : kinds) {
    for (const DistanceMetric metric : {DistanceMetric::euclidean, DistanceMetric::dot_product}) {
      INFO(name_of(kind) << " " << to_string(metric));
      FaissIndex index = empty_index(kind, 2, metric);
      index.insert(1, {huge, -huge});
      index.insert(2, {-huge, huge});
      index.insert(3, {1.0F, 2.0F});
      index.insert(4, {huge, huge});
      require_kind(IndexErrorKind::invalid_vector, [&] { index.insert(5, {3e38F, -3e38F}); });
      CHECK(index.search({huge, huge}, {.k = 10}).size() == 4);
      CHECK(loaded(index).search({huge, huge}, {.k = 10}).size() == 4);
    }
  }
}

TEST_CASE("FaissIndex: ef widens the one search it is given to", "[faiss][search]") {
  for (const FaissKind kind : {FaissKind::hnsw, FaissKind::ivf}) {
    INFO(name_of(kind));
    const auto vectors = random_vectors(3000, 16, 1);
    FaissIndex index = kind == FaissKind::hnsw ? FaissIndex::hnsw(16, DistanceMetric::euclidean, 4, 10, 4)
                                               : FaissIndex::ivf(16, DistanceMetric::euclidean, 30, joined(vectors), 1);
    insert_all(index, vectors);
    FlatIndex exact(16, DistanceMetric::euclidean);
    insert_all(exact, vectors);
    iqdb_test::require_wider_by(index, exact, 3000);
  }
}

TEST_CASE("FaissIndex: searches at the same time find what each finds alone", "[faiss][search]") {
  for (const FaissKind kind : kinds) {
    const FaissIndex index = index_of(kind, 1000, 8);
    iqdb_test::require_same_beside_each_other(index, 100);
  }
}

TEST_CASE("FaissIndex: erased vectors are not found and their identifiers may come back", "[faiss]") {
  for (const FaissKind kind : {FaissKind::flat, FaissKind::ivf}) {
    INFO(name_of(kind));
    FaissIndex index = index_of(kind, 100, 3);
    FlatIndex exact(3, DistanceMetric::euclidean);
    insert_all(exact, random_vectors(100, 3, 1));
    for (std::uint64_t id = 0; id < 100; id += 2) {
      index.erase(id);
      exact.erase(id);
    }
    CHECK(index.size() == 50);
    CHECK(iqdb_test::contents_of(index) == iqdb_test::contents_of(exact));
    for (const auto& query : random_vectors(20, 3, 3)) {
      CHECK(ids_of(index.search(query, {.k = 50})) == ids_of(exact.search(query, {.k = 50})));
    }
    require_kind(IndexErrorKind::not_found, [&] { index.erase(0); });
    index.insert(0, {9.0F, 9.0F, 9.0F});
    CHECK(index.search({9.0F, 9.0F, 9.0F}, {.k = 1}).at(0).id == 0);
  }
}

TEST_CASE("FaissIndex: erasures leave nothing behind that takes room", "[faiss]") {
  for (const FaissKind kind : {FaissKind::flat, FaissKind::ivf}) {
    FaissIndex index = index_of(kind, 50, 4);
    const std::size_t bytes = iqdb_test::payload_of(index).size();
    Random random(9);
    for (std::uint64_t round = 0; round < 500; ++round) {
      index.erase(round % 50);
      index.insert(round % 50, random.vector(4));
    }
    CHECK(iqdb_test::payload_of(index).size() == bytes);
    for (std::uint64_t id = 0; id < 50; ++id) {
      index.erase(id);
    }
    CHECK(index.size() == 0);
    CHECK(index.search({0.0F, 0.0F, 0.0F, 0.0F}).empty());
    FaissIndex again = loaded(index);
    again.insert(7, {1.0F, 2.0F, 3.0F, 4.0F});
    CHECK(ids_of(again.search({0.0F, 0.0F, 0.0F, 0.0F})) == std::vector<VectorId>{7});
  }
}

TEST_CASE("FaissIndex: for_each gives the vectors as they were inserted and for the cosine their direction",
          "[faiss]") {
  for (const FaissKind kind : kinds) {
    FaissIndex index = empty_index(kind, 2);
    index.insert(1, {3.0F, 4.0F}, {{"n", 1}});
    CHECK(iqdb_test::contents_of(index) == "1 3.000000 4.000000 1\n");
    FaissIndex cosine = empty_index(kind, 2, DistanceMetric::cosine);
    cosine.insert(1, {3.0F, 4.0F});
    CHECK(iqdb_test::contents_of(cosine) == "1 0.600000 0.800000\n");
  }
}

TEST_CASE("FaissIndex: an index that was moved goes on", "[faiss]") {
  for (const FaissKind kind : kinds) {
    FaissIndex first = index_of(kind, 10, 2);
    FaissIndex second = std::move(first);
    second.insert(100, {1.0F, 2.0F});
    FaissIndex third = FaissIndex::flat(2, DistanceMetric::cosine);
    third = std::move(second);
    third.insert(101, {1.0F, 3.0F});
    CHECK(third.size() == 12);
    CHECK(third.kind() == kind);
    CHECK(third.metric() == DistanceMetric::euclidean);
    CHECK(third.search({1.0F, 3.0F}, {.k = 1}).at(0).id == 101);
  }
}

TEST_CASE("FaissIndex: an index that was moved from refuses what it is given", "[faiss]") {
  for (const FaissKind kind : {FaissKind::flat, FaissKind::ivf}) {
    INFO(name_of(kind));
    iqdb_test::require_refusals_when_moved_from(index_of(kind, 10, 2));
  }
}

TEST_CASE("FaissIndex: settings come back with the payload", "[faiss][payload]") {
  const FaissIndex graph = loaded(FaissIndex::hnsw(3, DistanceMetric::cosine, 5, 33, 44));
  const auto& native_graph = dynamic_cast<const faiss::IndexHNSWFlat&>(graph.native()).hnsw;
  CHECK(graph.metric() == DistanceMetric::cosine);
  CHECK(native_graph.nb_neighbors(0) == 10);
  CHECK(native_graph.nb_neighbors(1) == 5);
  CHECK(native_graph.efConstruction == 33);
  CHECK(native_graph.efSearch == 44);
  const FaissIndex lists =
      loaded(FaissIndex::ivf(3, DistanceMetric::dot_product, 7, joined(random_vectors(50, 3, 1)), 3));
  const auto& native_lists = dynamic_cast<const faiss::IndexIVFFlat&>(lists.native());
  CHECK(native_lists.nlist == 7);
  CHECK(native_lists.nprobe == 3);
  CHECK(native_lists.is_trained);
  CHECK(loaded(FaissIndex::flat(3, DistanceMetric::euclidean)).kind() == FaissKind::flat);
}

TEST_CASE("FaissIndex: a loaded index finds the same as the one that was saved and saves the same",
          "[faiss][payload]") {
  for (const FaissKind kind : kinds) {
    for (const DistanceMetric metric : metrics) {
      INFO(name_of(kind) << " " << to_string(metric));
      FaissIndex index = index_of(kind, 500, 8, metric);
      for (std::uint64_t id = 0; id < 500 && kind != FaissKind::hnsw; id += 3) {
        index.erase(id);
      }
      FaissIndex again = loaded(index);
      for (const auto& query : random_vectors(50, 8, 6)) {
        CHECK(ids_of(again.search(query)) == ids_of(index.search(query)));
      }
      CHECK(iqdb_test::payload_of(again) == iqdb_test::payload_of(index));
      // And goes on as the same.
      for (FaissIndex* each : {&index, &again}) {
        each->insert(1000, std::span<const float>(random_vectors(1, 8, 8).front()));
        each->insert(1001, std::span<const float>(random_vectors(1, 8, 9).front()));
      }
      CHECK(iqdb_test::payload_of(again) == iqdb_test::payload_of(index));
    }
  }
}

TEST_CASE("FaissIndex: finds the same after a save and a load and after a crash", "[faiss][recall]") {
  constexpr std::size_t dim = 32;
  constexpr std::size_t count = 5000;
  const auto vectors = random_vectors(count, dim, 1);
  const TemporaryDirectory directory(iqdb_test::memory_directory());
  FlatIndex exact(dim, DistanceMetric::euclidean);
  insert_all(exact, vectors);
  for (const FaissKind kind : kinds) {
    INFO(name_of(kind));
    const iqdb::PersistConfig config{.path = directory / (name_of(kind) + ".iqdb"),
                                     .wal_enabled = true,
                                     .fsync_policy = iqdb::FsyncPolicy::never(),
                                     .checkpoint = iqdb::CheckpointPolicy::manual()};
    std::vector<std::vector<VectorId>> in_memory;
    const auto found_in = [&](const FaissIndex& index) {
      std::vector<std::vector<VectorId>> found;
      for (const auto& query : random_vectors(100, dim, 2)) {
        found.push_back(ids_of(index.search(query)));
      }
      return found;
    };
    {
      FaissIndex index = kind == FaissKind::flat   ? FaissIndex::flat(dim, DistanceMetric::euclidean)
                         : kind == FaissKind::hnsw ? FaissIndex::hnsw(dim, DistanceMetric::euclidean, 16, 80, 64)
                                                   : FaissIndex::ivf(dim, DistanceMetric::euclidean, 16,
                                                                     joined(random_vectors(1000, dim, 7)), 10);
      auto database = iqdb::PersistedIndex<FaissIndex>::open_with(std::move(index), config);
      insert_all(database, vectors);
      in_memory = found_in(database.index());
      CHECK(recall(database.index(), exact) > (kind == FaissKind::flat ? 99.9 : 80));
      CHECK(found_in(loaded(database.index())) == in_memory);
    }  // not closed by hand: what is in the log is replayed
    const auto database = iqdb::PersistedIndex<FaissIndex>::load(config);
    CHECK(database.recovery().replayed == count);
    CHECK(found_in(database.index()) == in_memory);
  }
}

TEST_CASE("FaissIndex: a checkpoint beside mutations is written by a forked process", "[faiss][fork]") {
  iqdb_test::require_checkpoint_by_fork([] { return FaissIndex::flat(2, DistanceMetric::euclidean); });
  iqdb_test::require_checkpoint_by_fork([] { return FaissIndex::hnsw(2, DistanceMetric::euclidean); });
  iqdb_test::require_checkpoint_by_fork([] {
    const std::vector<float> training{0.0F, 1.0F, 30.0F, 1.0F, 60.0F, 1.0F, 90.0F, 1.0F};
    return FaissIndex::ivf(2, DistanceMetric::euclidean, 2, training);
  });
}

TEST_CASE("faiss_export: faiss loads the file and finds the same", "[faiss][export]") {
  const TemporaryDirectory directory(iqdb_test::memory_directory());
  const std::filesystem::path path = directory / "faiss.bin";
  for (const FaissKind kind : kinds) {
    for (const DistanceMetric metric : metrics) {
      INFO(name_of(kind) << " " << to_string(metric));
      FaissIndex index = empty_index(kind, 6, metric);
      const auto vectors = random_vectors(300, 6, 1);
      for (std::size_t number = 0; number < vectors.size(); ++number) {
        index.insert(1'000'000 - number, std::span<const float>(vectors[number]));
      }
      for (std::uint64_t number = 0; number < 300 && kind != FaissKind::hnsw; number += 4) {
        index.erase(1'000'000 - number);
      }
      faiss_export(index, path);
      const auto native = native_read(path);
      CHECK(static_cast<std::size_t>(native->ntotal) == index.size());
      for (const std::vector<float>& query : random_vectors(30, 6, 3)) {
        const std::vector<Hit> hits = index.search(query);
        const auto labels = native_search(*native, query, 10);
        REQUIRE(hits.size() == labels.size());
        for (std::size_t at = 0; at < hits.size(); ++at) {
          CHECK(hits[at].id == labels[at]);
        }
      }
      // faiss goes on with it.
      const faiss::Index::idx_t id = 5;
      native->add_with_ids(1, vectors[0].data(), &id);
      CHECK(static_cast<std::size_t>(native->ntotal) == index.size() + 1);
    }
  }
}

TEST_CASE("faiss_export: identifiers that faiss has no number for are refused and nothing is written",
          "[faiss][export]") {
  const TemporaryDirectory directory(iqdb_test::memory_directory());
  for (const VectorId& id : {VectorId::from_bytes("bytes"), VectorId(std::uint64_t{1} << 63U)}) {
    FaissIndex index = index_of(FaissKind::flat, 3, 2);
    index.insert(id, {1.0F, 2.0F});
    const auto error = iqdb_test::index_error_of([&] { faiss_export(index, directory / "faiss.bin"); });
    CHECK(error.kind() == IndexErrorKind::invalid_config);
    CHECK(mentions(error, to_string(id)));
    CHECK(std::filesystem::is_empty(directory.path()));
  }
}

TEST_CASE("faiss_export: an exported index comes back with every kind and metric", "[faiss][export]") {
  const TemporaryDirectory directory(iqdb_test::memory_directory());
  const std::filesystem::path path = directory / "faiss.bin";
  for (const FaissKind kind : kinds) {
    for (const DistanceMetric metric : metrics) {
      for (const std::size_t count : {0U, 1U, 100U}) {
        CAPTURE(name_of(kind), to_string(metric), count);
        FaissIndex index = index_of(kind, count, 4, metric);
        index.insert(std::numeric_limits<std::int64_t>::max(), {1.0F, 2.0F, 3.0F, 4.0F});
        if (kind != FaissKind::hnsw && count > 0) {
          index.erase(0);
        }
        faiss_export(index, path);
        const FaissIndex again = faiss_import(path, metric);
        CHECK(again.kind() == kind);
        CHECK(iqdb_test::contents_of(again) == iqdb_test::contents_of(index));
      }
    }
  }
}

TEST_CASE("faiss_import: what faiss saved finds the same and goes on as a durable index", "[faiss][import]") {
  const TemporaryDirectory directory(iqdb_test::memory_directory());
  const std::filesystem::path path = directory / "faiss.bin";
  const auto vectors = random_vectors(300, 6, 1);
  const std::vector<float> all = joined(vectors);
  std::vector<faiss::Index::idx_t> ids;
  for (faiss::Index::idx_t number = 0; number < 300; ++number) {
    ids.push_back(1'000'000 - number);
  }
  const auto check = [&](const faiss::Index& native, FaissKind kind, DistanceMetric metric, const std::string& name) {
    INFO(name);
    faiss::write_index(&native, path.c_str());
    const iqdb::PersistConfig config{.path = directory / (name + ".iqdb"), .wal_enabled = true};
    {
      auto database = iqdb::PersistedIndex<FaissIndex>::open_with(faiss_import(path, metric), config);
      CHECK(database.index().kind() == kind);
      for (const auto& query : random_vectors(50, 6, 3)) {
        const std::vector<Hit> hits = database.index().search(query);
        const auto labels = native_search(native, query, 10);
        REQUIRE(hits.size() == labels.size());
        for (std::size_t at = 0; at < hits.size(); ++at) {
          CHECK(hits[at].id == labels[at]);
        }
      }
      CHECK(iqdb_test::contents_of(FaissIndex(native, metric)) == iqdb_test::contents_of(database.index()));
      if (kind != FaissKind::hnsw) {
        database.erase(database.index().search(vectors[8], {.k = 1}).at(0).id);
      }
      database.insert(VectorId::from_bytes("new"), {50.0F, 0.0F, 0.0F, 0.0F, 0.0F, 0.0F}, {{"page", 1}});
    }
    const auto database = iqdb::PersistedIndex<FaissIndex>::load(config);
    CHECK(database.index().size() == (kind == FaissKind::hnsw ? 301 : 300));
    // All, since in a graph few links lead so far away.
    const std::vector<Hit> hits = database.index().search({49.0F, 0.0F, 0.0F, 0.0F, 0.0F, 0.0F}, {.k = 301});
    CHECK(hits.at(0).id == VectorId::from_bytes("new"));
    CHECK(hits.at(0).metadata == iqdb::Metadata{{"page", 1}});
  };

  faiss::IndexFlatL2 flat(6);
  flat.add(300, all.data());
  check(flat, FaissKind::flat, DistanceMetric::euclidean, "flat");
  faiss::IndexFlatIP product(6);
  faiss::IndexIDMap map(&product);
  map.add_with_ids(300, all.data(), ids.data());
  check(map, FaissKind::flat, DistanceMetric::dot_product, "map");
  faiss::IndexHNSWFlat graph(6, 8);
  graph.add(300, all.data());
  check(graph, FaissKind::hnsw, DistanceMetric::euclidean, "graph");
  faiss::IndexHNSWFlat product_graph(6, 8, faiss::METRIC_INNER_PRODUCT);
  faiss::IndexIDMap2 two_way_map(&product_graph);
  two_way_map.add_with_ids(300, all.data(), ids.data());
  check(two_way_map, FaissKind::hnsw, DistanceMetric::dot_product, "map of a graph");
  for (const faiss::DirectMap::Type type :
       {faiss::DirectMap::NoMap, faiss::DirectMap::Array, faiss::DirectMap::Hashtable}) {
    faiss::IndexFlatL2 quantizer(6);
    faiss::IndexIVFFlat lists(&quantizer, 6, 5);
    lists.nprobe = 3;
    lists.cp.min_points_per_centroid = 1;
    lists.train(300, all.data());
    lists.set_direct_map_type(type);
    if (type == faiss::DirectMap::Array) {
      lists.add(300, all.data());
    } else {
      lists.add_with_ids(300, all.data(), ids.data());
    }
    check(lists, FaissKind::ivf, DistanceMetric::euclidean, "lists " + std::to_string(type));
  }
  faiss::IndexFlatIP quantizer(6);
  faiss::IndexIVFFlat lists(&quantizer, 6, 60, faiss::METRIC_INNER_PRODUCT);
  lists.cp.min_points_per_centroid = 1;
  lists.nprobe = 40;
  lists.train(300, all.data());
  faiss::IndexIDMap list_map(&lists);
  list_map.add_with_ids(300, all.data(), ids.data());
  check(list_map, FaissKind::ivf, DistanceMetric::dot_product, "map of lists");
}

TEST_CASE("faiss_import: lists most of which are empty are read", "[faiss][import]") {
  const TemporaryDirectory directory(iqdb_test::memory_directory());
  const std::filesystem::path path = directory / "faiss.bin";
  const std::vector<float> all = joined(random_vectors(100, 3, 1));
  faiss::IndexFlatL2 quantizer(3);
  faiss::IndexIVFFlat lists(&quantizer, 3, 30);
  lists.cp.min_points_per_centroid = 1;
  lists.train(100, all.data());
  for (const faiss::Index::idx_t count : {0, 3}) {
    lists.reset();
    lists.add(count, all.data());
    faiss::write_index(&lists, path.c_str());
    const FaissIndex index = faiss_import(path, DistanceMetric::euclidean);
    CHECK(index.size() == static_cast<std::size_t>(count));
    CHECK(index.search({0.0F, 0.0F, 0.0F}, {.ef = 1}).size() == static_cast<std::size_t>(count));
  }
}

TEST_CASE("faiss_import: a file of another metric is refused", "[faiss][import]") {
  const TemporaryDirectory directory(iqdb_test::memory_directory());
  const std::filesystem::path path = directory / "faiss.bin";
  faiss_export(index_of(FaissKind::flat, 10, 4), path);
  const auto error =
      require_kind(PersistErrorKind::invalid_payload, [&] { return faiss_import(path, DistanceMetric::dot_product); });
  CHECK(error.path() == path);
  CHECK(mentions(error, "L2 is euclidean"));

  const faiss::IndexFlat flat(4, faiss::METRIC_L1);
  faiss::write_index(&flat, path.c_str());
  const auto unknown =
      require_kind(PersistErrorKind::invalid_payload, [&] { return faiss_import(path, DistanceMetric::euclidean); });
  INFO(unknown.what());
  CHECK(mentions(unknown, "its metric is L1; expected L2 or inner product"));
}

TEST_CASE("faiss_import: a vector that is not finite is refused by its number", "[faiss][import]") {
  const TemporaryDirectory directory(iqdb_test::memory_directory());
  const std::filesystem::path path = directory / "faiss.bin";
  const std::vector<float> vectors = joined(random_vectors(100, 2, 1));
  std::vector<faiss::Index::idx_t> numbers;
  for (faiss::Index::idx_t number = 7000; number < 7100; ++number) {
    numbers.push_back(number);
  }
  faiss::IndexFlatL2 quantizer(2);
  faiss::IndexIVFFlat lists(&quantizer, 2, 2);
  lists.train(100, vectors.data());
  lists.add_with_ids(100, vectors.data(), numbers.data());
  // Changed in its list: faiss would leave out a vector that no list is the nearest of.
  auto& held = dynamic_cast<faiss::ArrayInvertedLists&>(*lists.invlists);
  const auto list = held.ids[0].empty() ? std::size_t{1} : std::size_t{0};
  const float infinity = std::numeric_limits<float>::infinity();
  std::memcpy(held.codes[list].data(), &infinity, sizeof infinity);
  const auto number = held.ids[list].front();
  faiss::write_index(&lists, path.c_str());
  const auto error =
      require_kind(PersistErrorKind::invalid_payload, [&] { return faiss_import(path, DistanceMetric::euclidean); });
  INFO(error.what());
  CHECK(
      mentions(error, "the vector with the number " + std::to_string(number) + " has a component that is not finite"));
}

TEST_CASE("faiss_import: vectors without a length of 1 are refused for the cosine", "[faiss][import]") {
  const TemporaryDirectory directory(iqdb_test::memory_directory());
  const std::filesystem::path path = directory / "faiss.bin";
  faiss_export(index_of(FaissKind::ivf, 10, 4, DistanceMetric::dot_product), path);
  const auto error =
      require_kind(PersistErrorKind::invalid_payload, [&] { return faiss_import(path, DistanceMetric::cosine); });
  CHECK(mentions(error, "length of 1"));
  CHECK(faiss_import(path, DistanceMetric::dot_product).size() == 10);
}

TEST_CASE("faiss_import: numbers that stand twice or are negative are refused", "[faiss][import]") {
  const TemporaryDirectory directory(iqdb_test::memory_directory());
  const std::filesystem::path path = directory / "faiss.bin";
  const std::array<float, 4> vectors = {1.0F, 2.0F, 3.0F, 4.0F};
  for (const auto& [ids, words] : {std::pair(std::array<faiss::Index::idx_t, 2>{7, 7}, "two vectors"),
                                   std::pair(std::array<faiss::Index::idx_t, 2>{7, -7}, "not negative")}) {
    faiss::IndexFlatL2 flat(2);
    faiss::IndexIDMap map(&flat);
    map.add_with_ids(2, vectors.data(), ids.data());
    faiss::write_index(&map, path.c_str());
    CHECK(mentions(
        require_kind(PersistErrorKind::invalid_payload, [&] { return faiss_import(path, DistanceMetric::euclidean); }),
        words));
    faiss::IndexFlatL2 quantizer(2);
    faiss::IndexIVFFlat lists(&quantizer, 2, 1);
    lists.cp.min_points_per_centroid = 1;
    lists.train(2, vectors.data());
    lists.add_with_ids(2, vectors.data(), ids.data());
    faiss::write_index(&lists, path.c_str());
    CHECK(mentions(
        require_kind(PersistErrorKind::invalid_payload, [&] { return faiss_import(path, DistanceMetric::euclidean); }),
        words));
  }
}

TEST_CASE("faiss_import: a file that is not there is io", "[faiss][import]") {
  const TemporaryDirectory directory(iqdb_test::memory_directory());
  require_kind(PersistErrorKind::io, [&] { return faiss_import(directory / "none", DistanceMetric::cosine); });
}

TEST_CASE("FaissIndex: what earlier versions logged is replayed, though insert refuses it now", "[faiss][wal]") {
  for (const FaissKind kind : kinds) {
    iqdb_test::require_earlier_logs_replayed([kind] { return empty_index(kind, 2); }, true, kind != FaissKind::hnsw);
  }
}
