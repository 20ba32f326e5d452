#include "iqdb/persist/codec/compression_scheme.hpp"

#include <cstddef>
#include <span>

#include "support/bytes.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"
#include "support/streams.hpp"

namespace {

using iqdb::CompressionScheme;
using iqdb::PersistErrorKind;
using iqdb::Reader;
using iqdb::RegionPreamble;
using iqdb_test::Bytes;
using iqdb_test::hex;
using iqdb_test::require_kind;
using iqdb_test::written_by;

}  // namespace

TEST_CASE("to_string: names the four schemes and calls every other unknown", "[compression_scheme]") {
  CHECK(to_string(CompressionScheme::none) == "none");
  CHECK(to_string(CompressionScheme::zstd) == "zstd");
  CHECK(to_string(CompressionScheme::lz4_block) == "lz4_block");
  CHECK(to_string(CompressionScheme::lz4_frames) == "lz4_frames");
  CHECK(to_string(static_cast<CompressionScheme>(4)) == "unknown");
}

TEST_CASE("write_preamble: the bytes of each scheme", "[compression_scheme]") {
  const auto bytes_of = [](CompressionScheme scheme) {
    return hex(written_by([&](iqdb::Writer& writer) {
      write_preamble(writer, {.scheme = scheme, .payload_bytes = 0x0102030405060708});
    }));
  };
  CHECK(bytes_of(CompressionScheme::none) == "00 08 07 06 05 04 03 02 01");
  CHECK(bytes_of(CompressionScheme::zstd) == "01 08 07 06 05 04 03 02 01");
  CHECK(bytes_of(CompressionScheme::lz4_block) == "02 08 07 06 05 04 03 02 01");
  CHECK(bytes_of(CompressionScheme::lz4_frames) == "03 08 07 06 05 04 03 02 01");
}

TEST_CASE("read_preamble: reads the four schemes and refuses every other as invalid_payload", "[compression_scheme]") {
  for (unsigned tag = 0; tag <= 255; ++tag) {
    CAPTURE(tag);
    const auto bytes = Bytes().u8(tag).u64(99).get();
    Reader reader(bytes);
    if (tag < 4) {
      const RegionPreamble preamble = read_preamble(reader);
      CHECK(static_cast<unsigned>(preamble.scheme) == tag);
      CHECK(preamble.payload_bytes == 99);
    } else {
      require_kind(PersistErrorKind::invalid_payload, [&] { return read_preamble(reader); });
    }
  }
}

TEST_CASE("read_preamble: cut at any byte it is truncated_payload whatever the scheme", "[compression_scheme]") {
  const auto bytes = Bytes().u8(200).u64(99).get();
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    CAPTURE(size);
    const auto part = std::span(bytes).first(size);
    Reader reader(part);
    require_kind(PersistErrorKind::truncated_payload, [&] { return read_preamble(reader); });
  }
}
