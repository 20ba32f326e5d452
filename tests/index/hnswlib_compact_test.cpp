// HnswIndex: what compact() makes of an index.
#include <cstddef>
#include <cstdint>
#include <new>
#include <string>

#include "iqdb/index/hnswlib.hpp"
#include "iqdb/types.hpp"
#include "support/adapters.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/compaction.hpp"
#include "support/hnsw_graph_bytes.hpp"

namespace {

iqdb::HnswIndex compactable_hnsw() {
  return iqdb::HnswIndex(6, iqdb::DistanceMetric::euclidean, {.links = 4, .ef_construction = 20});
}

}  // namespace

TEST_CASE("HnswIndex: compact keeps the content and leaves no erased nodes", "[hnswlib][compact]") {
  iqdb_test::require_compact_keeps_content(compactable_hnsw);
}

TEST_CASE("HnswIndex: compact makes the graph that insertions make", "[hnswlib][compact]") {
  iqdb::HnswIndex index = compactable_hnsw();
  iqdb_test::wear_out(index);
  const iqdb::HnswIndex expected = iqdb_test::inserted_anew(index, compactable_hnsw());
  REQUIRE(iqdb_test::graph_bytes_of(index) != iqdb_test::graph_bytes_of(expected));
  index.compact();
  CHECK(iqdb_test::graph_bytes_of(index) == iqdb_test::graph_bytes_of(expected));
}

TEST_CASE("HnswIndex: compact for which memory is short changes nothing", "[hnswlib][compact]") {
  iqdb::HnswIndex worn = compactable_hnsw();
  iqdb_test::wear_out(worn);
  const auto saved = iqdb_test::payload_of(worn);
  const std::uint64_t all = iqdb_test::allocated_by([&] { worn.compact(); }).count;
  std::size_t thrown = 0;
  // The first ones make the graph, where a constructor of hnswlib's forgets what it has.
  for (std::uint64_t allocation = 50; allocation < all; allocation += 97) {
    CAPTURE(all, allocation);
    auto index = iqdb_test::loaded<iqdb::HnswIndex>(saved);
    const auto before = iqdb_test::payload_of(index);
    try {
      iqdb_test::refusing_allocation(allocation, [&] { index.compact(); });
      CHECK(index.wear().erased == 0);  // the allocation was one that can be done without
    } catch (const std::bad_alloc&) {
      ++thrown;
      REQUIRE(iqdb_test::payload_of(index) == before);
      CHECK(index.wear().erased == 100);
    }
  }
  CHECK(thrown > 20);
}

TEST_CASE("HnswIndex: wear counts erased nodes and those that were taken again", "[hnswlib][compact]") {
  iqdb_test::require_wear_counted(compactable_hnsw());
}

TEST_CASE("HnswIndex: an index without vectors may be compacted", "[hnswlib][compact]") {
  iqdb_test::require_nothing_is_compacted(compactable_hnsw);
}

TEST_CASE("HnswIndex: the log goes on behind compact", "[hnswlib][compact][wal]") {
  iqdb_test::require_log_goes_on_behind_compact(compactable_hnsw());
}
