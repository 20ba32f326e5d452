// CoreIndex: files of the Rust crate's application come back byte for byte, its logs mean what they meant, and what is
// damaged is refused.
#include "iqdb/index/core.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"
#include "iqdb/persist/testing/conformance.hpp"
#include "iqdb/persist/wal/frame_body.hpp"
#include "support/adapters.hpp"
#include "support/allocations.hpp"
#include "support/bytes.hpp"
#include "support/catch.hpp"
#include "support/earlier_index.hpp"
#include "support/expect_error.hpp"
#include "support/files.hpp"
#include "support/golden_dump.hpp"
#include "support/temporary_directory.hpp"

namespace {

namespace core_tests {

using iqdb::CoreIndex;
using iqdb::CoreKind;
using iqdb::DistanceMetric;
using iqdb::IndexErrorKind;
using iqdb::Metadata;
using iqdb::PersistErrorKind;
using iqdb::VectorId;
using iqdb_test::Bytes;
using iqdb_test::read_bytes;
using iqdb_test::require_kind;
using CoreDb = iqdb::PersistedIndex<CoreIndex>;

constexpr std::size_t databases = 30;

std::filesystem::path golden_file(std::size_t number, const std::string& ending) {
  return iqdb_test::golden_directory() / "core" / ("c" + std::to_string(number) + ending);
}

// The index in one of the crate's snapshots, loaded without its log; nothing if this build lacks the codec.
std::optional<CoreIndex> in_golden(std::size_t number, const std::string& ending) {
  const iqdb_test::TemporaryDirectory directory;
  const std::filesystem::path path = directory.path() / "copy.iqdb";
  iqdb_test::write_bytes(path, read_bytes(golden_file(number, ending)));
  if (iqdb_test::codec_is_missing(read_bytes(path))) {
    return std::nullopt;
  }
  return CoreDb::load({.path = path}).index();
}

// Makes the mutations of a version-1 log.
void apply_log(CoreIndex& index, const std::vector<std::byte>& log) {
  constexpr std::size_t header_bytes = 12;
  constexpr std::size_t frame_head_bytes = 8;
  std::size_t at = header_bytes;
  while (at + frame_head_bytes <= log.size()) {
    const auto length = static_cast<std::size_t>(iqdb_test::integer_at(log, at, 4));
    at += frame_head_bytes;
    if (length == 0 || at + length > log.size()) {
      return;
    }
    iqdb::FrameBody body(std::span<const std::byte>(log).subspan(at, length), 1);
    iqdb::Mutation mutation;
    body.read_next(mutation);
    body.require_end();
    if (mutation.op == iqdb::FrameOp::insert) {
      index.insert(mutation.id, std::span<const float>(mutation.vector), mutation.metadata);
    } else {
      index.erase(mutation.id);
    }
    at += length;
  }
}

std::vector<VectorId> ids_in_order(const CoreIndex& index) {
  std::vector<VectorId> ids;
  index.for_each([&](const VectorId& id, auto, const auto&) { ids.push_back(id); });
  return ids;
}

CoreIndex of_numbers(std::uint64_t count) {
  CoreIndex index(1, DistanceMetric::euclidean);
  for (std::uint64_t number = 0; number < count; ++number) {
    index.insert(number, {static_cast<float>(number)}, {{"number", static_cast<std::int64_t>(number)}});
  }
  return index;
}

// A payload of one row, with the settings of its kind in between.
Bytes payload_with(const Bytes& kind_and_settings) {
  return Bytes()
      .text("IQDC")
      .u32(1)
      .append(kind_and_settings)
      .u64(2)
      .u8(2)
      .u64(1)
      .u8(1)
      .u32(2)
      .text("id")
      .f32(1.5F)
      .f32(-2.0F)
      .u8(0);
}

Bytes ivf_settings(unsigned quantizes, unsigned has_parts) {
  Bytes settings;
  settings.u8(2).u64(10).u64(3).u64(1000).u8(quantizes).u8(has_parts);
  if (has_parts == 1) {
    settings.u64(8);
  }
  settings.u32(4).u64(42);
  return settings;
}

CoreIndex core_from(std::span<const std::byte> payload) {
  iqdb::Reader reader(payload);
  CoreIndex index = CoreIndex::load_from(reader);
  CHECK(reader.remaining() == 0);
  return index;
}

void require_core_refused(std::span<const std::byte> payload,
                          PersistErrorKind kind = PersistErrorKind::invalid_payload) {
  require_kind(kind, [&] { return core_from(payload); });
}

}  // namespace core_tests

}  // namespace

