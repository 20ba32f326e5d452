#include "iqdb/index/flat.hpp"

#ifndef TEST_WITHOUT_RAPIDCHECK
#include <rapidcheck.h>
#endif

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <new>
#include <numeric>
#include <optional>
#include <ostream>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "support/adapters.hpp"
#include "support/allocations.hpp"
#include "support/bytes.hpp"
#include "support/catch.hpp"
#include "support/earlier_index.hpp"
#include "support/expect_error.hpp"
#include "support/sample_index.hpp"
#include "support/streams.hpp"

namespace {

using iqdb_test::ids_of;

using iqdb::DistanceMetric;
using iqdb::FlatIndex;
using iqdb::Hit;
using iqdb::IndexErrorKind;
using iqdb::Metadata;
using iqdb::Null;
using iqdb::PersistErrorKind;
using iqdb::Reader;
using iqdb::VectorId;
using iqdb::Writer;
using iqdb_test::Bytes;
using iqdb_test::difference;
using iqdb_test::hex;
using iqdb_test::make_sample_index;
using iqdb_test::Random;
using iqdb_test::require_kind;
using iqdb_test::rows_of;
using iqdb_test::same_rows;
using iqdb_test::SampleRow;

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float nan_value = std::numeric_limits<float>::quiet_NaN();
constexpr DistanceMetric metrics[] = {DistanceMetric::cosine, DistanceMetric::dot_product, DistanceMetric::euclidean,
                                      DistanceMetric::manhattan, DistanceMetric::hamming};

std::vector<std::byte> payload_of(const FlatIndex& index) {
  return iqdb_test::written_by([&](Writer& writer) { index.save_to(writer); });
}

FlatIndex index_from(std::span<const std::byte> payload) {
  Reader reader(payload);
  FlatIndex index = FlatIndex::load_from(reader);
  CHECK(reader.remaining() == 0);
  return index;
}

void require_refused(PersistErrorKind kind, std::span<const std::byte> payload) {
  CAPTURE(hex(payload.first(std::min<std::size_t>(payload.size(), 100))));
  require_kind(kind, [&] { return index_from(payload); });
}

// The distance of two vectors, as a search tells it.
float distance(DistanceMetric metric, const std::vector<float>& a, const std::vector<float>& b) {
  FlatIndex index(a.size(), metric);
  index.insert(1, a);
  const auto hits = index.search(b);
  REQUIRE(hits.size() == 1);
  return hits[0].distance;
}

// Whether two distances are the same but for the rounding of single precision.
bool is_near(double a, double b) { return std::abs(a - b) <= 1e-5 * std::max(1.0, std::abs(b)); }

// The definitions, in double precision and as plainly as can be.
double plain_distance(DistanceMetric metric, const std::vector<float>& a, const std::vector<float>& b) {
  double dot = 0;
  double norm_a = 0;
  double norm_b = 0;
  double squares = 0;
  double absolutes = 0;
  double different = 0;
  for (std::size_t at = 0; at < a.size(); ++at) {
    const double x = a[at];
    const double y = b[at];
    dot += x * y;
    norm_a += x * x;
    norm_b += y * y;
    squares += (x - y) * (x - y);
    absolutes += std::abs(x - y);
    different += std::bit_cast<std::uint32_t>(a[at]) == std::bit_cast<std::uint32_t>(b[at]) ? 0 : 1;
  }
  switch (metric) {
    case DistanceMetric::cosine:
      return norm_a == 0 || norm_b == 0 ? 1 : 1 - dot / (std::sqrt(norm_a) * std::sqrt(norm_b));
    case DistanceMetric::dot_product:
      return -dot;
    case DistanceMetric::euclidean:
      return std::sqrt(squares);
    case DistanceMetric::manhattan:
      return absolutes;
    case DistanceMetric::hamming:
      return different;
  }
  return 0;
}

// An index of dimension 1 with the rows 0, 1, 2, …, of which the vectors are their numbers.
FlatIndex numbers(std::uint64_t count) {
  FlatIndex index(1, DistanceMetric::euclidean);
  for (std::uint64_t number = 0; number < count; ++number) {
    index.insert(number, {static_cast<float>(number)}, {{"number", static_cast<std::int64_t>(number)}});
  }
  return index;
}

// Whether all of `index` is what numbers() made of `ids`, in that order.
void require_numbers(const FlatIndex& index, const std::vector<std::uint64_t>& ids) {
  const auto rows = rows_of(index);
  REQUIRE(index.size() == ids.size());
  REQUIRE(rows.size() == ids.size());
  for (std::size_t at = 0; at < ids.size(); ++at) {
    REQUIRE(rows[at].id == ids[at]);
    REQUIRE(rows[at].vector == std::vector<float>{static_cast<float>(ids[at])});
    REQUIRE(rows[at].metadata == Metadata{{"number", static_cast<std::int64_t>(ids[at])}});
    REQUIRE(index.contains(ids[at]));
    const auto hits = index.search(rows[at].vector, {.k = 1});
    REQUIRE(hits.size() == 1);
    REQUIRE(hits[0].id == ids[at]);
    REQUIRE(hits[0].distance == 0.0F);
  }
}

// Two rows, with everything that a payload can hold but few of it.
FlatIndex small_index() {
  FlatIndex index(2, DistanceMetric::manhattan);
  index.insert(0x0102030405060708, {1.0F, -2.0F});
  index.insert(VectorId::from_bytes("id"), {0.5F, 0.0F},
               {{"s", "text"}, {"i", std::int64_t{-2}}, {"f", 1.5}, {"b", true}, {"n", Null{}}});
  return index;
}

// Its payload, by the layout in docs/format.md.
Bytes small_payload() {
  return Bytes()
      .u64(2)
      .u8(3)
      .u64(2)
      .u8(0)
      .u64(0x0102030405060708)
      .u8(1)
      .u64(2)
      .text("id")
      .f32(1.0F)
      .f32(-2.0F)
      .f32(0.5F)
      .f32(0.0F)
      .u8(0)
      .u8(1)
      .u32(5)
      .u32(1)
      .text("b")
      .u8(3)
      .u8(1)
      .u32(1)
      .text("f")
      .u8(2)
      .f64(1.5)
      .u32(1)
      .text("i")
      .u8(1)
      .i64(-2)
      .u32(1)
      .text("n")
      .u8(4)
      .u32(1)
      .text("s")
      .u8(0)
      .u32(4)
      .text("text");
}

}  // namespace

