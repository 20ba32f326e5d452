// UsearchIndex: what compact() makes of an index.
#include <string>

#include "iqdb/index/usearch.hpp"
#include "iqdb/types.hpp"
#include "support/adapters.hpp"
#include "support/catch.hpp"
#include "support/compaction.hpp"

namespace {

iqdb::UsearchIndex compactable_usearch(iqdb::UsearchScalar scalar = iqdb::UsearchScalar::f32) {
  return iqdb::UsearchIndex(6, iqdb::DistanceMetric::cosine,
                            {.connectivity = 4, .connectivity_base = 8, .expansion_add = 20, .scalar = scalar});
}

}  // namespace

TEST_CASE("UsearchIndex: compact keeps the content and leaves no erased nodes", "[usearch][compact]") {
  iqdb_test::require_compact_keeps_content([] { return compactable_usearch(); });
}

TEST_CASE("UsearchIndex: compact keeps vectors in other scalars as they are", "[usearch][compact]") {
  for (const auto scalar :
       {iqdb::UsearchScalar::f16, iqdb::UsearchScalar::i8, iqdb::UsearchScalar::bf16, iqdb::UsearchScalar::f64}) {
    iqdb::UsearchIndex index = compactable_usearch(scalar);
    iqdb_test::wear_out(index);
    const std::string before = iqdb_test::contents_of(index);
    index.compact();
    CHECK(iqdb_test::contents_of(index) == before);
  }
}

TEST_CASE("UsearchIndex: compact makes the graph that insertions make", "[usearch][compact]") {
  const auto make = [] {
    return iqdb::UsearchIndex(6, iqdb::DistanceMetric::euclidean, {.connectivity = 4, .connectivity_base = 8});
  };
  iqdb::UsearchIndex index = make();
  iqdb_test::wear_out(index);
  const iqdb::UsearchIndex expected = iqdb_test::inserted_anew(index, make());
  REQUIRE(iqdb_test::payload_of(index) != iqdb_test::payload_of(expected));
  index.compact();
  CHECK(iqdb_test::payload_of(index) == iqdb_test::payload_of(expected));
}

TEST_CASE("UsearchIndex: wear counts erased nodes and those that were taken again", "[usearch][compact]") {
  iqdb_test::require_wear_counted(compactable_usearch());
}

TEST_CASE("UsearchIndex: an index without vectors may be compacted", "[usearch][compact]") {
  iqdb_test::require_nothing_is_compacted([] { return compactable_usearch(); });
}

TEST_CASE("UsearchIndex: the log goes on behind compact", "[usearch][compact][wal]") {
  iqdb_test::require_log_goes_on_behind_compact(compactable_usearch());
}
