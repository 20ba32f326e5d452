// FaissIndex: insertion of many vectors in one call.
#include <cstddef>
#include <span>
#include <vector>

#include "iqdb/index/faiss.hpp"
#include "iqdb/types.hpp"
#include "support/adapters.hpp"
#include "support/catch.hpp"
#include "support/insert_many.hpp"
#include "support/lent_threads.hpp"

namespace {

constexpr std::size_t many_dim = 5;

iqdb::FaissIndex empty_of(iqdb::FaissKind kind, iqdb::DistanceMetric metric = iqdb::DistanceMetric::euclidean) {
  switch (kind) {
    case iqdb::FaissKind::hnsw:
      return iqdb::FaissIndex::hnsw(many_dim, metric, 4, 20, 20);
    case iqdb::FaissKind::ivf:
      return iqdb::FaissIndex::ivf(many_dim, metric, 8, iqdb_test::SampleRows(900, 80, many_dim).vectors);
    default:
      return iqdb::FaissIndex::flat(many_dim, metric);
  }
}

constexpr iqdb::FaissKind every_kind[] = {iqdb::FaissKind::flat, iqdb::FaissKind::hnsw, iqdb::FaissKind::ivf};

}  // namespace

TEST_CASE("FaissIndex: rows inserted in one call make the index that insertions one by one make", "[faiss][many]") {
  for (const iqdb::FaissKind kind : every_kind) {
    for (const auto metric : {iqdb::DistanceMetric::euclidean, iqdb::DistanceMetric::cosine}) {
      CAPTURE(static_cast<int>(kind), to_string(metric));
      iqdb_test::require_as_one_by_one([&] { return empty_of(kind, metric); });
    }
  }
}

TEST_CASE("FaissIndex: rows inserted in one call leave the bytes that insertions one by one leave", "[faiss][many]") {
  const iqdb_test::SampleRows samples(0, 500, many_dim);
  for (const iqdb::FaissKind kind : every_kind) {
    CAPTURE(static_cast<int>(kind));
    iqdb::FaissIndex expected = empty_of(kind);
    iqdb_test::insert_one_by_one(expected, samples);
    iqdb::FaissIndex index = empty_of(kind);
    iqdb_test::Threads threads(3);
    index.insert_many(samples.rows(), threads);
    CHECK(iqdb_test::payload_of(index) == iqdb_test::payload_of(expected));
  }
}

TEST_CASE("FaissIndex: rows of which one is refused change nothing", "[faiss][many]") {
  for (const iqdb::FaissKind kind : every_kind) {
    CAPTURE(static_cast<int>(kind));
    iqdb_test::require_refusals_change_nothing(empty_of(kind));
  }
}

TEST_CASE("FaissIndex: rows take the places of erased vectors", "[faiss][many]") {
  for (const iqdb::FaissKind kind : {iqdb::FaissKind::flat, iqdb::FaissKind::ivf}) {
    CAPTURE(static_cast<int>(kind));
    iqdb_test::require_places_are_taken([&] { return empty_of(kind); }, 30, 30);
  }
}

TEST_CASE("FaissIndex: rows for which memory is short change nothing", "[faiss][many]") {
  for (const iqdb::FaissKind kind : every_kind) {
    for (const std::size_t count : {0U, 20U}) {
      CAPTURE(static_cast<int>(kind), count);
      iqdb_test::require_nothing_without_memory(
          [&] {
            iqdb::FaissIndex index = empty_of(kind);
            iqdb_test::insert_one_by_one(index, iqdb_test::SampleRows(0, count, many_dim));
            return index;
          },
          9);
    }
  }
}
