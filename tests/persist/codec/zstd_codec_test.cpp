#include "iqdb/persist/codec/zstd_codec.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <vector>

#include "iqdb/persist/codec/compression.hpp"
#include "support/bytes.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"
#include "support/sample_index.hpp"
#include "support/streams.hpp"

// What any codec must do is pinned in compression_test.cpp; here is what frames and threads add.
#if IQDB_PERSIST_HAS_ZSTD

#include <zstd.h>

namespace {

using iqdb::CodingResources;
using iqdb::PersistErrorKind;
using iqdb_test::Bytes;
using iqdb_test::MemorySource;
using iqdb_test::Random;
using iqdb_test::require_kind;

using Payload = std::vector<std::byte>;

constexpr std::size_t frame_bytes = iqdb::coding::zstd_frame_bytes(3);
constexpr std::size_t batch_bytes = iqdb::coding::zstd_batch_bytes;

CodingResources with_helpers(unsigned threads) { return {.buffer_bytes = 4096, .helper_threads = threads}; }

// Compressible, and of no period.
Payload text(std::size_t size, std::uint32_t seed = 1) {
  Random random(seed);
  Payload payload(size);
  for (std::byte& each : payload) {
    each = static_cast<std::byte>('a' + random.below(4));
  }
  return payload;
}

Payload encoded(const Payload& payload, unsigned threads, int level = 3) {
  iqdb::MemorySink sink;
  iqdb::coding::ZstdEncoder encoder(sink, level, with_helpers(threads));
  encoder.write(payload);
  encoder.finish();
  return sink.bytes();
}

Payload decoded(const Payload& data, std::uint64_t payload_bytes, unsigned threads, std::size_t piece) {
  MemorySource source(data);
  iqdb::coding::ZstdDecoder decoder(source, payload_bytes, with_helpers(threads));
  Payload payload;
  Payload buffer(piece);
  while (const std::size_t count = decoder.read(buffer)) {
    payload.insert(payload.end(), buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(count));
  }
  decoder.finish();
  return payload;
}

// One frame, as a stream encoder makes it: it does not say how much it holds.
Payload frame_of_unknown_size(const Payload& payload) {
  const iqdb::coding::Owned<ZSTD_CCtx, &ZSTD_freeCCtx> context(ZSTD_createCCtx());
  REQUIRE(ZSTD_isError(ZSTD_CCtx_setParameter(context.get(), ZSTD_c_contentSizeFlag, 0)) == 0U);
  Payload data(ZSTD_compressBound(payload.size()));
  data.resize(ZSTD_compress2(context.get(), data.data(), data.size(), payload.data(), payload.size()));
  return data;
}

std::vector<std::uint64_t> sizes_of_frames(std::span<const std::byte> data) {
  std::vector<std::uint64_t> sizes;
  while (!data.empty()) {
    sizes.push_back(ZSTD_getFrameContentSize(data.data(), data.size()));
    data = data.subspan(ZSTD_findFrameCompressedSize(data.data(), data.size()));
  }
  return sizes;
}

}  // namespace

TEST_CASE("ZstdEncoder: a payload is cut into frames of one size that state it", "[zstd_codec]") {
  CHECK(sizes_of_frames(encoded(text(2 * frame_bytes + 5), 0)) ==
        std::vector<std::uint64_t>{frame_bytes, frame_bytes, 5});
  CHECK(sizes_of_frames(encoded(text(2 * frame_bytes), 2)) == std::vector<std::uint64_t>{frame_bytes, frame_bytes});
  CHECK(sizes_of_frames(encoded({}, 2)) == std::vector<std::uint64_t>{0});
}

TEST_CASE("ZstdEncoder: strong levels have larger frames", "[zstd_codec]") {
  const std::size_t large = iqdb::coding::zstd_frame_bytes(19);
  CHECK(large > frame_bytes);
  CHECK(sizes_of_frames(encoded(text(large + 1), 1, 19)) == std::vector<std::uint64_t>{large, 1});
}