// ---- The crate's files -----------------------------------------------------------------------------------------------

TEST_CASE("CoreIndex: an uncompressed snapshot of the crate is written again byte for byte", "[core][golden]") {
  using namespace core_tests;
  std::size_t compared = 0;
  for (std::size_t number = 0; number < databases; number += 3) {
    for (const std::string ending : {".iqdb", ".after.iqdb"}) {
      CAPTURE(number, ending);
      const iqdb_test::TemporaryDirectory directory;
      const std::filesystem::path path = directory.path() / "copy.iqdb";
      const auto original = read_bytes(golden_file(number, ending));
      iqdb_test::write_bytes(path, original);
      CoreDb db = CoreDb::load({.path = path, .compression = iqdb::Compression::none()});
      db.save();
      CHECK(read_bytes(path) == original);
      ++compared;
    }
  }
  CHECK(compared == 20);
}

TEST_CASE("CoreIndex: a payload of the crate of any kind is written again byte for byte", "[core][golden]") {
  using namespace core_tests;
  for (std::size_t number = 0; number < databases; ++number) {
    CAPTURE(number);
    const auto index = in_golden(number, ".iqdb");
    if (!index) {
      continue;
    }
    CHECK(index->kind() == static_cast<CoreKind>(number % 3));
    const auto payload = iqdb_test::payload_of(*index);
    CHECK(iqdb_test::payload_of(core_from(payload)) == payload);
    if (index->size() > 0) {
      index->for_each([&](const VectorId& id, std::span<const float> vector, const auto&) {
        if (std::ranges::all_of(vector, [](float component) { return std::isfinite(component); })) {
          const auto hits = index->search(vector, {.k = index->size()});
          CHECK(std::ranges::find(hits, id, &iqdb::Hit::id) != hits.end());
        }
      });
    }
  }
}

TEST_CASE("CoreIndex: the mutations of the crate's logs make the databases that the crate made of them",
          "[core][golden]") {
  using namespace core_tests;
  for (std::size_t number = 0; number < databases; ++number) {
    CAPTURE(number);
    auto index = in_golden(number, ".iqdb");
    const auto after = in_golden(number, ".after.iqdb");
    if (!index || !after) {
      continue;
    }
    apply_log(*index, read_bytes(golden_file(number, ".iqdb.wal")));
    CHECK(iqdb_test::payload_of(*index) == iqdb_test::payload_of(*after));
  }
}

// ---- Mutations -------------------------------------------------------------------------------------------------------

TEST_CASE("CoreIndex: a new one is empty and of the kind flat", "[core]") {
  using namespace core_tests;
  const CoreIndex index(3, DistanceMetric::hamming);
  CHECK(CoreIndex::index_type == "iqdb-core");
  CHECK(index.size() == 0);
  CHECK(index.dim() == 3);
  CHECK(index.metric() == DistanceMetric::hamming);
  CHECK(index.kind() == CoreKind::flat);
  require_kind(IndexErrorKind::invalid_config, [] { return CoreIndex(0, DistanceMetric::cosine); });
  require_kind(IndexErrorKind::invalid_config,
               [] { return CoreIndex(static_cast<std::size_t>(std::uint64_t{1} << 63U), DistanceMetric::cosine); });
  require_kind(IndexErrorKind::invalid_metric, [] { return CoreIndex(1, static_cast<DistanceMetric>(5)); });
}

TEST_CASE("CoreIndex: an insert of a known identifier replaces its row in place", "[core]") {
  using namespace core_tests;
  CoreIndex index = of_numbers(4);
  index.insert(1, {7.0F});
  index.upsert(2, {8.0F}, {{"new", true}});
  CHECK(ids_in_order(index) == std::vector<VectorId>{0, 1, 2, 3});
  const auto hits = index.search({7.0F}, {.k = 2});
  CHECK(hits.at(0).id == 1);
  CHECK_FALSE(hits.at(0).metadata.has_value());
  CHECK(hits.at(1).id == 2);
  CHECK(hits.at(1).metadata == Metadata{{"new", true}});
  CHECK(index.size() == 4);
}