// ---- Making, inserting, erasing ------------------------------------------------------------------------------------

TEST_CASE("FlatIndex: a new one is empty and has what it was made with", "[flat]") {
  for (const DistanceMetric metric : metrics) {
    const FlatIndex index(7, metric);
    CHECK(index.size() == 0);
    CHECK(index.dim() == 7);
    CHECK(index.metric() == metric);
    CHECK_FALSE(index.contains(0));
    CHECK(rows_of(index).empty());
  }
}

TEST_CASE("FlatIndex: dimension 0 is refused", "[flat]") {
  require_kind(IndexErrorKind::invalid_config, [] { return FlatIndex(0, DistanceMetric::cosine); });
}

TEST_CASE("FlatIndex: a metric that is none is refused", "[flat]") {
  require_kind(IndexErrorKind::invalid_metric, [] { return FlatIndex(1, static_cast<DistanceMetric>(5)); });
}

TEST_CASE("FlatIndex: its name on disk is flat", "[flat]") { CHECK(FlatIndex::index_type == "flat"); }

TEST_CASE("FlatIndex: for_each gives the rows as they were inserted and in that order", "[flat]") {
  Random random(5);
  FlatIndex index(3, DistanceMetric::cosine);
  std::vector<SampleRow> expected;
  for (std::uint64_t number = 0; number < 50; ++number) {
    SampleRow row{iqdb_test::sample_id(50 - number), random.vector(3), iqdb_test::sample_metadata(number, random)};
    index.insert(row.id, std::span<const float>(row.vector), row.metadata);
    expected.push_back(std::move(row));
  }
  CHECK(index.size() == 50);
  CHECK(std::ranges::equal(rows_of(index), expected, iqdb_test::same_row));
}

TEST_CASE("FlatIndex: takes any floats and keeps their bits", "[flat]") {
  const std::vector<float> strange = {nan_value,
                                      -nan_value,
                                      infinity,
                                      -infinity,
                                      -0.0F,
                                      std::numeric_limits<float>::denorm_min(),
                                      std::bit_cast<float>(0x7FA12345U)};
  FlatIndex index(strange.size(), DistanceMetric::cosine);
  index.insert(1, strange);
  CHECK(iqdb_test::same_vector(rows_of(index).at(0).vector, strange));
}

TEST_CASE("FlatIndex: an integer and bytes of its digits are different identifiers", "[flat]") {
  FlatIndex index(1, DistanceMetric::cosine);
  index.insert(1, {1.F});
  index.insert(VectorId::from_bytes("1"), {2.F});
  CHECK(index.size() == 2);
}

TEST_CASE("FlatIndex: a mutation that is refused names its kind and changes nothing", "[flat]") {
  FlatIndex index = make_sample_index(3, DistanceMetric::cosine, 10);
  const auto before = payload_of(index);
  const std::vector<float> vector = {1, 2, 3};
  require_kind(IndexErrorKind::duplicate, [&] { index.insert(4, vector); });
  require_kind(IndexErrorKind::duplicate, [&] { index.insert(iqdb_test::sample_id(5), vector, {{"k", 1}}); });
  require_kind(IndexErrorKind::dimension_mismatch, [&] { index.insert(100, {1.F, 2.F}); });
  require_kind(IndexErrorKind::dimension_mismatch, [&] { index.insert(100, {1.F, 2.F, 3.F, 4.F}); });
  require_kind(IndexErrorKind::dimension_mismatch, [&] { index.insert(100, std::span<const float>()); });
  require_kind(IndexErrorKind::invalid_config, [&] { index.insert(100, vector, {{"\xFF", 1}}); });
  require_kind(IndexErrorKind::invalid_config, [&] { index.insert(100, vector, {{"k", "\xFF"}}); });
  require_kind(IndexErrorKind::not_found, [&] { index.erase(100); });
  require_kind(IndexErrorKind::not_found, [&] { index.erase(VectorId::from_bytes("4")); });
  CHECK(index.size() == 10);
  CHECK_FALSE(index.contains(100));
  CHECK(payload_of(index) == before);
}

TEST_CASE("FlatIndex: an index that was moved from refuses what it is given", "[flat]") {
  FlatIndex index(2, DistanceMetric::euclidean);
  index.insert(1, {1.0F, 2.0F});
  iqdb_test::require_refusals_when_moved_from(std::move(index));
}

TEST_CASE("FlatIndex: the checks throw what the mutations throw", "[flat]") {
  FlatIndex index = make_sample_index(2, DistanceMetric::cosine, 3);
  const auto agree = [&](IndexErrorKind kind, const VectorId& id, const std::vector<float>& vector,
                         const std::optional<Metadata>& metadata) {
    const auto before = payload_of(index);
    require_kind(kind, [&] { index.check_insert(id, vector, metadata); });
    require_kind(kind, [&] { index.insert(id, std::span<const float>(vector), metadata); });
    CHECK(payload_of(index) == before);
  };
  const VectorId longest = VectorId::from_bytes(std::string(iqdb::most_id_bytes, 'x'));
  const VectorId too_long = VectorId::from_bytes(std::string(iqdb::most_id_bytes + 1, 'x'));
  agree(IndexErrorKind::dimension_mismatch, 7, {1.0F}, std::nullopt);
  agree(IndexErrorKind::invalid_config, 7, {1.0F, 2.0F}, Metadata{{"\xFF", 1}});
  agree(IndexErrorKind::resource_limit, too_long, {1.0F, 2.0F}, std::nullopt);
  agree(IndexErrorKind::duplicate, iqdb_test::sample_id(1), {1.0F, 2.0F}, std::nullopt);
  const std::vector<float> vector = {1.0F, nan_value};
  CHECK_NOTHROW(index.check_insert(longest, vector, std::nullopt));
  CHECK_NOTHROW(index.check_vector(vector, std::nullopt));
  CHECK_NOTHROW(index.check_upsert(iqdb_test::sample_id(1), vector, std::nullopt));
  require_kind(IndexErrorKind::resource_limit, [&] { index.check_upsert(too_long, vector, std::nullopt); });
  require_kind(IndexErrorKind::dimension_mismatch, [&] { index.check_vector(std::vector<float>(3), std::nullopt); });
  require_kind(IndexErrorKind::not_found, [&] { index.check_erase(100); });
  CHECK_NOTHROW(index.check_erase(iqdb_test::sample_id(1)));
  CHECK(index.size() == 3);
}

