// FaissIndex of codes: what it gives back, finds, and keeps through a save, a replay and files of faiss'.
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIVF.h>
#include <faiss/IndexIVFPQ.h>
#include <faiss/IndexPQ.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/index_io.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "iqdb/index/faiss.hpp"
#include "iqdb/index/support/direction.hpp"
#include "iqdb/index/support/distance.hpp"
#include "iqdb/persist.hpp"
#include "iqdb/persist/salvage/payload_rows.hpp"
#include "iqdb/persist/testing/conformance.hpp"
#include "support/adapters.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"
#include "support/faiss_codes.hpp"
#include "support/index_model.hpp"
#include "support/insert_many.hpp"
#include "support/lent_threads.hpp"
#include "support/operator_new.hpp"
#include "support/sample_index.hpp"
#include "support/sanitized.hpp"
#include "support/temporary_directory.hpp"

namespace {

using iqdb::FaissCode;
using iqdb::FaissConfig;
using iqdb_test::coded_index;
using iqdb_test::coded_kinds;
using iqdb_test::coded_training;
using iqdb_test::CodedKind;

constexpr std::size_t coded_dim = 8;
constexpr auto by_length = iqdb::DistanceMetric::euclidean;

// An index of vectors with the numbers from 0 on, of which every seventh is erased.
iqdb::FaissIndex filled_coded(const CodedKind& kind, std::size_t count, iqdb::DistanceMetric metric = by_length) {
  iqdb::FaissIndex index = coded_index(kind, coded_dim, metric);
  iqdb_test::insert_all(index, iqdb_test::random_vectors(count, coded_dim, 1));
  for (std::uint64_t number = 0; number < count; number += 7) {
    index.erase(number);
  }
  return index;
}

iqdb::FaissIndex reloaded(const iqdb::FaissIndex& index) {
  return iqdb_test::loaded<iqdb::FaissIndex>(iqdb_test::payload_of(index));
}

std::unique_ptr<faiss::Index> read_by_faiss(const std::filesystem::path& path) {
  return std::unique_ptr<faiss::Index>(faiss::read_index(path.c_str()));
}

// Requires that faiss finds in its own index what an adapter finds: as far away, because of vectors with the same code it
// may find any.
void require_found_by_faiss(const iqdb::FaissIndex& index, const faiss::Index& native) {
  REQUIRE(static_cast<std::size_t>(native.ntotal) == index.size());
  for (const std::vector<float>& query : iqdb_test::random_vectors(30, index.dim(), 3)) {
    const std::vector<iqdb::Hit> hits = index.search(query, {.k = 10});
    const auto given = iqdb::index_support::direction_for(index.metric(), query);
    std::vector<float> distances(10);
    std::vector<faiss::Index::idx_t> labels(10);
    native.search(1, given.data(), 10, distances.data(), labels.data());
    REQUIRE(hits.size() == 10);
    for (std::size_t at = 0; at < hits.size(); ++at) {
      const float far = index.metric() == iqdb::DistanceMetric::euclidean ? std::sqrt(std::max(distances[at], 0.0F))
                        : index.metric() == iqdb::DistanceMetric::cosine  ? 1.0F - distances[at]
                                                                          : -distances[at];
      CHECK(hits[at].distance == Approx(far).margin(1e-3));
    }
  }
}

std::vector<float> distances_of(const std::vector<iqdb::Hit>& hits) {
  std::vector<float> distances;
  for (const iqdb::Hit& hit : hits) {
    distances.push_back(hit.distance);
  }
  return distances;
}

void require_codes_as_a_map(const CodedKind& kind, iqdb::DistanceMetric metric, std::size_t steps, std::uint64_t seed) {
  CAPTURE(kind.name, to_string(metric));
  // The nodes of a graph may be out of reach.
  const bool is_exact = kind.config.quantizer_links == 0;
  // Every other life has identifiers that a file of faiss' can have.
  iqdb_test::require_as_a_map(
      [&] { return coded_index(kind, coded_dim, metric); }, steps, seed, {.is_exact = is_exact}, 90.0,
      seed % 4 < 2 ? iqdb_test::through_faiss_file(metric) : iqdb_test::ThroughOwnFile<iqdb::FaissIndex>());
}

}  // namespace