TEST_CASE("CoreIndex: an erase moves the last row into the gap", "[core]") {
  using namespace core_tests;
  CoreIndex index = of_numbers(5);
  index.erase(1);
  CHECK(ids_in_order(index) == std::vector<VectorId>{0, 4, 2, 3});
  index.erase(3);
  CHECK(ids_in_order(index) == std::vector<VectorId>{0, 4, 2});
  CHECK(index.search({4.0F}, {.k = 1}).at(0).id == 4);
  CHECK(index.search({4.0F}, {.k = 1}).at(0).metadata == Metadata{{"number", 4}});
  index.erase(4);
  CHECK(ids_in_order(index) == std::vector<VectorId>{0, 2});
  CHECK(index.search({2.0F}, {.k = 1}).at(0).distance == 0.0F);
  CHECK_FALSE(index.contains(4));
}

TEST_CASE("CoreIndex: an erase of an unknown identifier succeeds and changes nothing", "[core]") {
  using namespace core_tests;
  CoreIndex index = of_numbers(2);
  const auto before = iqdb_test::payload_of(index);
  CHECK_NOTHROW(index.check_erase(9));
  index.erase(9);
  CHECK(iqdb_test::payload_of(index) == before);
}

TEST_CASE("CoreIndex: a mutation that is refused is refused by its check too and changes nothing", "[core]") {
  using namespace core_tests;
  CoreIndex index = of_numbers(2);
  const auto before = iqdb_test::payload_of(index);
  const auto refused = [&](IndexErrorKind kind, const VectorId& id, const std::vector<float>& vector,
                           const std::optional<Metadata>& metadata) {
    require_kind(kind, [&] { index.check_insert(id, vector, metadata); });
    require_kind(kind, [&] { index.check_upsert(id, vector, metadata); });
    require_kind(kind, [&] { index.insert(id, std::span<const float>(vector), metadata); });
    require_kind(kind, [&] { index.upsert(id, std::span<const float>(vector), metadata); });
  };
  refused(IndexErrorKind::dimension_mismatch, 1, {1.0F, 2.0F}, std::nullopt);
  refused(IndexErrorKind::invalid_config, 1, {1.0F}, Metadata{{"\xFF", 1}});
  refused(IndexErrorKind::invalid_config, VectorId::from_stored_bytes(""), {1.0F}, std::nullopt);
  refused(IndexErrorKind::resource_limit, VectorId::from_bytes(std::string(iqdb::most_id_bytes + 1, 'x')), {1.0F},
          std::nullopt);
  require_kind(IndexErrorKind::dimension_mismatch, [&] {
    index.check_vector(std::vector<float>{1.0F, 2.0F}, std::nullopt);
  });
  require_kind(IndexErrorKind::dimension_mismatch, [&] { return index.search({1.0F, 2.0F}); });
  CHECK_NOTHROW(index.check_insert(1, std::vector<float>{1.0F}, std::nullopt));
  CHECK(iqdb_test::payload_of(index) == before);
}

// ---- The payload -----------------------------------------------------------------------------------------------------

TEST_CASE("CoreIndex: an index that was moved from refuses what it is given", "[core]") {
  iqdb_test::require_refusals_when_moved_from(core_tests::of_numbers(3));
}

TEST_CASE("CoreIndex: the bytes of a payload", "[core][payload]") {
  using namespace core_tests;
  CoreIndex index(2, DistanceMetric::euclidean);
  index.insert(VectorId::from_bytes("id"), {1.5F, -2.0F});
  CHECK(iqdb_test::hex(iqdb_test::payload_of(index)) == iqdb_test::hex(payload_with(Bytes().u8(0))));
}

TEST_CASE("CoreIndex: the settings of every kind are kept as they are", "[core][payload]") {
  using namespace core_tests;
  const Bytes hnsw = Bytes().u8(1).u64(16).u64(200).u64(64).u64(3).u64(~std::uint64_t{0});
  for (const Bytes& settings : {Bytes().u8(0), hnsw, ivf_settings(0, 0), ivf_settings(1, 1), ivf_settings(1, 0)}) {
    const auto payload = payload_with(settings);
    CoreIndex index = core_from(payload);
    CHECK(iqdb_test::hex(iqdb_test::payload_of(index)) == iqdb_test::hex(payload));
    index.insert(7, {1.0F, 2.0F});
    index.erase(7);
    CHECK(iqdb_test::hex(iqdb_test::payload_of(index)) == iqdb_test::hex(payload));
  }
}

