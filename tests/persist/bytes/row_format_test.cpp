#include "iqdb/persist/bytes/row_format.hpp"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "support/bytes.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"
#include "support/sample_index.hpp"
#include "support/streams.hpp"

namespace {

using namespace std::string_literals;
using namespace std::string_view_literals;
using iqdb::IndexErrorKind;
using iqdb::Metadata;
using iqdb::Null;
using iqdb::PersistErrorKind;
using iqdb::Reader;
using iqdb::Value;
using iqdb::VectorId;
using iqdb::Writer;
using iqdb_test::Bytes;
using iqdb_test::hex;
using iqdb_test::require_kind;
using iqdb_test::written_by;

std::string id_bytes(const VectorId& id) {
  return hex(written_by([&](Writer& writer) { write_id(writer, id); }));
}

VectorId read_id(std::span<const std::byte> bytes) {
  Reader reader(bytes);
  VectorId id = iqdb::read_id(reader);
  CHECK(reader.remaining() == 0);
  return id;
}

std::string metadata_bytes(const std::optional<Metadata>& metadata) {
  return hex(written_by([&](Writer& writer) { iqdb::write_metadata(writer, metadata); }));
}

std::optional<Metadata> read_metadata(std::span<const std::byte> bytes) {
  Reader reader(bytes);
  auto metadata = iqdb::read_metadata(reader);
  CHECK(reader.remaining() == 0);
  return metadata;
}

// The bytes of a slot with the one entry "k", up to the entry's value.
Bytes slot_before_value() { return Bytes().u8(1).u32(1).u32(1).text("k"); }

// The value of an entry, of which the bytes are given.
Value read_value(const Bytes& value) {
  const auto metadata = read_metadata(slot_before_value().append(value));
  REQUIRE(metadata.has_value());
  REQUIRE(metadata->size() == 1);
  return metadata->at("k");
}

void require_refused(PersistErrorKind kind, const Bytes& slot) {
  CAPTURE(hex(slot));
  require_kind(kind, [&] { return read_metadata(slot); });
}

const Metadata every_type = {
    {"", Null{}}, {"bool", true}, {"float", -2.5}, {"integer", std::int64_t{-2}}, {"string", "Wert \xF0\x9F\x99\x82"}};

}  // namespace

TEST_CASE("write_id: an integer is its kind and 8 bytes", "[row_format]") {
  CHECK(id_bytes(0) == "00 00 00 00 00 00 00 00 00");
  CHECK(id_bytes(0x0102030405060708) == "00 08 07 06 05 04 03 02 01");
  CHECK(id_bytes(~std::uint64_t{0}) == "00 ff ff ff ff ff ff ff ff");
}

TEST_CASE("write_id: bytes are their kind and length and themselves", "[row_format]") {
  CHECK(id_bytes(VectorId::from_bytes("a\0\xFF"sv)) == "01 03 00 00 00 00 00 00 00 61 00 ff");
  CHECK(id_bytes(VectorId::from_stored_bytes("")) == "01 00 00 00 00 00 00 00 00");
}

TEST_CASE("read_id: reads both kinds", "[row_format]") {
  CHECK(read_id(Bytes().u8(0).u64(0x0102030405060708)) == 0x0102030405060708);
  CHECK(read_id(Bytes().u8(0).u64(~std::uint64_t{0})) == ~std::uint64_t{0});
  CHECK(read_id(Bytes().u8(1).u64(3).text("a\0\xFF"sv)) == VectorId::from_bytes("a\0\xFF"sv));
}

TEST_CASE("read_id: reads bytes of length zero which a file may hold", "[row_format]") {
  const VectorId id = read_id(Bytes().u8(1).u64(0));
  CHECK_FALSE(id.is_integer());
  CHECK(id.bytes().empty());
}

TEST_CASE("read_id: every other kind is invalid_payload", "[row_format]") {
  for (unsigned kind = 2; kind <= 255; ++kind) {
    CAPTURE(kind);
    require_kind(PersistErrorKind::invalid_payload, [&] { return read_id(Bytes().u8(kind).u64(0)); });
  }
}

TEST_CASE("read_id: cut at any byte it is truncated_payload", "[row_format]") {
  for (const auto& whole : {Bytes().u8(0).u64(7).get(), Bytes().u8(1).u64(3).text("abc").get()}) {
    for (std::size_t size = 0; size < whole.size(); ++size) {
      CAPTURE(size);
      require_kind(PersistErrorKind::truncated_payload, [&] { return read_id(std::span(whole).first(size)); });
    }
  }
}

TEST_CASE("read_id: a length of bytes that are not there is truncated_payload", "[row_format]") {
  for (const std::uint64_t length : {std::uint64_t{4}, std::uint64_t{1} << 63U, ~std::uint64_t{0}}) {
    CAPTURE(length);
    require_kind(PersistErrorKind::truncated_payload, [&] { return read_id(Bytes().u8(1).u64(length).text("abc")); });
  }
}