TEST_CASE("ZstdEncoder: the data does not depend on the number of threads", "[zstd_codec]") {
  const Payload payload = text(2 * batch_bytes + frame_bytes + 1);
  const Payload alone = encoded(payload, 0);
  CHECK(encoded(payload, 1) == alone);
  CHECK(encoded(payload, 3) == alone);
  CHECK(encoded(payload, 100'000) == alone);
}

TEST_CASE("ZstdDecoder: several batches of frames come back whole in pieces of any size", "[zstd_codec]") {
  const Payload payload = text(2 * batch_bytes + frame_bytes + 1);
  const Payload data = encoded(payload, 3);
  for (const unsigned threads : {0U, 1U, 3U}) {
    for (const std::size_t piece : {std::size_t{100'000}, frame_bytes, batch_bytes, 4 * batch_bytes}) {
      CAPTURE(threads, piece);
      CHECK(decoded(data, payload.size(), threads, piece) == payload);
    }
  }
}

TEST_CASE("ZstdDecoder: a frame that does not state its size is decoded as well as those around it", "[zstd_codec]") {
  const Payload before = text(3 * frame_bytes, 1);
  const Payload between = text(frame_bytes / 2, 2);
  const Payload behind = text(3 * frame_bytes, 3);
  const Payload whole = Bytes().append(before).append(between).append(behind);
  const Payload data =
      Bytes().append(encoded(before, 0)).append(frame_of_unknown_size(between)).append(encoded(behind, 0));
  for (const unsigned threads : {0U, 3U}) {
    CAPTURE(threads);
    CHECK(decoded(data, whole.size(), threads, 100'000) == whole);
    CHECK(decoded(data, whole.size(), threads, whole.size()) == whole);
  }
}

TEST_CASE("ZstdDecoder: a frame larger than a batch is decoded", "[zstd_codec]") {
  // By so much that it would overwrite other things, were it put where a batch has its place; and so uniform that it is
  // read whole.
  Payload payload(8 * batch_bytes + 1);
  for (std::size_t at = 0; at < payload.size(); ++at) {
    payload[at] = static_cast<std::byte>(at / 1000 % 256);
  }
  Payload data(ZSTD_compressBound(payload.size()));
  data.resize(ZSTD_compress(data.data(), data.size(), payload.data(), payload.size(), 1));
  REQUIRE(sizes_of_frames(data) == std::vector<std::uint64_t>{payload.size()});
  CHECK(decoded(data, payload.size(), 3, 1'000'000) == payload);
}

TEST_CASE("ZstdDecoder: a frame that does not hold what it states is refused", "[zstd_codec]") {
  const Payload payload = text(3 * frame_bytes);
  const Payload data = encoded(payload, 0);
  const std::size_t first = ZSTD_findFrameCompressedSize(data.data(), data.size());
  for (const unsigned threads : {0U, 3U}) {
    int refused = 0;
    // In the middle of the second frame, far from any header.
    for (std::size_t at = first + 1000; at < first + 1100; ++at) {
      Payload damaged = data;
      damaged[at] ^= std::byte{0x10};
      CAPTURE(threads, at);
      try {
        // Frames have no checksum of their own: what zstd does not notice must still be of the right size.
        const std::size_t size = decoded(damaged, payload.size(), threads, payload.size()).size();
        CHECK(size == payload.size());
      } catch (const iqdb::PersistError& error) {
        CHECK(error.kind() == PersistErrorKind::compression);
        ++refused;
      }
    }
    CHECK(refused > 0);
  }
}

TEST_CASE("ZstdDecoder: frames beyond the stated length are refused", "[zstd_codec]") {
  const Payload payload = text(3 * frame_bytes);
  const Payload data = encoded(payload, 0);
  for (const unsigned threads : {0U, 3U}) {
    for (const std::uint64_t stated : {std::uint64_t{2 * frame_bytes}, std::uint64_t{3 * frame_bytes - 1}}) {
      CAPTURE(threads, stated);
      require_kind(PersistErrorKind::compression, [&] { return decoded(data, stated, threads, payload.size()); });
    }
    require_kind(PersistErrorKind::compression,
                 [&] { return decoded(data, payload.size() + 1, threads, payload.size()); });
  }
}

TEST_CASE("ZstdDecoder: many empty frames are passed over", "[zstd_codec]") {
  const Payload empty = encoded({}, 0);
  Bytes data;
  for (int count = 0; count < 2000; ++count) {
    data.append(empty);
  }
  const Payload payload = text(100);
  data.append(encoded(payload, 0));
  CHECK(decoded(data, payload.size(), 3, 1000) == payload);
}

TEST_CASE("ZstdDecoder: what was not read is decoded and checked at the end", "[zstd_codec]") {
  const Payload payload = text(2 * batch_bytes);
  Payload data = encoded(payload, 0);
  for (const bool cut : {false, true}) {
    if (cut) {
      data.pop_back();
    }
    MemorySource source(data);
    iqdb::coding::ZstdDecoder decoder(source, payload.size(), with_helpers(2));
    Payload some(777);
    REQUIRE(decoder.read(some) > 0);
    if (cut) {
      require_kind(PersistErrorKind::compression, [&] { decoder.finish(); });
    } else {
      CHECK_NOTHROW(decoder.finish());
    }
  }
}

TEST_CASE("zstd_checked: gives what zstd answered and throws compression with the call where that is an error",
          "[zstd_codec]") {
  CHECK(iqdb::coding::zstd_checked(17, "ZSTD_compress") == 17);
  const Payload payload = text(100);
  std::byte room{};
  const std::size_t refused = ZSTD_compress(&room, 1, payload.data(), payload.size(), 1);
  const auto error =
      require_kind(PersistErrorKind::compression, [&] { return iqdb::coding::zstd_checked(refused, "ZSTD_compress"); });
  CHECK(iqdb_test::mentions(error, "ZSTD_compress"));
  CHECK(iqdb_test::mentions(error, ZSTD_getErrorName(refused)));
}

#endif  // IQDB_PERSIST_HAS_ZSTD
