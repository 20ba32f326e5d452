// SlotIndex: what an adapter gets from it, shown by one whose library is a list of numbers that fails when it is told to.
#include "iqdb/index/support/slot_index.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "iqdb/index.hpp"
#include "iqdb/index/support/argument_checks.hpp"
#include "iqdb/index/support/nearest.hpp"
#include "iqdb/index/support/payload.hpp"
#include "iqdb/index/support/slot_table.hpp"
#include "iqdb/insert_many.hpp"
#include "iqdb/persist/bytes/row_format.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/types.hpp"
#include "support/adapters.hpp"
#include "support/allocations.hpp"
#include "support/bytes.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"
#include "support/lent_threads.hpp"
#include "support/list_index.hpp"

namespace {

using iqdb::DistanceMetric;
using iqdb::Hit;
using iqdb::IndexErrorKind;
using iqdb::Metadata;
using iqdb::PersistErrorKind;
using iqdb::Reader;
using iqdb::SearchParams;
using iqdb::SlotTable;
using iqdb::VectorId;
using iqdb::Writer;
using iqdb::index_support::Found;
using iqdb::index_support::VectorRole;
using iqdb_test::ids_of;
using iqdb_test::require_kind;

using iqdb_test::list_index_of;
using iqdb_test::ListIndex;

static_assert(iqdb::SearchableIndex<ListIndex>);
static_assert(iqdb::Persistable<ListIndex>);
static_assert(iqdb::InsertsMany<ListIndex>);
static_assert(iqdb::ChecksInsert<ListIndex> && iqdb::ChecksErase<ListIndex> && iqdb::Upsertable<ListIndex>);

}  // namespace

TEST_CASE("SlotIndex: insert takes braced lists and search a braced query", "[adapters]") {
  ListIndex index;
  index.insert(VectorId::from_bytes("name"), {2.0F}, {{"page", 5}});
  index.insert(1, {3.0F});
  const std::vector<Hit> hits = index.search({0.0F});
  CHECK(ids_of(hits) == std::vector<VectorId>{VectorId::from_bytes("name"), 1});
  CHECK(hits.at(0).metadata == Metadata{{"page", 5}});
  CHECK(index.size() == 2);
  CHECK(index.contains(1));
  CHECK(!index.contains(2));
}

TEST_CASE("SlotIndex: a vector that is not taken costs no identifier", "[adapters]") {
  ListIndex index = list_index_of({1.0F});
  require_kind(IndexErrorKind::dimension_mismatch, [&] { index.insert(7, {1.0F, 2.0F}); });
  require_kind(IndexErrorKind::duplicate, [&] { index.insert(0, {1.0F}); });
  CHECK(iqdb_test::contents_of(index) == "0 1.000000\n");
}

TEST_CASE("SlotIndex: an insertion that the library refuses leaves nothing behind", "[adapters]") {
  ListIndex index = list_index_of({1.0F, 2.0F});
  index.erase(0);
  const std::vector<std::byte> before = iqdb_test::payload_of(index);
  for (int times = 0; times < 2; ++times) {
    index.refuses = true;
    CHECK_THROWS_AS(index.insert(7, {3.0F}), std::runtime_error);
    CHECK(!index.contains(7));
    CHECK(iqdb_test::payload_of(index) == before);
  }
  index.insert(7, {3.0F});
  CHECK(iqdb_test::contents_of(index) == "1 2.000000\n7 3.000000\n");
}

TEST_CASE("SlotIndex: hits are ordered by distance whatever order the library finds them in", "[adapters]") {
  const ListIndex index = list_index_of({5.0F, -1.0F, 3.0F, 1.0F});
  CHECK(ids_of(index.search({0.0F}, {.k = 4})) == std::vector<VectorId>{1, 3, 2, 0});
}

TEST_CASE("SlotIndex: a search for none finds none and asks the library for nothing", "[adapters]") {
  CHECK(ListIndex().search({0.0F}).empty());
  CHECK(list_index_of({1.0F}).search({0.0F}, {.k = 0}).empty());
}

TEST_CASE("SlotIndex: a search is not given more than k of what the library finds", "[adapters]") {
  ListIndex index = list_index_of({5.0F, -1.0F, 3.0F, 1.0F});
  index.finds = 4;
  CHECK(ids_of(index.search({0.0F}, {.k = 2})) == std::vector<VectorId>{1, 3});
}

TEST_CASE("SlotIndex: a search compares with all where the library finds too few", "[adapters]") {
  ListIndex index = list_index_of({5.0F, -1.0F, 3.0F, 1.0F});
  index.erase(3);
  for (const std::size_t found : {0U, 1U}) {
    index.finds = found;
    CHECK(ids_of(index.search({0.0F}, {.k = 2})) == std::vector<VectorId>{1, 2});
    CHECK(index.search({0.0F}, {.k = 100}).size() == 3);
  }
}