TEST_CASE("FaissIndex of codes: keeps what PersistedIndex relies on", "[faiss][codes][conformance]") {
  // The kit takes long, and one code of each quantizer is enough for it.
  for (const CodedKind& kind :
       {coded_kinds[0], coded_kinds[2], coded_kinds[4], coded_kinds[6], coded_kinds[8], coded_kinds[10]}) {
    INFO(kind.name);
    const iqdb::FaissIndex trained = coded_index(kind, 4);
    const iqdb::testing::ConformanceReport report = iqdb::testing::check_persistable<iqdb::FaissIndex>(
        {.make = [&trained] { return reloaded(trained); }}, {.steps = 30, .lives = 1});
    CHECK(report.metadata_seen);
  }
}

TEST_CASE("FaissIndex of codes: random mutations and searches end as in a map of the decoded vectors",
          "[faiss][codes][search]") {
  const std::size_t steps = iqdb_test::sanitized ? 150 : 500;
  std::uint64_t seed = 1;
  for (const CodedKind& kind : coded_kinds) {
    require_codes_as_a_map(kind, by_length, steps, ++seed);
    require_codes_as_a_map(kind, iqdb::DistanceMetric::dot_product, steps, ++seed);
  }
}

TEST_CASE("FaissIndex of codes: long random lives end as in a map of the decoded vectors", "[.][long]") {
  for (const CodedKind& kind : coded_kinds) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
      require_codes_as_a_map(kind, seed % 2 == 0 ? by_length : iqdb::DistanceMetric::dot_product, 5000, seed);
    }
  }
}

TEST_CASE("FaissIndex of codes: says whether it keeps vectors, and gives back what the code stands for",
          "[faiss][codes]") {
  const iqdb_test::TemporaryDirectory directory(iqdb_test::memory_directory());
  for (const CodedKind& kind : coded_kinds) {
    INFO(kind.name);
    const iqdb::FaissIndex index = filled_coded(kind, 60);
    const bool is_transformed = kind.config.transform != iqdb::FaissTransform::none;
    const bool keeps = kind.config.code == FaissCode::floats && !is_transformed;
    CHECK(index.keeps_vectors() == keeps);
    CHECK(index.kind() == (kind.config.lists == 0 ? iqdb::FaissKind::flat : iqdb::FaissKind::ivf));
    faiss_export(index, directory / "codes.bin");
    // What faiss itself decodes.
    const auto native = read_by_faiss(directory / "codes.bin");
    faiss::Index* inside = native.get();
    if (const auto* const transformed = dynamic_cast<const faiss::IndexPreTransform*>(inside)) {
      inside = transformed->index;
    }
    if (auto* const lists = dynamic_cast<faiss::IndexIVF*>(inside)) {
      lists->set_direct_map_type(faiss::DirectMap::Hashtable);
    }
    const auto inserted = iqdb_test::random_vectors(60, coded_dim, 1);
    std::size_t exact = 0;
    for (const iqdb::VectorId& id : index.ids()) {
      std::vector<float> expected(coded_dim);
      const std::vector<float> found = index.get(id).vector;
      if (kind.config.lists > 0) {
        native->reconstruct(static_cast<faiss::Index::idx_t>(id.integer()), expected.data());
        CHECK(iqdb::distance(by_length, found, expected) <= (is_transformed ? 1e-5F : 0.0F));
      }
      exact += static_cast<std::size_t>(found == inserted[id.integer()]);
      CHECK(iqdb::distance(by_length, found, inserted[id.integer()]) < 2.0F);
    }
    CHECK(exact == (keeps ? index.size() : 0));
  }
}

TEST_CASE(
    "FaissIndex of codes: a hit is as far away as the decoded vector, for the cosine by the product of directions",
    "[faiss][codes][search]") {
  for (const CodedKind& kind : coded_kinds) {
    if (kind.config.code == FaissCode::floats) {
      continue;
    }
    INFO(kind.name);
    const iqdb::FaissIndex index = filled_coded(kind, 80, iqdb::DistanceMetric::cosine);
    for (const std::vector<float>& query : iqdb_test::random_vectors(5, coded_dim, 4)) {
      const auto direction = iqdb::index_support::direction_for(iqdb::DistanceMetric::cosine, query);
      for (const iqdb::Hit& hit : index.search(query)) {
        const auto kept = index.get(hit.id).vector;
        CHECK(hit.distance ==
              Approx(1.0F + iqdb::distance(iqdb::DistanceMetric::dot_product, direction, kept)).margin(1e-5));
      }
    }
  }
}