TEST_CASE("smallest_id_bytes: is what the shortest identifiers take", "[row_format]") {
  const auto size_of = [](const VectorId& id) {
    return written_by([&](Writer& writer) { write_id(writer, id); }).size();
  };
  CHECK(size_of(7) == iqdb::smallest_id_bytes);
  CHECK(size_of(VectorId::from_stored_bytes("")) == iqdb::smallest_id_bytes);
}

TEST_CASE("smallest_metadata_bytes: is what no metadata takes", "[row_format]") {
  CHECK(written_by([](Writer& writer) { iqdb::write_metadata(writer, {}); }).size() == iqdb::smallest_metadata_bytes);
}

TEST_CASE("write_metadata: none is a zero and no entries are a one with their count", "[row_format]") {
  CHECK(metadata_bytes(std::nullopt) == "00");
  CHECK(metadata_bytes(Metadata{}) == "01 00 00 00 00");
}

TEST_CASE("write_metadata: the bytes of each type of value", "[row_format]") {
  const std::string before = "01 01 00 00 00 01 00 00 00 6b ";
  CHECK(metadata_bytes(Metadata{{"k", "ab"}}) == before + "00 02 00 00 00 61 62");
  CHECK(metadata_bytes(Metadata{{"k", ""}}) == before + "00 00 00 00 00");
  CHECK(metadata_bytes(Metadata{{"k", std::int64_t{-2}}}) == before + "01 fe ff ff ff ff ff ff ff");
  CHECK(metadata_bytes(Metadata{{"k", -2.5}}) == before + "02 00 00 00 00 00 00 04 c0");
  CHECK(metadata_bytes(Metadata{{"k", true}}) == before + "03 01");
  CHECK(metadata_bytes(Metadata{{"k", false}}) == before + "03 00");
  CHECK(metadata_bytes(Metadata{{"k", Null{}}}) == before + "04");
}

TEST_CASE("write_metadata: entries stand in ascending byte order of their keys", "[row_format]") {
  const Metadata metadata = {{"\xC3\xA9", Null{}}, {"b", Null{}}, {"", Null{}}, {"aa", Null{}}};
  CHECK(metadata_bytes(metadata) ==
        "01 04 00 00 00 "
        "00 00 00 00 04 "
        "02 00 00 00 61 61 04 "
        "01 00 00 00 62 04 "
        "02 00 00 00 c3 a9 04");
}

TEST_CASE("read_metadata: reads none and no entries as different things", "[row_format]") {
  CHECK_FALSE(read_metadata(Bytes().u8(0)).has_value());
  const auto no_entries = read_metadata(Bytes().u8(1).u32(0));
  REQUIRE(no_entries.has_value());
  CHECK(no_entries->empty());
}

TEST_CASE("read_metadata: reads each type of value", "[row_format]") {
  CHECK(read_value(Bytes().u8(0).u32(2).text("ab")) == Value("ab"));
  CHECK(read_value(Bytes().u8(0).u32(3).text("\0\n\0"sv)) == Value("\0\n\0"s));
  CHECK(read_value(Bytes().u8(1).i64(-2)) == Value(std::int64_t{-2}));
  CHECK(read_value(Bytes().u8(1).i64(std::numeric_limits<std::int64_t>::min())) ==
        Value(std::numeric_limits<std::int64_t>::min()));
  CHECK(read_value(Bytes().u8(2).f64(-2.5)) == Value(-2.5));
  CHECK(read_value(Bytes().u8(3).u8(0)) == Value(false));
  CHECK(read_value(Bytes().u8(3).u8(1)) == Value(true));
  CHECK(read_value(Bytes().u8(4)) == Value(Null{}));
}

TEST_CASE("read_metadata: a float keeps its bits when it is read and copied and written", "[row_format]") {
  for (const std::uint64_t bits :
       std::vector<std::uint64_t>{0x8000000000000000, 0x7FF00000DEADBEEF, 0xFFF8000000000001, 1}) {
    const auto metadata = read_metadata(slot_before_value().append(Bytes().u8(2).u64(bits)));
    // Not as numbers: where an x87 copies floats, it makes a signalling NaN a quiet one.
    CHECK(std::memcmp(&std::get<double>(metadata->at("k")), &bits, sizeof(bits)) == 0);
    CHECK(metadata_bytes(iqdb::copied(metadata)) == hex(slot_before_value().append(Bytes().u8(2).u64(bits))));
  }
}

TEST_CASE("read_metadata: takes entries in any order", "[row_format]") {
  const auto metadata = read_metadata(Bytes().u8(1).u32(2).u32(1).text("z").u8(3).u8(1).u32(1).text("a").u8(3).u8(0));
  CHECK(metadata == Metadata{{"a", false}, {"z", true}});
}

TEST_CASE("read_metadata: of two entries with the same key the last counts", "[row_format]") {
  const auto metadata =
      read_metadata(Bytes().u8(1).u32(2).u32(1).text("k").u8(3).u8(0).u32(1).text("k").u8(0).u32(1).text("x"));
  CHECK(metadata == Metadata{{"k", "x"}});
}

TEST_CASE("read_metadata: a flag over 1 is invalid_payload", "[row_format]") {
  for (unsigned flag = 2; flag <= 255; ++flag) {
    require_refused(PersistErrorKind::invalid_payload, Bytes().u8(flag).u32(0));
  }
}