TEST_CASE("FlatIndex: the checks allocate nothing", "[flat]") {
  const FlatIndex index = make_sample_index(2, DistanceMetric::cosine, 3);
  const std::vector<float> vector = {3.0F, 4.0F};
  const std::optional<Metadata> metadata = Metadata{{"k", "a text that is too long to lie in the string itself"}};
  const VectorId id = VectorId::from_bytes("an identifier that is too long to lie in the string itself");
  const VectorId known = iqdb_test::sample_id(1);
  const auto allocated = iqdb_test::allocated_by([&] {
    index.check_insert(id, vector, metadata);
    index.check_upsert(known, vector, metadata);
    index.check_vector(vector, metadata);
    index.check_erase(known);
  });
  CHECK(allocated.count == 0);
}

TEST_CASE("FlatIndex: upsert adds a row behind the others or replaces one in its place", "[flat]") {
  FlatIndex index = numbers(4);
  index.erase(1);
  index.upsert(9, {9.F}, {{"number", 9}});
  require_numbers(index, {0, 2, 3, 9});
  index.upsert(2, {7.F}, {{"other", 1}});
  const auto rows = rows_of(index);
  REQUIRE(rows.size() == 4);
  CHECK(rows[1].id == 2);
  CHECK(rows[1].vector == std::vector<float>{7});
  CHECK(rows[1].metadata == Metadata{{"other", 1}});
  index.upsert(2, {2.F}, {{"number", 2}});
  require_numbers(index, {0, 2, 3, 9});
  index.upsert(2, {2.F});
  CHECK_FALSE(rows_of(index)[1].metadata.has_value());
}

TEST_CASE("FlatIndex: an upsert that is refused changes nothing", "[flat]") {
  FlatIndex index = make_sample_index(2, DistanceMetric::cosine, 3);
  const auto before = payload_of(index);
  const VectorId known = iqdb_test::sample_id(1);
  require_kind(IndexErrorKind::dimension_mismatch, [&] { index.upsert(known, {1.F}); });
  require_kind(IndexErrorKind::invalid_config, [&] { index.upsert(known, {1.F, 2.F}, {{"k", "\xFF"}}); });
  for (const VectorId& id : {known, VectorId(1000)}) {
    std::optional<Metadata> metadata = Metadata{{"k", std::string(100, 'y')}};
    const std::vector<float> vector = {1, 2};
    try {
      VectorId copy = id;
      iqdb_test::refusing_allocation(1, [&] { index.upsert(std::move(copy), vector, std::move(metadata)); });
      CHECK(id == known);  // a replacement needs no memory
      index.upsert(known, rows_of(make_sample_index(2, DistanceMetric::cosine, 3))[1].vector,
                   rows_of(make_sample_index(2, DistanceMetric::cosine, 3))[1].metadata);
    } catch (const std::bad_alloc&) {
      CHECK_FALSE(id == known);
    }
    CHECK(payload_of(index) == before);
  }
}