TEST_CASE("FaissIndex of codes: a search that compares with all finds what one that asks faiss finds",
          "[faiss][codes][search]") {
  for (const CodedKind& kind : coded_kinds) {
    for (const auto metric : {by_length, iqdb::DistanceMetric::dot_product, iqdb::DistanceMetric::cosine}) {
      CAPTURE(kind.name, to_string(metric));
      const iqdb::FaissIndex index = filled_coded(kind, 200, metric);
      const iqdb::SearchFilter all = iqdb::SearchFilter::allow(index.ids());
      const std::vector<float> queries = coded_training(5, coded_dim);
      const auto together = index.search_many(queries, {.k = 7}, 2);
      for (std::size_t at = 0; at < 5; ++at) {
        const auto query = std::span(queries).subspan(at * coded_dim, coded_dim);
        const auto asked = distances_of(index.search(query, {.k = 7}));
        const auto compared = distances_of(index.search(query, {.k = 7, .filter = all}));
        const auto every = distances_of(index.search(query, {.k = index.size() + 1}));
        REQUIRE(asked.size() == 7);
        for (std::size_t hit = 0; hit < 7; ++hit) {
          CHECK(asked[hit] == Approx(compared[hit]).margin(1e-5));
          CHECK(asked[hit] == Approx(every[hit]).margin(1e-5));
          CHECK(asked[hit] == Approx(together[at][hit].distance).margin(1e-5));
        }
        CHECK(every.size() == index.size());
      }
    }
  }
}

TEST_CASE("FaissIndex of codes: a replay after a crash makes the same bytes", "[faiss][codes][wal]") {
  const iqdb_test::TemporaryDirectory directory(iqdb_test::memory_directory());
  for (const CodedKind& kind : coded_kinds) {
    INFO(kind.name);
    const iqdb::PersistConfig config{.path = directory / (std::string(kind.name) + ".iqdb"),
                                     .wal_enabled = true,
                                     .fsync_policy = iqdb::FsyncPolicy::never(),
                                     .checkpoint = iqdb::CheckpointPolicy::manual()};
    std::vector<std::byte> before;
    {
      auto database = iqdb::PersistedIndex<iqdb::FaissIndex>::open_with(coded_index(kind, coded_dim), config);
      iqdb_test::Random random(5);
      for (std::uint64_t number = 0; number < 120; ++number) {
        database.insert(number, random.vector(coded_dim));
      }
      iqdb::WriteBatch batch;
      for (std::uint64_t number = 200; number < 300; ++number) {
        batch.insert(number, random.vector(coded_dim));
      }
      database.apply(batch);
      for (std::uint64_t number = 0; number < 120; number += 5) {
        database.erase(number);
        database.upsert(number + 1, random.vector(coded_dim));
      }
      database.insert(400, random.vector(coded_dim));
      before = iqdb_test::payload_of(database.index());
    }  // not closed by hand: what is in the log is replayed
    const auto database = iqdb::PersistedIndex<iqdb::FaissIndex>::load(config);
    CHECK(database.recovery().replayed > 200);
    CHECK((iqdb_test::payload_of(database.index()) == before));
    CHECK((iqdb_test::payload_of(reloaded(database.index())) == before));
  }
}

TEST_CASE("FaissIndex of codes: rows inserted in one call leave the bytes that insertions one by one leave",
          "[faiss][codes][many]") {
  // A dimension for which faiss encodes many vectors by a product of matrices.
  constexpr std::size_t many_components = 32;
  for (const CodedKind& kind : coded_kinds) {
    INFO(kind.name);
    const iqdb_test::SampleRows samples(0, 100, many_components);
    iqdb::FaissIndex expected = coded_index(kind, many_components);
    iqdb_test::insert_one_by_one(expected, samples);
    iqdb::FaissIndex index = coded_index(kind, many_components);
    iqdb_test::Threads threads(3);
    index.insert_many(samples.rows(), threads);
    CHECK((iqdb_test::payload_of(index) == iqdb_test::payload_of(expected)));
  }
}

TEST_CASE("FaissIndex of codes: rows that are refused change nothing", "[faiss][codes][many]") {
  for (const CodedKind& kind : coded_kinds) {
    INFO(kind.name);
    iqdb_test::require_refusals_change_nothing(coded_index(kind, coded_dim));
  }
}