TEST_CASE("read_metadata: a value's tag over 4 is invalid_payload", "[row_format]") {
  for (unsigned tag = 5; tag <= 255; ++tag) {
    require_refused(PersistErrorKind::invalid_payload, slot_before_value().u8(tag).u64(0));
  }
}

TEST_CASE("read_metadata: a bool over 1 is invalid_payload", "[row_format]") {
  for (unsigned truth = 2; truth <= 255; ++truth) {
    require_refused(PersistErrorKind::invalid_payload, slot_before_value().u8(3).u8(truth));
  }
}

TEST_CASE("read_metadata: a key or a string that is not UTF-8 is invalid_payload", "[row_format]") {
  require_refused(PersistErrorKind::invalid_payload, Bytes().u8(1).u32(1).u32(1).text("\xFF").u8(4));
  require_refused(PersistErrorKind::invalid_payload, Bytes().u8(1).u32(1).u32(3).text("\xED\xA0\x80").u8(4));
  require_refused(PersistErrorKind::invalid_payload, slot_before_value().u8(0).u32(1).text("\xFF"));
  require_refused(PersistErrorKind::invalid_payload, slot_before_value().u8(0).u32(2).text("\xC0\x80"));
}

TEST_CASE("read_metadata: more entries or longer texts than there is are truncated_payload", "[row_format]") {
  require_refused(PersistErrorKind::truncated_payload, Bytes().u8(1).u32(~0U));
  require_refused(PersistErrorKind::truncated_payload, Bytes().u8(1).u32(2).u32(1).text("k").u8(4));
  require_refused(PersistErrorKind::truncated_payload, Bytes().u8(1).u32(1).u32(~0U).text("k").u8(4));
  require_refused(PersistErrorKind::truncated_payload, slot_before_value().u8(0).u32(~0U).text("abc"));
}

TEST_CASE("read_metadata: cut at any byte it is truncated_payload", "[row_format]") {
  const auto whole = written_by([](Writer& writer) { iqdb::write_metadata(writer, every_type); });
  for (std::size_t size = 0; size < whole.size(); ++size) {
    CAPTURE(size);
    require_kind(PersistErrorKind::truncated_payload, [&] { return read_metadata(std::span(whole).first(size)); });
  }
}

TEST_CASE("read_metadata: reads what write_metadata wrote", "[row_format]") {
  const auto bytes = written_by([](Writer& writer) { iqdb::write_metadata(writer, every_type); });
  CHECK(read_metadata(bytes) == every_type);
}

TEST_CASE("read_metadata: reads what write_metadata wrote of random metadata", "[row_format]") {
  const auto seed = GENERATE(1U, 2U, 3U);
  iqdb_test::Random random(seed);
  for (std::uint64_t number = 0; number < 200; ++number) {
    CAPTURE(seed, number);
    const auto metadata = iqdb_test::sample_metadata(number, random);
    const auto bytes = written_by([&](Writer& writer) { iqdb::write_metadata(writer, metadata); });
    CHECK(iqdb_test::same_metadata(read_metadata(bytes), metadata));
  }
}

TEST_CASE("check_storable: takes what can be stored", "[row_format]") {
  CHECK_NOTHROW(iqdb::check_storable(std::nullopt));
  CHECK_NOTHROW(iqdb::check_storable(Metadata{}));
  CHECK_NOTHROW(iqdb::check_storable(every_type));
}

TEST_CASE("require_storable_count: takes what fits in 32 bits and refuses one more", "[row_format]") {
  CHECK_NOTHROW(iqdb::row_format::require_storable_count(0xFFFF'FFFF, "the metadata key", "bytes"));
  const auto error = require_kind(IndexErrorKind::resource_limit, [] {
    iqdb::row_format::require_storable_count(0x1'0000'0000, "the metadata key", "bytes");
  });
  CHECK(iqdb_test::mentions(error, "the metadata key has 4294967296 bytes"));
}

TEST_CASE("check_storable: refuses a key or a string that is not UTF-8", "[row_format]") {
  require_kind(IndexErrorKind::invalid_config, [] { iqdb::check_storable(Metadata{{"\xFF", 1}}); });
  require_kind(IndexErrorKind::invalid_config, [] { iqdb::check_storable(Metadata{{"k", "\xFF"}}); });
  require_kind(IndexErrorKind::invalid_config, [] {
    iqdb::check_storable(Metadata{{"a", 1}, {"k", "fine"}, {"z", "\xC3"}});
  });
}

TEST_CASE("metric_from_tag: gives the five metrics and throws invalid_metric for every other tag", "[row_format]") {
  for (unsigned tag = 0; tag <= 255; ++tag) {
    CAPTURE(tag);
    if (tag < 5) {
      CHECK(static_cast<unsigned>(iqdb::metric_from_tag(static_cast<std::uint8_t>(tag))) == tag);
    } else {
      require_kind(PersistErrorKind::invalid_metric,
                   [&] { return iqdb::metric_from_tag(static_cast<std::uint8_t>(tag)); });
    }
  }
}