TEST_CASE("SlotIndex: for_each visits the vectors in the slots that are taken", "[adapters]") {
  ListIndex index = list_index_of({5.0F, -1.0F, 3.0F});
  index.erase(1);
  CHECK(iqdb_test::contents_of(index) == "0 5.000000\n2 3.000000\n");
}

TEST_CASE("SlotIndex: a payload comes back and one that is cut anywhere is invalid_payload", "[adapters]") {
  const std::vector<std::byte> payload = iqdb_test::payload_of(list_index_of({5.0F, -1.0F}));
  CHECK(iqdb_test::contents_of(iqdb_test::loaded<ListIndex>(payload)) == "0 5.000000\n1 -1.000000\n");
  for (std::size_t length = 0; length < payload.size(); ++length) {
    CAPTURE(length);
    Reader reader{std::span(payload).first(length)};
    require_kind(PersistErrorKind::invalid_payload, [&] { return ListIndex::load_from(reader); });
  }
}

TEST_CASE("SlotIndex: the checks throw what the mutations throw", "[adapters]") {
  ListIndex index = list_index_of({1.0F, 2.0F});
  index.holds = 1;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto agree = [&](IndexErrorKind kind, const VectorId& id, const std::vector<float>& vector,
                         const std::optional<Metadata>& metadata) {
    const std::vector<std::byte> before = iqdb_test::payload_of(index);
    require_kind(kind, [&] { index.check_insert(id, vector, metadata); });
    require_kind(kind, [&] { index.insert(id, std::span<const float>(vector), metadata); });
    CHECK(iqdb_test::payload_of(index) == before);
  };
  const VectorId long_id = VectorId::from_bytes(std::string(iqdb::most_id_bytes + 1, 'x'));
  agree(IndexErrorKind::dimension_mismatch, 7, {1.0F, 2.0F}, std::nullopt);
  agree(IndexErrorKind::invalid_vector, 7, {nan}, std::nullopt);
  agree(IndexErrorKind::invalid_config, 7, {1.0F}, Metadata{{"\xFF", 1}});
  agree(IndexErrorKind::resource_limit, long_id, {1.0F}, std::nullopt);
  agree(IndexErrorKind::duplicate, 0, {1.0F}, std::nullopt);
  CHECK_NOTHROW(index.check_insert(7, std::vector<float>{1.0F}, std::nullopt));
  require_kind(IndexErrorKind::invalid_vector, [&] { index.check_vector(std::vector<float>{nan}, std::nullopt); });
  CHECK_NOTHROW(index.check_vector(std::vector<float>{1.0F}, std::nullopt));
  require_kind(IndexErrorKind::not_found, [&] { index.check_erase(7); });
  require_kind(IndexErrorKind::invalid_config, [&] { index.check_erase(1); });
  require_kind(IndexErrorKind::invalid_config, [&] { index.erase(1); });
  CHECK_NOTHROW(index.check_erase(0));
  CHECK(iqdb_test::contents_of(index) == "0 1.000000\n1 2.000000\n");
}

TEST_CASE("SlotIndex: more vectors than the library has numbers for are refused", "[adapters]") {
  ListIndex index = list_index_of({1.0F, 2.0F, 3.0F, 4.0F, 5.0F, 6.0F});
  require_kind(IndexErrorKind::resource_limit, [&] { index.check_insert(7, std::vector<float>{1.0F}, std::nullopt); });
  require_kind(IndexErrorKind::resource_limit, [&] { index.insert(7, {1.0F}); });
  require_kind(IndexErrorKind::resource_limit, [&] { index.upsert(5, {1.0F}); });
  index.erase(2);
  index.insert(7, {1.0F});
  CHECK(index.size() == 6);
}

TEST_CASE("SlotIndex: rows are inserted in the lowest slots or not at all", "[adapters]") {
  ListIndex index = list_index_of({1.0F, 2.0F, 3.0F});
  index.erase(1);
  const std::vector<std::byte> before = iqdb_test::payload_of(index);
  const std::vector<VectorId> ids = {7, VectorId::from_bytes("name")};
  const std::vector<float> vectors = {4.0F, 5.0F};
  const std::vector<std::optional<Metadata>> metadata = {std::nullopt, Metadata{{"page", 5}}};
  iqdb_test::Threads threads(1);
  index.refuses = true;
  CHECK_THROWS_AS(index.insert_many({ids, vectors, metadata}, threads), std::runtime_error);
  CHECK(iqdb_test::payload_of(index) == before);
  index.insert_many({ids, vectors, metadata}, threads);
  CHECK(iqdb_test::contents_of(index) == "\"name\" 5.000000 1\n0 1.000000\n2 3.000000\n7 4.000000\n");
  CHECK(index.search({4.0F}, {.k = 4}).at(0).id == 7);
}