TEST_CASE("FaissIndex of codes: an insertion or a search that finds no memory throws and may be repeated",
          "[faiss][codes]") {
  const std::vector<float> vector(coded_dim, 0.25F);
  for (const CodedKind& kind : coded_kinds) {
    INFO(kind.name);
    iqdb::FaissIndex index = filled_coded(kind, 16);
    std::vector<std::byte> before = iqdb_test::payload_of(index);
    const auto repeated = [&](const auto& action) {
      for (std::uint64_t allocation = 1;; ++allocation) {
        try {
          iqdb_test::refusing_allocation(allocation, action);
          return allocation;
        } catch (const std::bad_alloc&) {
          REQUIRE(iqdb_test::payload_of(index) == before);
        }
      }
    };
    CHECK(repeated([&] { static_cast<void>(index.search(vector, {.k = 5})); }) > 3);
    CHECK(repeated([&] { static_cast<void>(index.get(1)); }) > 1);
    const iqdb_test::SampleRows rows(100, 9, coded_dim);
    iqdb_test::Threads one(1);
    iqdb::FaissIndex other = reloaded(index);
    CHECK(repeated([&] { index.insert_many(rows.rows(), one); }) > 3);
    iqdb_test::insert_one_by_one(other, rows);
    CHECK(iqdb_test::contents_of(index) == iqdb_test::contents_of(other));
    before = iqdb_test::payload_of(index);
    CHECK(repeated([&] { index.insert(1000, std::span<const float>(vector)); }) > 1);
    CHECK(index.contains(1000));
  }
}

TEST_CASE("FaissIndex of codes: a search leaves the statistics of faiss alone, which have no lock",
          "[faiss][codes][search]") {
  const std::vector<float> query(coded_dim, 0.1F);
  std::vector<iqdb::FaissIndex> indexes;
  for (const CodedKind& kind : coded_kinds) {
    indexes.push_back(filled_coded(kind, 50));
  }
  faiss::indexIVF_stats.reset();
  faiss::hnsw_stats.reset();
  faiss::indexPQ_stats.reset();
  for (iqdb::FaissIndex& index : indexes) {
    CHECK(index.search(query).size() == 10);
    index.insert(1000, std::span<const float>(query));
  }
  CHECK(faiss::indexIVF_stats.nq == 0);
  CHECK(faiss::hnsw_stats.n1 == 0);
  CHECK(faiss::indexPQ_stats.nq == 0);
}

TEST_CASE("FaissIndex of codes: searches at the same time find what each finds alone", "[faiss][codes][search]") {
  for (const CodedKind& kind : coded_kinds) {
    iqdb_test::require_same_beside_each_other(filled_coded(kind, 300), 50);
  }
}

TEST_CASE("faiss_export: faiss loads an index of codes and finds the same, and an import has the same payload",
          "[faiss][codes][export]") {
  const iqdb_test::TemporaryDirectory directory(iqdb_test::memory_directory());
  const std::filesystem::path path = directory / "codes.bin";
  for (const CodedKind& kind : coded_kinds) {
    for (const auto metric : {by_length, iqdb::DistanceMetric::dot_product, iqdb::DistanceMetric::cosine}) {
      CAPTURE(kind.name, to_string(metric));
      const iqdb::FaissIndex index = filled_coded(kind, 200, metric);
      faiss_export(index, path);
      const auto native = read_by_faiss(path);
      require_found_by_faiss(index, *native);
      const iqdb::FaissIndex again = iqdb::faiss_import(path, metric);
      CHECK(again.metric() == metric);
      CHECK(iqdb_test::contents_of(again) == iqdb_test::contents_of(index));
      // faiss goes on with it.
      const std::vector<float> vector(coded_dim, 0.5F);
      const faiss::Index::idx_t id = 5000;
      native->add_with_ids(1, vector.data(), &id);
      CHECK(static_cast<std::size_t>(native->ntotal) == index.size() + 1);
    }
  }
}