TEST_CASE("CoreIndex: what no writer makes is refused", "[core][hostile]") {
  using namespace core_tests;
  const auto row = [](const Bytes& id) {
    return Bytes().text("IQDC").u32(1).u8(0).u64(1).u8(2).u64(1).append(id).f32(1).u8(0);
  };
  CHECK(core_from(row(Bytes().u8(0).u64(5))).contains(5));
  require_core_refused(row(Bytes().u8(1).u32(0)));
  require_core_refused(row(Bytes().u8(2).u64(5)));
  require_core_refused(Bytes().text("IQDD").u32(1).u8(0).u64(1).u8(2).u64(0));
  require_core_refused(Bytes().text("IQDC").u32(2).u8(0).u64(1).u8(2).u64(0));
  require_core_refused(Bytes().text("IQDC").u32(1).u8(3).u64(1).u8(2).u64(0));
  require_core_refused(Bytes().text("IQDC").u32(1).u8(0).u64(0).u8(2).u64(0));
  require_core_refused(Bytes().text("IQDC").u32(1).u8(0).u64(~std::uint64_t{0}).u8(2).u64(0));
  require_core_refused(Bytes().text("IQDC").u32(1).u8(0).u64(1).u8(5).u64(0), PersistErrorKind::invalid_metric);
  require_core_refused(payload_with(ivf_settings(2, 0)));
  require_core_refused(payload_with(ivf_settings(0, 2)));
  const Bytes one = Bytes().u8(0).u64(5).f32(1).u8(0);
  require_core_refused(Bytes().text("IQDC").u32(1).u8(0).u64(1).u8(2).u64(2).append(one).append(one));
}

TEST_CASE("CoreIndex: a payload cut at any byte or with any bit flipped is refused or does no harm",
          "[core][hostile]") {
  using namespace core_tests;
  for (const Bytes& settings : {Bytes().u8(0), ivf_settings(1, 1)}) {
    CoreIndex index = core_from(payload_with(settings));
    index.insert(3, {1.0F, 2.0F}, {{"k", "v"}});
    const auto payload = iqdb_test::payload_of(index);
    iqdb_test::require_truncations_refused<CoreIndex>(payload, 2);
    CHECK(iqdb_test::flip_every_bit<CoreIndex>(payload, 2) > 100);
  }
}

TEST_CASE("CoreIndex: a count or dimension that the payload cannot hold is refused and costs nothing",
          "[core][hostile]") {
  using namespace core_tests;
  for (const std::uint64_t huge :
       {std::uint64_t{1} << 31U, std::uint64_t{1} << 40U, std::uint64_t{1} << 62U, ~std::uint64_t{0}}) {
    for (const auto& [dim, count] : std::vector<std::pair<std::uint64_t, std::uint64_t>>{{1, huge}, {huge, 1}}) {
      CAPTURE(dim, count);
      const auto payload =
          Bytes().text("IQDC").u32(1).u8(0).u64(dim).u8(2).u64(count).append(std::vector<std::byte>(1000)).get();
      const auto allocated = iqdb_test::allocated_by([&] {
        iqdb::Reader reader(payload);
        CHECK_THROWS_AS(CoreIndex::load_from(reader), iqdb::PersistError);
      });
      CHECK(allocated.largest < 3'000);
    }
  }
}

TEST_CASE("CoreIndex: keeps the promises of a durable index", "[core]") {
  using namespace core_tests;
  iqdb::testing::ConformanceReport report;
  static_cast<void>(iqdb_test::allocated_by([&report] {
    report = iqdb::testing::check_persistable([] { return CoreIndex(3, DistanceMetric::euclidean); },
                                              {.sizes = {0, 1, 7}, .steps = 100, .lives = 1, .allocated_bytes = [] {
                                                 return iqdb_test::last_allocations().total;
                                               }});
  }));
  CHECK(report.metadata_seen);
  CHECK(report.upserts > 0);
}

TEST_CASE("CoreIndex: what the crate logged is replayed, though insert refuses it", "[core][wal]") {
  iqdb_test::require_earlier_logs_replayed([] { return iqdb::CoreIndex(2, iqdb::DistanceMetric::euclidean); }, false);
}