TEST_CASE("FlatIndex: a dimension beyond what a log counts is refused with its bounds", "[flat]") {
  const auto refused = [](std::size_t dim) {
    try {
      const FlatIndex index(dim, DistanceMetric::cosine);
      FAIL("an index of that dimension was made");
    } catch (const iqdb::IndexError& error) {
      CHECK(error.kind() == IndexErrorKind::invalid_config);
      CHECK(std::string(error.what()).find("1 to 4294967295") != std::string::npos);
    }
  };
  // On 32 bits these two are zero.
  refused(static_cast<std::size_t>(std::uint64_t{1} << 63U));
  refused(static_cast<std::size_t>(std::uint64_t{1} << 32U));
  refused(0);
  CHECK(FlatIndex(std::size_t{0xffff'ffffU}, DistanceMetric::cosine).size() == 0);
}

TEST_CASE("FlatIndex: an insert that runs out of memory at any point changes nothing", "[flat]") {
  // Sizes at which one or another of the containers inside has to grow.
  for (const std::size_t rows : {0U, 1U, 2U, 8U, 12U, 13U, 16U, 29U}) {
    const FlatIndex original = make_sample_index(4, DistanceMetric::cosine, rows);
    const std::vector<float> vector = {1, 2, 3, 4};
    std::uint64_t refusals = 0;
    for (bool inserted = false; !inserted;) {
      CAPTURE(rows, refusals);
      FlatIndex index = original;
      // An integer: libstdc++'s std::variant does not survive an alternative of std::string that cannot be copied.
      const VectorId id = 1000;
      std::optional<Metadata> metadata = Metadata{{"k", std::string(100, 'y')}};
      try {
        iqdb_test::refusing_allocation(refusals + 1,
                                       [&] { index.insert(id, std::span<const float>(vector), std::move(metadata)); });
        inserted = true;
      } catch (const std::bad_alloc&) {
        ++refusals;
        REQUIRE(difference(index, original) == "");
        REQUIRE_FALSE(index.contains(id));
        index.insert(id, vector);
        REQUIRE(index.size() == rows + 1);
        REQUIRE(rows_of(index).back().vector == vector);
      }
    }
    CHECK(refusals > 1);
  }
}

TEST_CASE("FlatIndex: erase removes the row and keeps the order of the others", "[flat]") {
  FlatIndex index = numbers(6);
  index.erase(2);
  require_numbers(index, {0, 1, 3, 4, 5});
  CHECK_FALSE(index.contains(2));
  index.erase(0);
  require_numbers(index, {1, 3, 4, 5});
  index.erase(5);
  require_numbers(index, {1, 3, 4});
}

TEST_CASE("FlatIndex: an erased identifier can be inserted again and stands at the end", "[flat]") {
  FlatIndex index = numbers(4);
  index.erase(1);
  require_kind(IndexErrorKind::not_found, [&] { index.erase(1); });
  index.insert(1, {1.F}, {{"number", 1}});
  require_numbers(index, {0, 2, 3, 1});
}

TEST_CASE("FlatIndex: erasing all but any one of the rows keeps that one", "[flat]") {
  for (std::uint64_t kept = 0; kept < 20; ++kept) {
    FlatIndex index = numbers(20);
    for (std::uint64_t number = 0; number < 20; ++number) {
      if (number != kept) {
        index.erase(number);
      }
    }
    require_numbers(index, {kept});
  }
}

TEST_CASE("FlatIndex: erasing every row leaves an index that works", "[flat]") {
  FlatIndex index = numbers(9);
  for (std::uint64_t number = 0; number < 9; ++number) {
    index.erase(number);
  }
  CHECK(index.size() == 0);
  CHECK(rows_of(index).empty());
  CHECK(index.search(std::vector<float>{1}).empty());
  CHECK(payload_of(index) == payload_of(FlatIndex(1, DistanceMetric::euclidean)));
  index.insert(3, {3.F}, {{"number", 3}});
  require_numbers(index, {3});
}

TEST_CASE("FlatIndex: erasing in random order keeps the rest at every step", "[flat]") {
  const auto seed = GENERATE(1U, 2U, 3U);
  CAPTURE(seed);
  Random random(seed);
  std::vector<std::uint64_t> ids(40);
  std::iota(ids.begin(), ids.end(), 0U);
  FlatIndex index = numbers(40);
  while (!ids.empty()) {
    const auto victim = ids.begin() + static_cast<std::ptrdiff_t>(random.below(ids.size()));
    index.erase(*victim);
    ids.erase(victim);
    require_numbers(index, ids);
  }
}

TEST_CASE("FlatIndex: memory taken while it grows is in proportion to what it holds", "[flat]") {
  constexpr std::size_t dim = 256;
  constexpr std::uint64_t count = 20'000;
  const std::vector<float> vector(dim, 1.0F);
  FlatIndex index(dim, DistanceMetric::euclidean);
  const auto allocated = iqdb_test::allocated_by([&] {
    for (std::uint64_t id = 0; id < count; ++id) {
      index.insert(id, std::span<const float>(vector));
    }
  });
  CHECK(allocated.total < 6 * count * dim * sizeof(float));
}

TEST_CASE("FlatIndex: a copy is independent", "[flat]") {
  FlatIndex index = numbers(3);
  FlatIndex copy = index;
  index.erase(0);
  copy.insert(9, {9.F}, {{"number", 9}});
  require_numbers(index, {1, 2});
  require_numbers(copy, {0, 1, 2, 9});
}

// ---- Searching -----------------------------------------------------------------------------------------------------

TEST_CASE("FlatIndex: cosine distance by hand", "[flat][search]") {
  const auto metric = DistanceMetric::cosine;
  CHECK(is_near(distance(metric, {1, 0}, {2, 0}), 0.0F));
  CHECK(is_near(distance(metric, {1, 0}, {0, 3}), 1.0F));
  CHECK(is_near(distance(metric, {1, 0}, {-5, 0}), 2.0F));
  CHECK(is_near(distance(metric, {3, 4}, {4, 3}), 1.0F - 24.0F / 25.0F));
}

TEST_CASE("FlatIndex: cosine distance is 1 where a norm is 0", "[flat][search]") {
  const auto metric = DistanceMetric::cosine;
  CHECK(distance(metric, {0, 0}, {1, 2}) == 1.0F);
  CHECK(distance(metric, {1, 2}, {0, 0}) == 1.0F);
  CHECK(distance(metric, {0, 0}, {0, 0}) == 1.0F);
}

TEST_CASE("FlatIndex: dot product distance by hand", "[flat][search]") {
  const auto metric = DistanceMetric::dot_product;
  CHECK(distance(metric, {1, 2, 3}, {4, 5, 6}) == -32.0F);
  CHECK(distance(metric, {1, 2, 3}, {-4, -5, -6}) == 32.0F);
  CHECK(distance(metric, {1, 0, 0}, {0, 1, 0}) == 0.0F);
}

TEST_CASE("FlatIndex: euclidean distance by hand", "[flat][search]") {
  const auto metric = DistanceMetric::euclidean;
  CHECK(distance(metric, {1, 2}, {4, 6}) == 5.0F);
  CHECK(distance(metric, {1, 2}, {1, 2}) == 0.0F);
  CHECK(distance(metric, {-1}, {1}) == 2.0F);
}

TEST_CASE("FlatIndex: manhattan distance by hand", "[flat][search]") {
  const auto metric = DistanceMetric::manhattan;
  CHECK(distance(metric, {1, 2}, {4, -6}) == 11.0F);
  CHECK(distance(metric, {1, 2}, {1, 2}) == 0.0F);
}

TEST_CASE("FlatIndex: hamming distance counts the components whose bits differ", "[flat][search]") {
  const auto metric = DistanceMetric::hamming;
  CHECK(distance(metric, {1, 2, 3}, {1, 5, 6}) == 2.0F);
  CHECK(distance(metric, {1, 2, 3}, {1, 2, 3}) == 0.0F);
  CHECK(distance(metric, {0.0F}, {-0.0F}) == 1.0F);
  CHECK(distance(metric, {nan_value}, {nan_value}) == 0.0F);
}

TEST_CASE("FlatIndex: every component counts at every dimension", "[flat][search]") {
  for (std::size_t dim = 1; dim <= 40; ++dim) {
    for (std::size_t at = 0; at < dim; ++at) {
      CAPTURE(dim, at);
      const std::vector<float> ones(dim, 1.0F);
      std::vector<float> other = ones;
      other[at] = 4.0F;
      REQUIRE(distance(DistanceMetric::dot_product, ones, other) == -static_cast<float>(dim + 3));
      REQUIRE(distance(DistanceMetric::euclidean, ones, other) == 3.0F);
      REQUIRE(distance(DistanceMetric::manhattan, ones, other) == 3.0F);
      REQUIRE(distance(DistanceMetric::hamming, ones, other) == 1.0F);
    }
  }
}

TEST_CASE("FlatIndex: finds the nearest of random vectors as a plain computation does", "[flat][search]") {
  const DistanceMetric metric = GENERATE(DistanceMetric::cosine, DistanceMetric::dot_product, DistanceMetric::euclidean,
                                         DistanceMetric::manhattan, DistanceMetric::hamming);
  const std::size_t dim = GENERATE(1U, 2U, 7U, 8U, 9U, 33U, 100U);
  const std::uint64_t seed = dim * 10 + static_cast<std::uint64_t>(metric);
  CAPTURE(to_string(metric), dim, seed);
  Random random(seed);
  FlatIndex index(dim, metric);
  std::vector<std::vector<float>> vectors;
  for (std::uint64_t id = 0; id < 200; ++id) {
    std::vector<float> vector = random.vector(dim);
    if (metric == DistanceMetric::hamming) {
      for (float& each : vector) {
        each = each < 0 ? 0.0F : 1.0F;
      }
    }
    index.insert(id, vector);
    vectors.push_back(std::move(vector));
  }
  for (int round = 0; round < 10; ++round) {
    const std::vector<float> query =
        metric == DistanceMetric::hamming ? vectors[random.below(vectors.size())] : random.vector(dim);
    std::vector<double> expected;
    for (const auto& vector : vectors) {
      expected.push_back(plain_distance(metric, vector, query));
    }
    const auto hits = index.search(query, {.k = 25});
    REQUIRE(hits.size() == 25);
    for (const Hit& hit : hits) {
      REQUIRE(is_near(hit.distance, expected[hit.id.integer()]));
    }
    std::ranges::sort(expected);
    for (std::size_t rank = 0; rank < hits.size(); ++rank) {
      REQUIRE(is_near(hits[rank].distance, expected[rank]));
    }
  }
}

TEST_CASE("FlatIndex: hits come nearest first with what was stored", "[flat][search]") {
  const FlatIndex index = numbers(10);
  const auto hits = index.search(std::vector<float>{6.2F}, {.k = 3});
  REQUIRE(hits.size() == 3);
  CHECK(ids_of(hits) == std::vector<VectorId>{6, 7, 5});
  CHECK(is_near(hits[0].distance, 0.2F));
  CHECK(is_near(hits[1].distance, 0.8F));
  CHECK(is_near(hits[2].distance, 1.2F));
  CHECK(hits[0].metadata == Metadata{{"number", 6}});
}

TEST_CASE("FlatIndex: of equally near ones those inserted first come first", "[flat][search]") {
  FlatIndex index(1, DistanceMetric::euclidean);
  for (const int id : {5, 3, 9, 1, 7, 2, 8}) {
    index.insert(id, {id % 2 == 0 ? 2.0F : 1.0F});
  }
  const std::vector<float> query = {1.0F};
  CHECK(ids_of(index.search(query, {.k = 3})) == std::vector<VectorId>{5, 3, 9});
  CHECK(ids_of(index.search(query, {.k = 6})) == std::vector<VectorId>{5, 3, 9, 1, 7, 2});
  CHECK(ids_of(index.search(query)) == std::vector<VectorId>{5, 3, 9, 1, 7, 2, 8});
  index.erase(3);
  index.insert(3, {1.0F});
  CHECK(ids_of(index.search(query, {.k = 5})) == std::vector<VectorId>{5, 9, 1, 7, 3});
}

TEST_CASE("FlatIndex: a distance that is not a number ranks behind all that are", "[flat][search]") {
  FlatIndex index(1, DistanceMetric::euclidean);
  index.insert(1, {nan_value});
  index.insert(2, {infinity});
  index.insert(3, {1.0F});
  index.insert(4, {nan_value});
  index.insert(5, {0.0F});
  const std::vector<float> query = {0.0F};
  const auto hits = index.search(query);
  CHECK(ids_of(hits) == std::vector<VectorId>{5, 3, 2, 1, 4});
  CHECK(std::isnan(hits.back().distance));
  CHECK(ids_of(index.search(query, {.k = 3})) == std::vector<VectorId>{5, 3, 2});
  CHECK(ids_of(index.search(query, {.k = 4})) == std::vector<VectorId>{5, 3, 2, 1});
}

TEST_CASE("FlatIndex: a query that is not a number finds rows in the order of insertion", "[flat][search]") {
  const FlatIndex index = numbers(30);
  CHECK(ids_of(index.search(std::vector<float>{nan_value}, {.k = 4})) == std::vector<VectorId>{0, 1, 2, 3});
}

TEST_CASE("FlatIndex: k of 0 finds nothing", "[flat][search]") {
  CHECK(numbers(5).search(std::vector<float>{1}, {.k = 0}).empty());
}

TEST_CASE("FlatIndex: k beyond the number of rows finds all of them", "[flat][search]") {
  const FlatIndex index = numbers(5);
  CHECK(index.search(std::vector<float>{0}, {.k = 6}).size() == 5);
  CHECK(ids_of(index.search(std::vector<float>{0}, {.k = std::numeric_limits<std::size_t>::max()})) ==
        std::vector<VectorId>{0, 1, 2, 3, 4});
}

TEST_CASE("FlatIndex: an empty index finds nothing", "[flat][search]") {
  CHECK(FlatIndex(3, DistanceMetric::cosine).search(std::vector<float>(3)).empty());
}

TEST_CASE("FlatIndex: ten hits are found unless told otherwise", "[flat][search]") {
  CHECK(numbers(50).search(std::vector<float>{0}).size() == 10);
}

TEST_CASE("FlatIndex: ef is ignored", "[flat][search]") {
  CHECK(numbers(50).search(std::vector<float>{0}, {.k = 20, .ef = 1}).size() == 20);
}

TEST_CASE("FlatIndex: a query of another dimension is refused", "[flat][search]") {
  const FlatIndex index = make_sample_index(3, DistanceMetric::cosine, 5);
  require_kind(IndexErrorKind::dimension_mismatch, [&] { return index.search(std::vector<float>(2)); });
  require_kind(IndexErrorKind::dimension_mismatch, [&] { return index.search(std::vector<float>(4)); });
  require_kind(IndexErrorKind::dimension_mismatch, [&] { return index.search({}); });
  require_kind(IndexErrorKind::dimension_mismatch, [&] { return index.search({}, {.k = 0}); });
}

TEST_CASE("FlatIndex: erased rows are not found", "[flat][search]") {
  FlatIndex index = numbers(10);
  index.erase(3);
  index.erase(4);
  CHECK(ids_of(index.search(std::vector<float>{3.4F}, {.k = 2})) == std::vector<VectorId>{2, 5});
}

// ---- The payload ---------------------------------------------------------------------------------------------------

TEST_CASE("FlatIndex: the bytes of a payload", "[flat][payload]") {
  CHECK(hex(payload_of(small_index())) == hex(small_payload()));
}

TEST_CASE("FlatIndex: the bytes of an empty index's payload", "[flat][payload]") {
  CHECK(hex(payload_of(FlatIndex(3, DistanceMetric::hamming))) == "03 00 00 00 00 00 00 00 04 00 00 00 00 00 00 00 00");
}

TEST_CASE("FlatIndex: reads a payload", "[flat][payload]") {
  CHECK(difference(index_from(small_payload()), small_index()) == "");
}

TEST_CASE("FlatIndex: reads what it wrote whatever it holds", "[flat][payload]") {
  for (const DistanceMetric metric : metrics) {
    for (const std::size_t dim : {1U, 3U, 100U}) {
      for (const std::size_t rows : {0U, 1U, 7U, 300U}) {
        CAPTURE(to_string(metric), dim, rows);
        const FlatIndex index = make_sample_index(dim, metric, rows, dim + rows);
        CHECK(difference(index_from(payload_of(index)), index) == "");
      }
    }
  }
}

TEST_CASE("FlatIndex: reads what it wrote through small buffers and short reads", "[flat][payload]") {
  const FlatIndex index = make_sample_index(5, DistanceMetric::cosine, 100);
  const auto payload = payload_of(index);
  for (const auto evidence : {iqdb::LengthEvidence::stored, iqdb::LengthEvidence::stated}) {
    for (const std::size_t most : {1U, 5U, 1000U}) {
      iqdb_test::MemorySource source(payload, most);
      Reader reader(source, payload.size(), evidence, 16);
      CHECK(difference(FlatIndex::load_from(reader), index) == "");
    }
  }
}

TEST_CASE("FlatIndex: a payload shows nothing of rows that were erased", "[flat][payload]") {
  for (const auto& erased :
       std::vector<std::vector<int>>{{0}, {9}, {4}, {0, 1}, {8, 9}, {3, 5, 7}, {0, 4, 9, 2, 7, 5}}) {
    FlatIndex index = numbers(10);
    FlatIndex never(1, DistanceMetric::euclidean);
    for (const int id : erased) {
      index.erase(id);
    }
    for (const SampleRow& row : rows_of(index)) {
      never.insert(row.id, std::span<const float>(row.vector), row.metadata);
    }
    CHECK(payload_of(index) == payload_of(never));
  }
}

TEST_CASE("FlatIndex: vectors without gaps are written as one span", "[flat][payload]") {
  const FlatIndex index = make_sample_index(64, DistanceMetric::cosine, 1000);
  iqdb_test::WatchedSink sink;
  Writer writer(sink, 4096);
  index.save_to(writer);
  writer.flush();
  const auto large = std::ranges::count_if(sink.calls(), [](auto call) { return call.size() == 64 * 1000 * 4; });
  // A big-endian processor turns the bytes of each number around on their way.
  CHECK(large == (std::endian::native == std::endian::little ? 1 : 0));
}

TEST_CASE("FlatIndex: a loaded index goes on like the one that was saved", "[flat][payload]") {
  FlatIndex index = index_from(payload_of(numbers(5)));
  index.erase(1);
  index.insert(7, {7.F}, {{"number", 7}});
  require_kind(IndexErrorKind::duplicate, [&] { index.insert(0, {0.F}); });
  require_numbers(index, {0, 2, 3, 4, 7});
}

TEST_CASE("FlatIndex: leaves bytes behind the payload unread", "[flat][payload]") {
  const Bytes payload = small_payload().u32(0xDEADBEEF);
  Reader reader(payload);
  CHECK(same_rows(FlatIndex::load_from(reader), small_index()));
  CHECK(reader.remaining() == 4);
}

// ---- Hostile payloads ----------------------------------------------------------------------------------------------

TEST_CASE("FlatIndex: a payload cut at any byte is invalid_payload", "[flat][hostile]") {
  const auto payload = payload_of(make_sample_index(2, DistanceMetric::cosine, 9));
  for (std::size_t size = 0; size < payload.size(); ++size) {
    CAPTURE(size);
    require_refused(PersistErrorKind::invalid_payload, std::span(payload).first(size));
  }
}

TEST_CASE("FlatIndex: a payload with any bit flipped loads or is refused and does no harm", "[flat][hostile]") {
  auto payload = payload_of(make_sample_index(2, DistanceMetric::cosine, 9));
  std::size_t refused = 0;
  std::size_t loaded = 0;
  for (std::size_t bit = 0; bit < payload.size() * 8; ++bit) {
    CAPTURE(bit);
    const auto mask = static_cast<std::byte>(1U << (bit % 8));
    payload[bit / 8] ^= mask;
    for (const auto evidence : {iqdb::LengthEvidence::stored, iqdb::LengthEvidence::stated}) {
      try {
        iqdb_test::MemorySource source(payload);
        Reader reader(source, payload.size(), evidence, 64);
        const FlatIndex index = FlatIndex::load_from(reader);
        ++loaded;
        // What was taken can be used, and saved and loaded again.
        REQUIRE(rows_of(index).size() == index.size());
        REQUIRE(index.search(std::vector<float>(index.dim()), {.k = 3}).size() ==
                std::min<std::size_t>(index.size(), 3));
        REQUIRE(difference(index_from(payload_of(index)), index) == "");
      } catch (const iqdb::PersistError& error) {
        ++refused;
        const bool fitting =
            error.kind() == PersistErrorKind::invalid_payload || error.kind() == PersistErrorKind::invalid_metric;
        REQUIRE(fitting);
      }
    }
    payload[bit / 8] ^= mask;
  }
  CHECK(refused > 100);
  CHECK(loaded > 100);
}

TEST_CASE("FlatIndex: a count or dimension that the payload cannot hold is refused and costs nothing",
          "[flat][hostile]") {
  const std::vector<std::uint64_t> huge = {
      std::uint64_t{1} << 31U, std::uint64_t{1} << 32U,       std::uint64_t{1} << 60U,
      std::uint64_t{1} << 61U, (std::uint64_t{1} << 62U) - 1, std::uint64_t{1} << 62U,
      std::uint64_t{1} << 63U, ~std::uint64_t{0} - 13,        ~std::uint64_t{0}};
  const auto refuses = [](std::uint64_t dim, std::uint64_t count) {
    CAPTURE(dim, count);
    const auto payload = Bytes().u64(dim).u8(0).u64(count).append(std::vector<std::byte>(1000)).get();
    const auto allocated = iqdb_test::allocated_by([&] {
      Reader reader(payload);
      CHECK_THROWS_AS(FlatIndex::load_from(reader), iqdb::PersistError);
    });
    // An error's text, and no rows.
    CHECK(allocated.largest < 3'000);
    require_refused(PersistErrorKind::invalid_payload, payload);
  };
  for (const std::uint64_t number : huge) {
    refuses(1, number);
    refuses(3, number);
    refuses(number, 1);
    for (const std::uint64_t other : huge) {
      refuses(number, other);
    }
  }
  refuses(1, 1000 / 14 + 1);
  refuses(251, 1);
}

TEST_CASE("FlatIndex: a count that only a stated length could hold costs memory for what is there", "[flat][hostile]") {
  const auto payload = Bytes().u64(1).u8(0).u64(std::uint64_t{1} << 40U).append(std::vector<std::byte>(1000)).get();
  iqdb_test::MemorySource source(payload);
  Reader reader(source, std::uint64_t{1} << 50U, iqdb::LengthEvidence::stated);
  const auto allocated =
      iqdb_test::allocated_by([&] { CHECK_THROWS_AS(FlatIndex::load_from(reader), iqdb::PersistError); });
  CHECK(allocated.total < (std::uint64_t{100} << 20U));
}

TEST_CASE("FlatIndex: dimension 0 in a payload is invalid_payload", "[flat][hostile]") {
  require_refused(PersistErrorKind::invalid_payload, Bytes().u64(0).u8(0).u64(0));
  require_refused(PersistErrorKind::invalid_payload, Bytes().u64(0).u8(0).u64(1).u8(0).u64(1).u8(0));
}

TEST_CASE("FlatIndex: a dimension of which no vector could be addressed is invalid_payload", "[flat][hostile]") {
  require_refused(PersistErrorKind::invalid_payload, Bytes().u64(std::uint64_t{1} << 62U).u8(0).u64(0));
  require_refused(PersistErrorKind::invalid_payload, Bytes().u64(~std::uint64_t{0}).u8(0).u64(0));
}

TEST_CASE("FlatIndex: an empty index of a huge dimension loads and can be searched for nothing", "[flat][hostile]") {
  const std::uint64_t dim = std::uint64_t{1} << (sizeof(std::size_t) == 8 ? 40U : 29U);
  const Bytes payload = Bytes().u64(dim).u8(1).u64(0);
  const FlatIndex index = index_from(payload);
  CHECK(index.dim() == dim);
  CHECK(index.size() == 0);
  CHECK(payload_of(index) == payload.get());
  require_kind(IndexErrorKind::dimension_mismatch, [&] { return index.search(std::vector<float>(1)); });
}

TEST_CASE("FlatIndex: every metric tag over 4 in a payload is invalid_metric", "[flat][hostile]") {
  for (unsigned tag = 5; tag <= 255; ++tag) {
    require_refused(PersistErrorKind::invalid_metric, Bytes().u64(1).u8(tag).u64(0));
  }
}

TEST_CASE("FlatIndex: two rows of the same identifier in a payload are invalid_payload", "[flat][hostile]") {
  const auto two_rows = [](const Bytes& first, const Bytes& second) {
    return Bytes().u64(1).u8(0).u64(2).append(first).append(second).f32(1).f32(2).u8(0).u8(0);
  };
  const Bytes one = Bytes().u8(0).u64(1);
  const Bytes two = Bytes().u8(0).u64(2);
  const Bytes text = Bytes().u8(1).u64(1).text("1");
  const Bytes empty = Bytes().u8(1).u64(0);
  require_refused(PersistErrorKind::invalid_payload, two_rows(one, one));
  require_refused(PersistErrorKind::invalid_payload, two_rows(text, text));
  require_refused(PersistErrorKind::invalid_payload, two_rows(empty, empty));
  CHECK(index_from(two_rows(one, two)).size() == 2);
  CHECK(index_from(two_rows(one, text)).size() == 2);
  CHECK(index_from(two_rows(text, empty)).contains(VectorId::from_stored_bytes("")));
}

TEST_CASE("FlatIndex: an unknown kind of identifier or flag of metadata is invalid_payload", "[flat][hostile]") {
  const auto one_row = [](unsigned id_kind, unsigned metadata_flag) {
    return Bytes().u64(1).u8(0).u64(1).u8(id_kind).u64(0).f32(1).u8(metadata_flag).u32(0);
  };
  require_refused(PersistErrorKind::invalid_payload, one_row(2, 1));
  require_refused(PersistErrorKind::invalid_payload, one_row(0, 2));
  CHECK(index_from(one_row(0, 1)).size() == 1);
}

// ---- Against a model -----------------------------------------------------------------------------------------------

#ifndef TEST_WITHOUT_RAPIDCHECK

namespace {

// What is done to an index and to the plain list of rows that it is compared with.
struct Step {
  enum class Action : std::uint8_t { insert, erase, search, save_and_load } action = Action::insert;
  std::uint8_t id = 0;
  std::uint8_t value = 0;
};

std::ostream& operator<<(std::ostream& stream, const Step& step) {
  constexpr const char* names[] = {"insert", "erase", "search", "save and load"};
  return stream << names[static_cast<int>(step.action)] << ' ' << int{step.id} << ' ' << int{step.value};
}

rc::Gen<Step> any_step() {
  using Action = Step::Action;
  return rc::gen::build<Step>(
      rc::gen::set(&Step::action,
                   rc::gen::weightedElement<Action>(
                       {{8, Action::insert}, {7, Action::erase}, {2, Action::search}, {1, Action::save_and_load}})),
      rc::gen::set(&Step::id, rc::gen::inRange<std::uint8_t>(0, 24)),
      rc::gen::set(&Step::value, rc::gen::inRange<std::uint8_t>(0, 6)));
}

class Model {
 public:
  explicit Model(DistanceMetric metric) : index_(2, metric) {}

  void take(const Step& step) {
    const VectorId id = iqdb_test::sample_id(step.id);
    const std::vector<float> vector = {static_cast<float>(step.value) - 3.0F, 1.0F};
    const auto known = std::ranges::find(rows_, id, &SampleRow::id);
    switch (step.action) {
      case Step::Action::insert: {
        Random random(step.value);
        const auto metadata = iqdb_test::sample_metadata(step.value, random);
        if (known == rows_.end()) {
          index_.insert(id, std::span<const float>(vector), metadata);
          rows_.push_back({id, vector, metadata});
        } else {
          RC_ASSERT_THROWS_AS(index_.insert(id, std::span<const float>(vector), metadata), iqdb::IndexError);
        }
        break;
      }
      case Step::Action::erase:
        if (known == rows_.end()) {
          RC_ASSERT_THROWS_AS(index_.erase(id), iqdb::IndexError);
        } else {
          index_.erase(id);
          rows_.erase(known);
        }
        break;
      case Step::Action::search:
        search(vector, step.id);
        break;
      case Step::Action::save_and_load: {
        const auto payload = payload_of(index_);
        Reader reader(payload);
        index_ = FlatIndex::load_from(reader);
        RC_ASSERT(reader.remaining() == 0U);
        break;
      }
    }
    RC_ASSERT(index_.size() == rows_.size());
    RC_ASSERT(std::ranges::equal(rows_of(index_), rows_, iqdb_test::same_row));
  }

 private:
  void search(const std::vector<float>& query, std::size_t k) {
    std::vector<std::pair<double, std::size_t>> expected;
    for (std::size_t row = 0; row < rows_.size(); ++row) {
      expected.emplace_back(plain_distance(index_.metric(), rows_[row].vector, query), row);
    }
    std::ranges::sort(expected);  // by distance, and by insertion among equals
    const auto hits = index_.search(query, {.k = k});
    RC_ASSERT(hits.size() == std::min(k, rows_.size()));
    for (std::size_t rank = 0; rank < hits.size(); ++rank) {
      const SampleRow& row = rows_[expected[rank].second];
      RC_ASSERT(hits[rank].id == row.id);
      RC_ASSERT(static_cast<double>(hits[rank].distance) == expected[rank].first);
      RC_ASSERT(iqdb_test::same_metadata(hits[rank].metadata, row.metadata));
    }
  }

  FlatIndex index_;
  std::vector<SampleRow> rows_;
};

}  // namespace

TEST_CASE("FlatIndex: behaves as a plain list of rows whatever is done to it", "[flat][model]") {
  // Of vectors of small integers these metrics give exact distances, so that ties are ties.
  CHECK(rc::check("any steps leave the index and the list alike", [] {
    const auto metric = *rc::gen::element(DistanceMetric::manhattan, DistanceMetric::hamming,
                                          DistanceMetric::dot_product, DistanceMetric::euclidean);
    const auto length = *rc::gen::inRange<std::size_t>(1, 120);
    const auto steps = *rc::gen::container<std::vector<Step>>(length, any_step());
    Model model(metric);
    for (const Step& step : steps) {
      model.take(step);
    }
  }));
}

#endif

TEST_CASE("FlatIndex: what earlier versions logged is replayed, though insert refuses it now", "[flat][wal]") {
  iqdb_test::require_earlier_logs_replayed([] { return FlatIndex(2, DistanceMetric::euclidean); }, false);
}