TEST_CASE("faiss_import: indexes of codes that faiss has made find the same and go on as durable indexes",
          "[faiss][codes][import]") {
  const iqdb_test::TemporaryDirectory directory(iqdb_test::memory_directory());
  const std::filesystem::path path = directory / "codes.bin";
  const std::vector<std::vector<float>> added = iqdb_test::random_vectors(200, coded_dim, 8);
  for (const char* const description : {"SQ8",
                                        "SQ6",
                                        "SQ4",
                                        "SQfp16",
                                        "PQ4x4np",
                                        "PQ2x8np",
                                        "PQ2x9np",
                                        "IVF5,SQ8",
                                        "IVF5,SQfp16",
                                        "IVF5,PQ4x4np",
                                        "IVF5,PQ2x8np",
                                        "IVF5_HNSW4,Flat",
                                        "IVF5_HNSW4,SQ4",
                                        "IVF5_HNSW4,PQ2x5np",
                                        "IDMap,SQ8",
                                        "IDMap2,IVF5,PQ2x4np",
                                        "OPQ2_4,IVF5,PQ2x4np",
                                        "RR,SQ8",
                                        "PCA4,IVF5,Flat",
                                        "L2norm,IVF5_HNSW4,SQ8",
                                        "IDMap,PCAR5,SQ4"}) {
    for (const faiss::MetricType metric : {faiss::METRIC_L2, faiss::METRIC_INNER_PRODUCT}) {
      CAPTURE(description, static_cast<int>(metric));
      const bool is_l2 = metric == faiss::METRIC_L2;
      const auto own_metric = is_l2 ? by_length : iqdb::DistanceMetric::dot_product;
      const auto native = iqdb_test::native_coded(description, coded_dim, metric, 600);
      for (std::size_t at = 0; at < added.size(); ++at) {
        const auto number = static_cast<faiss::Index::idx_t>(9000 - at);
        const bool numbered = std::string(description).starts_with("I");
        if (numbered) {
          native->add_with_ids(1, added[at].data(), &number);
        } else {
          native->add(1, added[at].data());
        }
      }
      faiss::write_index(native.get(), path.c_str());
      const iqdb::FaissIndex copied(*native, own_metric);
      const iqdb::PersistConfig config{.path = directory / "codes.iqdb", .wal_enabled = true};
      std::vector<std::byte> payload;
      {
        auto database = iqdb::PersistedIndex<iqdb::FaissIndex>::open_with(iqdb::faiss_import(path, own_metric), config);
        CHECK(iqdb_test::payload_of(database.index()) == iqdb_test::payload_of(copied));
        require_found_by_faiss(database.index(), *native);
        database.erase(database.index().search(added[8], {.k = 1}).at(0).id);
        database.upsert(7, added[3], {{"page", 1}});
        payload = iqdb_test::payload_of(database.index());
      }
      {
        const auto database = iqdb::PersistedIndex<iqdb::FaissIndex>::load(config);
        CHECK(iqdb_test::payload_of(database.index()) == payload);
        CHECK(database.index().metadata(7) == iqdb::Metadata{{"page", 1}});
      }
      std::filesystem::remove(config.path);
      std::filesystem::remove(directory / "codes.iqdb.wal");
    }
  }
}

TEST_CASE("FaissIndex that transforms: measures between transformed vectors, and gives back what can be",
          "[faiss][codes][transform]") {
  const std::vector<float> training = coded_training(200, coded_dim);
  // Its first five components: distances are those of them.
  auto reduced = iqdb::FaissIndex::trained(
      coded_dim, by_length, {.transform = iqdb::FaissTransform::principal, .transformed_dim = 5}, training);
  auto normalized = iqdb::FaissIndex::trained(coded_dim, by_length, {.transform = iqdb::FaissTransform::normalize});
  const std::vector<float> vector(training.begin(), training.begin() + coded_dim);
  for (iqdb::FaissIndex* const index : {&reduced, &normalized}) {
    CHECK(index->dim() == coded_dim);
    CHECK_FALSE(index->keeps_vectors());
    iqdb_test::insert_all(*index, iqdb_test::random_vectors(50, coded_dim, 1));
    index->insert(100, std::span<const float>(vector));
    CHECK(index->search(vector, {.k = 1}).at(0).id == 100);
    CHECK(index->search(vector, {.k = 1}).at(0).distance == 0.0F);
    // What is given back is the same to the index.
    const std::vector<float> held = index->get(100).vector;
    REQUIRE(held.size() == coded_dim);
    CHECK(index->search(held, {.k = 1}).at(0).distance < 1e-5F);
    CHECK(reloaded(*index).get(100).vector == held);
    CHECK(static_cast<std::size_t>(index->native().ntotal) == index->size());
  }
  std::vector<float> longer = vector;
  for (float& component : longer) {
    component *= 3.0F;
  }
  CHECK(normalized.search(longer, {.k = 1}).at(0).distance < 1e-6F);
}