TEST_CASE("SlotIndex: rows of which one is refused change nothing", "[adapters]") {
  ListIndex index = list_index_of({1.0F});
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const VectorId long_id = VectorId::from_bytes(std::string(iqdb::most_id_bytes + 1, 'x'));
  const std::vector<std::byte> before = iqdb_test::payload_of(index);
  const auto refuse = [&](IndexErrorKind kind, const std::vector<VectorId>& ids, const std::vector<float>& vectors,
                          const std::vector<std::optional<Metadata>>& metadata) {
    iqdb_test::Threads threads(1);
    require_kind(kind, [&] { index.insert_many({ids, vectors, metadata}, threads); });
    CHECK(iqdb_test::payload_of(index) == before);
  };
  const std::optional<Metadata> none;
  refuse(IndexErrorKind::duplicate, {7, 0}, {1.0F, 2.0F}, {none, none});
  refuse(IndexErrorKind::duplicate, {7, 7}, {1.0F, 2.0F}, {none, none});
  refuse(IndexErrorKind::dimension_mismatch, {7, 8}, {1.0F}, {none, none});
  refuse(IndexErrorKind::dimension_mismatch, {7, 8}, {1.0F, 2.0F, 3.0F}, {none, none});
  refuse(IndexErrorKind::invalid_vector, {7, 8}, {1.0F, nan}, {none, none});
  refuse(IndexErrorKind::invalid_config, {7, 8}, {1.0F, 2.0F}, {none});
  refuse(IndexErrorKind::invalid_config, {7, 8}, {1.0F, 2.0F}, {none, Metadata{{"\xFF", 1}}});
  refuse(IndexErrorKind::resource_limit, {7, long_id}, {1.0F, 2.0F}, {none, none});
}

TEST_CASE("SlotIndex: rows beyond the vectors that the library has numbers for are refused", "[adapters]") {
  ListIndex index = list_index_of({1.0F, 2.0F, 3.0F, 4.0F, 5.0F});
  index.erase(1);
  const std::vector<VectorId> ids = {7, 8, 9};
  const std::vector<float> vectors = {1.0F, 1.0F, 1.0F};
  const std::vector<std::optional<Metadata>> metadata(3);
  iqdb_test::Threads threads(1);
  require_kind(IndexErrorKind::resource_limit, [&] { index.insert_many({ids, vectors, metadata}, threads); });
  CHECK(index.size() == 4);
  index.insert_many({std::span(ids).first(2), std::span(vectors).first(2), std::span(metadata).first(2)}, threads);
  CHECK(index.size() == 6);
}

TEST_CASE("SlotIndex: the checks allocate nothing", "[adapters]") {
  const ListIndex index = list_index_of({1.0F, 2.0F});
  const std::vector<float> vector = {3.0F};
  const std::optional<Metadata> metadata = Metadata{{"k", "a text that is too long to lie in the string itself"}};
  const VectorId id = VectorId::from_bytes("an identifier that is too long to lie in the string itself");
  const auto allocated = iqdb_test::allocated_by([&] {
    index.check_insert(id, vector, metadata);
    index.check_upsert(1, vector, metadata);
    index.check_vector(vector, metadata);
    index.check_erase(1);
  });
  CHECK(allocated.count == 0);
}

TEST_CASE("SlotIndex: upsert adds a vector or replaces one with its metadata", "[adapters]") {
  ListIndex index = list_index_of({1.0F, 2.0F});
  index.upsert(7, {3.0F}, {{"page", 5}});
  index.upsert(0, {4.0F}, {{"page", 6}});
  index.upsert(7, {5.0F});
  CHECK(iqdb_test::contents_of(index) == "0 4.000000 1\n1 2.000000\n7 5.000000\n");
  CHECK(index.size() == 3);
  index.erase(7);
  index.erase(0);
  CHECK(iqdb_test::contents_of(index) == "1 2.000000\n");
  CHECK(iqdb_test::contents_of(iqdb_test::loaded<ListIndex>(iqdb_test::payload_of(index))) == "1 2.000000\n");
}

TEST_CASE("SlotIndex: an upsert that is refused leaves the vector as it was", "[adapters]") {
  ListIndex index = list_index_of({1.0F, 2.0F});
  index.erase(0);
  index.holds = 5;
  const std::vector<std::byte> before = iqdb_test::payload_of(index);
  for (int times = 0; times < 2; ++times) {
    index.refuses = true;
    CHECK_THROWS_AS(index.upsert(1, {3.0F}), std::runtime_error);
    CHECK(iqdb_test::payload_of(index) == before);
  }
  require_kind(IndexErrorKind::dimension_mismatch, [&] { index.upsert(1, {1.0F, 2.0F}); });
  require_kind(IndexErrorKind::invalid_config, [&] { index.upsert(1, {1.0F}, {{"\xFF", 1}}); });
  index.holds = 1;
  require_kind(IndexErrorKind::invalid_config, [&] { index.upsert(1, {1.0F}); });
  require_kind(IndexErrorKind::invalid_config, [&] { index.check_upsert(1, std::vector<float>{1.0F}, std::nullopt); });
  CHECK(iqdb_test::payload_of(index) == before);
}
