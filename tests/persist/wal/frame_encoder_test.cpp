// Frames as they are encoded: header, checksum and body, whatever the size of the body.
#include "iqdb/persist/wal/frame_encoder.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "iqdb/persist/wal/frame_body.hpp"
#include "support/allocations.hpp"
#include "support/bytes.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"
#include "support/raw_log.hpp"

namespace {

using iqdb::FrameEncoder;
using iqdb::Metadata;
using iqdb::PersistErrorKind;
using iqdb::Writer;
using iqdb_test::Bytes;
using iqdb_test::ByteVector;
using iqdb_test::crc32_of;
using iqdb_test::hex;
using iqdb_test::require_kind;

}  // namespace

TEST_CASE("A frame is length and checksum and LSN and durable and body", "[frame_encoder]") {
  FrameEncoder encoder;
  iqdb::write_erase(encoder.begin(), 5);
  const auto frame = encoder.finish(0xA1A2A3A4A5A6A7A8, 77, 640);
  const ByteVector body = Bytes().u8(2).u8(0).u64(5);
  const ByteVector checked = Bytes().u64(0xA1A2A3A4A5A6A7A8).u32(10).u64(77).u64(640).append(body);
  CHECK(hex(frame) == hex(Bytes().u32(10).u32(crc32_of(checked)).u64(77).u64(640).append(body)));
}

TEST_CASE("A frame of every size around the encoder's buffer is whole", "[frame_encoder]") {
  FrameEncoder encoder;
  for (const std::size_t size : {1U, 4000U, 4095U, 4096U, 4097U, 8192U, 100000U, 17U}) {
    CAPTURE(size);
    const ByteVector body(size, std::byte{0xC3});
    encoder.begin().write(body);
    CHECK(hex(encoder.finish(3, 4, 5)) == hex(iqdb_test::raw_frame(3, 4, 5, body)));
  }
}

TEST_CASE("What is left of a body whose encoding failed is not in the next frame", "[frame_encoder]") {
  FrameEncoder encoder;
  iqdb::write_erase(encoder.begin(), 1);
  iqdb::write_erase(encoder.begin(), 2);
  CHECK(hex(encoder.finish(3, 4, 5)) == hex(iqdb_test::raw_frame(3, 4, 5, iqdb_test::erase_body(2))));
}

TEST_CASE("Frames that stand behind one another are encoded into one piece", "[frame_encoder]") {
  FrameEncoder encoder;
  for (int round = 0; round < 2; ++round) {
    iqdb::write_time(encoder.begin(), 1000);
    std::ignore = encoder.finish(3, 4, 5);
    iqdb::write_erase(encoder.begin(true), 2);
    const ByteVector time_body = Bytes().u8(9).u64(1000);
    CHECK(hex(encoder.finish(3, 4, 5)) == hex(iqdb_test::raw_frame(3, 4, 5, time_body)) + " " +
                                              hex(iqdb_test::raw_frame(3, 4, 5, iqdb_test::erase_body(2))));
  }
}

TEST_CASE("Encoding allocates nothing once a frame as large was encoded", "[frame_encoder]") {
  FrameEncoder encoder;
  const std::vector<float> vector(1000, 0.25F);
  const std::optional<Metadata> metadata = Metadata{{"key", std::string(3000, 'x')}};
  const iqdb::VectorId id = iqdb::VectorId::from_bytes(std::string(100, 'i'));
  const auto encode = [&] {
    iqdb::write_insert(encoder.begin(), id, vector, metadata);
    std::ignore = encoder.finish(1, 2, 3);
    iqdb::write_erase(encoder.begin(), id);
    std::ignore = encoder.finish(1, 3, 3);
  };
  encode();
  CHECK(iqdb_test::allocated_by([&] {
          for (int round = 0; round < 100; ++round) {
            encode();
          }
        }).count == 0);
}

TEST_CASE("A body of 256 MiB is a frame and one byte more is record_too_large", "[frame_encoder]") {
  FrameEncoder encoder;
  const ByteVector body(std::size_t{256} * 1024 * 1024);
  encoder.begin().write(body);
  CHECK(encoder.finish(1, 2, 3).size() == body.size() + 24);
  Writer& writer = encoder.begin();
  writer.write(body);
  writer.write_le(std::uint8_t{0});
  require_kind(PersistErrorKind::record_too_large, [&] { std::ignore = encoder.finish(1, 2, 3); });
  iqdb::write_close(encoder.begin());
  CHECK(hex(encoder.finish(3, 4, 5)) == hex(iqdb_test::raw_frame(3, 4, 5, iqdb_test::close_body())));
}