TEST_CASE("FaissIndex that transforms: what would lose vectors without a word is refused",
          "[faiss][codes][transform]") {
  const std::vector<float> training = coded_training(200, coded_dim);
  const auto refused = [&](iqdb::DistanceMetric metric, const FaissConfig& config) {
    return iqdb_test::index_error_of([&] { return iqdb::FaissIndex::trained(coded_dim, metric, config, training); })
        .kind();
  };
  using iqdb::FaissTransform;
  constexpr auto invalid = iqdb::IndexErrorKind::invalid_config;
  CHECK(refused(iqdb::DistanceMetric::cosine, {.transform = FaissTransform::principal}) == invalid);
  CHECK(refused(iqdb::DistanceMetric::dot_product, {.transform = FaissTransform::principal}) == invalid);
  CHECK(refused(by_length, {.transform = FaissTransform::rotation, .transformed_dim = 9}) == invalid);
  CHECK(refused(by_length, {.transform = FaissTransform::normalize, .transformed_dim = 4}) == invalid);
  CHECK(refused(by_length, {.code = FaissCode::scalar8_direct, .transform = FaissTransform::rotation}) == invalid);
  CHECK(refused(by_length, {.parts = 3, .transform = FaissTransform::product}) == invalid);
  CHECK(refused(by_length, {.transform = static_cast<FaissTransform>(9)}) == invalid);
  // Whitening changes lengths.
  const auto whitened = iqdb_test::native_coded("PCAW4,Flat", coded_dim, faiss::METRIC_L2, 200);
  CHECK(iqdb_test::mentions(iqdb_test::index_error_of([&] { return iqdb::FaissIndex(*whitened, by_length); }),
                            "does not keep the lengths"));
  const auto centred = iqdb_test::native_coded("ITQ4,Flat", coded_dim, faiss::METRIC_L2, 200);
  CHECK(iqdb_test::mentions(iqdb_test::index_error_of([&] { return iqdb::FaissIndex(*centred, by_length); }), "Viqt"));
}

TEST_CASE("salvage: of codes and transformed vectors no rows are made up, and rows of lists around a graph are found",
          "[faiss][codes][salvage]") {
  for (const CodedKind& kind : coded_kinds) {
    INFO(kind.name);
    const iqdb::FaissIndex index = filled_coded(kind, 30);
    const auto found = iqdb::salvage::salvage_rows(iqdb_test::payload_of(index), "faiss");
    CHECK(found.stated == index.size());
    CHECK(found.rows.size() == (index.keeps_vectors() ? index.size() : 0));
    CHECK(found.lost.size() == index.size() - found.rows.size());
    for (const auto& row : found.rows) {
      CHECK(row.vector == index.get(row.id).vector);
    }
  }
}

TEST_CASE("salvage: the rows of indexes of vectors are found, and none behind a tag that is not known",
          "[faiss][salvage]") {
  const std::vector<float> training = coded_training(40, coded_dim);
  for (const iqdb::FaissKind kind : {iqdb::FaissKind::flat, iqdb::FaissKind::hnsw, iqdb::FaissKind::ivf}) {
    iqdb::FaissIndex index = kind == iqdb::FaissKind::flat   ? iqdb::FaissIndex::flat(coded_dim, by_length)
                             : kind == iqdb::FaissKind::hnsw ? iqdb::FaissIndex::hnsw(coded_dim, by_length)
                                                             : iqdb::FaissIndex::ivf(coded_dim, by_length, 3, training);
    iqdb_test::insert_all(index, iqdb_test::random_vectors(20, coded_dim, 1));
    std::vector<std::byte> payload = iqdb_test::payload_of(index);
    const auto found = iqdb::salvage::salvage_rows(payload, "faiss");
    REQUIRE(found.rows.size() == 20);
    for (const auto& row : found.rows) {
      CHECK(row.vector == index.get(row.id).vector);
    }
    const std::string_view text(reinterpret_cast<const char*>(payload.data()), payload.size());
    payload[text.find(kind == iqdb::FaissKind::flat   ? "IxF2"
                      : kind == iqdb::FaissKind::hnsw ? "IHNf"
                                                      : "IwFl") +
            1] ^= std::byte{1};
    const auto unknown = iqdb::salvage::salvage_rows(payload, "faiss");
    CHECK(unknown.rows.empty());
    CHECK(unknown.lost.size() == 20);
  }
}

TEST_CASE("faiss_import: codes are taken for those of directions where the caller says so", "[faiss][codes][import]") {
  const iqdb_test::TemporaryDirectory directory(iqdb_test::memory_directory());
  const CodedKind& kind = coded_kinds.front();
  faiss_export(filled_coded(kind, 20, iqdb::DistanceMetric::dot_product), directory / "codes.bin");
  const auto index = iqdb::faiss_import(directory / "codes.bin", iqdb::DistanceMetric::cosine);
  CHECK(index.metric() == iqdb::DistanceMetric::cosine);
  CHECK(index.size() == 17);
}

TEST_CASE("FaissIndex of codes: settings that faiss has no index for are refused", "[faiss][codes]") {
  const std::vector<float> training = coded_training(64, coded_dim);
  const auto refused = [&](const FaissConfig& config, std::span<const float> given) {
    return iqdb_test::index_error_of([&] {
             return iqdb::FaissIndex::trained(coded_dim, by_length, config, given);
           }).kind() == iqdb::IndexErrorKind::invalid_config;
  };
  const auto product = [](std::size_t parts, std::size_t bits) {
    return FaissConfig{.code = FaissCode::product, .parts = parts, .bits = bits};
  };
  CHECK(refused(product(3, 4), training));  // does not divide the dimension
  CHECK(refused(product(0, 4), training));
  CHECK(refused(product(16, 4), training));
  CHECK(refused(product(4, 0), training));
  CHECK(refused(product(4, 17), training));
  CHECK(refused(product(4, 7), training));  // 128 centroids of 64 vectors
  CHECK(refused({.code = FaissCode::scalar8}, {}));
  CHECK(refused({.code = FaissCode::scalar8}, std::span(training).first(coded_dim + 1)));
  CHECK(refused({.lists = 65, .code = FaissCode::half}, training));
  CHECK(refused({.lists = 4, .probes = 0}, training));
  CHECK(refused({.lists = 4, .quantizer_links = 1}, training));
  CHECK(refused({.lists = 4, .quantizer_links = 1025}, training));
  CHECK(refused({.code = static_cast<FaissCode>(99)}, training));
  iqdb_test::require_kind(iqdb::IndexErrorKind::invalid_config, [&] {
    return iqdb::FaissIndex::trained(coded_dim, iqdb::DistanceMetric::cosine, {.code = FaissCode::scalar8_direct});
  });
  iqdb_test::require_kind(iqdb::IndexErrorKind::invalid_vector, [&] {
    const std::vector<float> wrong(coded_dim, std::numeric_limits<float>::infinity());
    return iqdb::FaissIndex::trained(coded_dim, by_length, {.code = FaissCode::scalar8}, wrong);
  });
  iqdb_test::require_kind(iqdb::IndexErrorKind::invalid_vector, [&] {
    const std::vector<float> huge(coded_dim, 3e38F);
    return iqdb::FaissIndex::trained(coded_dim, by_length, {.lists = 1, .code = FaissCode::scalar8}, huge);
  });
}

TEST_CASE("FaissIndex of codes: components that a code has no number for are refused before they are logged",
          "[faiss][codes]") {
  for (const std::size_t lists : {0U, 2U}) {
    CAPTURE(lists);
    auto half = iqdb::FaissIndex::trained(2, by_length, {.lists = lists, .code = FaissCode::half, .by_residual = false},
                                          coded_training(4, 2));
    half.insert(1, {65504.0F, -65504.0F});
    CHECK(half.get(1).vector == std::vector<float>{65504.0F, -65504.0F});
    const auto error = iqdb_test::index_error_of([&] { half.check_insert(2, std::vector<float>{0.0F, 65505.0F}, {}); });
    CHECK(error.kind() == iqdb::IndexErrorKind::invalid_vector);
    CHECK(iqdb_test::mentions(error, "65504"));
    CHECK(half.search({1e9F, 1.0F}).size() == 1);  // a query may be far away

    auto bytes = iqdb::FaissIndex::trained(2, by_length, {.lists = lists, .code = FaissCode::scalar8_direct},
                                           coded_training(4, 2));
    bytes.insert(1, {255.0F, 7.9F});
    CHECK(bytes.get(1).vector == std::vector<float>{255.0F, 7.0F});
    for (const float wrong : {-1.0F, 256.0F}) {
      iqdb_test::require_kind(iqdb::IndexErrorKind::invalid_vector, [&] { bytes.insert(2, {0.0F, wrong}); });
    }
    CHECK(bytes.size() == 1);
  }
}

TEST_CASE("FaissIndex of codes: a vector too far from its centroid for 16 bits is refused and changes nothing",
          "[faiss][codes]") {
  const std::vector<float> training{65000.0F, 65000.0F, 65001.0F, 65001.0F};
  auto index = iqdb::FaissIndex::trained(2, by_length, {.lists = 1, .code = FaissCode::half}, training);
  index.insert(1, {65000.0F, 65000.0F});
  const auto before = iqdb_test::payload_of(index);
  const std::vector<float> far(2, -65000.0F);
  iqdb_test::require_kind(iqdb::IndexErrorKind::invalid_vector, [&] { index.insert(2, std::span<const float>(far)); });
  iqdb_test::require_kind(iqdb::IndexErrorKind::invalid_vector, [&] { index.upsert(1, std::span<const float>(far)); });
  CHECK(iqdb_test::payload_of(index) == before);

  // A rotation makes a component larger than it was.
  auto rotated = iqdb::FaissIndex::trained(
      2, by_length, {.code = FaissCode::half, .transform = iqdb::FaissTransform::rotation}, training);
  rotated.insert(1, {3.0F, 4.0F});
  const auto rotated_before = iqdb_test::payload_of(rotated);
  const std::vector<float> large(2, 65504.0F);
  iqdb_test::require_kind(iqdb::IndexErrorKind::invalid_vector,
                          [&] { rotated.insert(2, std::span<const float>(large)); });
  CHECK(iqdb_test::payload_of(rotated) == rotated_before);
}

TEST_CASE(
    "FaissIndex::precompute_tables: makes tables where faiss has them, which change nothing that is found or saved",
    "[faiss][codes][search]") {
  for (const CodedKind& kind : coded_kinds) {
    INFO(kind.name);
    iqdb::FaissIndex index = filled_coded(kind, 200);
    const bool has_tables = kind.config.lists > 0 && kind.config.code == FaissCode::product && kind.config.by_residual;
    const auto before = iqdb_test::payload_of(index);
    const auto query = coded_training(1, coded_dim);
    const auto found = index.search(query);
    const std::size_t bytes = index.precompute_tables();
    CHECK(bytes == (has_tables ? kind.config.lists * kind.config.parts * 16 * sizeof(float) : 0));
    CHECK(iqdb_test::ids_of(index.search(query)) == iqdb_test::ids_of(found));
    CHECK(iqdb_test::payload_of(index) == before);
    index.insert(1000, std::span<const float>(query));
    index.erase(1);
    CHECK(reloaded(index).size() == index.size());
  }
  iqdb::FaissIndex product = filled_coded(coded_kinds[6], 20, iqdb::DistanceMetric::dot_product);
  CHECK(product.precompute_tables() == 0);  // which help with L2 only
}

TEST_CASE("FaissIndex of codes: settings come back with the payload", "[faiss][codes][payload]") {
  const auto index = reloaded(coded_index(coded_kinds[6], coded_dim));
  const auto& native = dynamic_cast<const faiss::IndexIVFPQ&>(index.native());
  CHECK(native.nlist == 4);
  CHECK(native.nprobe == 4);
  CHECK(native.pq.M == 2);
  CHECK(native.pq.nbits == 4);
  CHECK(native.by_residual);
  CHECK(native.use_precomputed_table == 0);
  const auto graph = reloaded(coded_index(coded_kinds[8], coded_dim));
  const auto& lists = dynamic_cast<const faiss::IndexIVF&>(graph.native());
  CHECK(dynamic_cast<const faiss::IndexHNSWFlat&>(*lists.quantizer).hnsw.nb_neighbors(0) == 8);
}

TEST_CASE("FaissIndex of codes: a checkpoint beside mutations is written by a forked process", "[faiss][codes][fork]") {
  iqdb_test::require_checkpoint_by_fork([] {
    return iqdb::FaissIndex::trained(2, by_length, {.lists = 2, .quantizer_links = 2, .code = FaissCode::half},
                                     std::vector<float>{0.0F, 1.0F, 30.0F, 1.0F, 60.0F, 1.0F, 90.0F, 1.0F});
  });
}
