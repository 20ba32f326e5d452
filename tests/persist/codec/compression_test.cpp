#include "iqdb/persist/codec/compression.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "support/bytes.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"
#include "support/sample_index.hpp"
#include "support/streams.hpp"

#if IQDB_PERSIST_HAS_ZSTD
#include <zstd.h>
#endif

namespace {

using iqdb::CodingResources;
using iqdb::Compression;
using iqdb::CompressionScheme;
using iqdb::LengthEvidence;
using iqdb::PersistErrorKind;
using iqdb_test::Bytes;
using iqdb_test::hex;
using iqdb_test::MemorySource;
using iqdb_test::Random;
using iqdb_test::require_kind;

using Payload = std::vector<std::byte>;

constexpr std::size_t buffer_bytes = 4096;
constexpr CodingResources resources{.buffer_bytes = buffer_bytes, .helper_threads = 0};

// What an encoder made of a payload.
struct Encoded {
  CompressionScheme scheme = CompressionScheme::none;
  Payload data;
  std::uint64_t payload_bytes = 0;
};

// Feeds an encoder with `payload` in pieces of `piece` bytes.
template <class Encoder>
Encoded fed(Encoder& encoder, const iqdb::MemorySink& sink, const Payload& payload,
            std::size_t piece = ~std::size_t{0}) {
  for (std::span<const std::byte> left(payload); !left.empty();) {
    const auto next = left.first(std::min(piece, left.size()));
    encoder.write(next);
    left = left.subspan(next.size());
  }
  encoder.finish();
  return {.scheme = encoder.scheme(), .data = sink.bytes(), .payload_bytes = payload.size()};
}

Encoded encode(Compression compression, const Payload& payload, CodingResources with = resources,
               std::size_t piece = ~std::size_t{0}) {
  iqdb::MemorySink sink;
  const auto encoder = make_encoder(compression, sink, with);
  return fed(*encoder, sink, payload, piece);
}

// What a decoder makes of data, read in pieces of `piece` bytes from a source that gives at most `most` at a time.
Payload decode(const Encoded& encoded, CodingResources with = resources, std::size_t piece = 1000,
               std::size_t most = ~std::size_t{0}) {
  MemorySource source(encoded.data, most);
  const auto decoder = make_decoder({.scheme = encoded.scheme, .payload_bytes = encoded.payload_bytes}, source,
                                    encoded.data.size(), with);
  Payload payload;
  Payload buffer(piece);
  while (const std::size_t count = decoder->read(buffer)) {
    payload.insert(payload.end(), buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(count));
  }
  decoder->finish();
  CHECK(source.left() == 0);
  CHECK_FALSE(source.asked_for_none());
  return payload;
}

Encoded with_data(Encoded encoded, Payload data) {
  encoded.data = std::move(data);
  return encoded;
}

Encoded stating(Encoded encoded, std::uint64_t payload_bytes) {
  encoded.payload_bytes = payload_bytes;
  return encoded;
}

// Whether it is read or passed over, what is wrong with the data is found.
void require_refused(PersistErrorKind kind, const Encoded& encoded) {
  require_kind(kind, [&] { return decode(encoded); });
  require_kind(kind, [&] {
    MemorySource source(encoded.data);
    make_decoder({.scheme = encoded.scheme, .payload_bytes = encoded.payload_bytes}, source, encoded.data.size(),
                 resources)
        ->finish();
  });
}

[[maybe_unused]] Payload random_payload(std::size_t size) { return Random(size + 1).bytes(size); }

// Compressible, and of no short period.
[[maybe_unused]] Payload text_payload(std::size_t size) {
  Random random(size + 2);
  Payload payload(size);
  for (std::byte& each : payload) {
    each = static_cast<std::byte>('a' + random.below(4));
  }
  return payload;
}

[[maybe_unused]] std::vector<Payload> payloads() {
  std::vector<Payload> all;
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, buffer_bytes - 1, buffer_bytes, buffer_bytes + 1,
                                 5 * buffer_bytes + 7, std::size_t{300'000}}) {
    all.push_back(random_payload(size));
    all.push_back(text_payload(size));
    all.emplace_back(size, std::byte{0x55});
  }
  return all;
}

void require_round_trips(Compression compression, CodingResources with) {
  for (const Payload& payload : payloads()) {
    CAPTURE(payload.size());
    const Encoded encoded = encode(compression, payload, with);
    REQUIRE(decode(encoded, with) == payload);
  }
}

void require_round_trips_in_any_pieces(Compression compression) {
  Random random(11);
  const Payload payload = text_payload(20'000);
  for (int round = 0; round < 60; ++round) {
    const auto write_piece = static_cast<std::size_t>(random.below(9000) + 1);
    const auto read_piece = static_cast<std::size_t>(random.below(9000) + 1);
    const auto most = static_cast<std::size_t>(random.below(9000) + 1);
    const auto buffer = static_cast<std::size_t>(random.below(9000) + 1);
    CAPTURE(round, write_piece, read_piece, most, buffer);
    const CodingResources with{.buffer_bytes = buffer, .helper_threads = 0};
    REQUIRE(decode(encode(compression, payload, with, write_piece), with, read_piece, most) == payload);
  }
  REQUIRE(decode(encode(compression, payload, {.buffer_bytes = 1, .helper_threads = 0}, 1),
                 {.buffer_bytes = 1, .helper_threads = 0}, 1, 1) == payload);
}

// Behind a codec nothing but its own refusal may come of damaged data: no crash, and no payload of another length.
[[maybe_unused]] void require_flips_survived(const Encoded& encoded) {
  Encoded damaged = encoded;
  std::size_t refused = 0;
  for (std::size_t bit = 0; bit < encoded.data.size() * 8; ++bit) {
    const auto mask = static_cast<std::byte>(1U << (bit % 8));
    damaged.data[bit / 8] ^= mask;
    try {
      const Payload payload = decode(damaged);
      REQUIRE(payload.size() == encoded.payload_bytes);
    } catch (const iqdb::PersistError& error) {
      REQUIRE(error.kind() == PersistErrorKind::compression);
      ++refused;
    }
    damaged.data[bit / 8] ^= mask;
  }
  CHECK(refused > 0);
}

[[maybe_unused]] void require_truncations_refused(const Encoded& encoded) {
  for (std::size_t size = 0; size < encoded.data.size(); ++size) {
    CAPTURE(size);
    require_refused(
        PersistErrorKind::compression,
        with_data(encoded, {encoded.data.begin(), encoded.data.begin() + static_cast<std::ptrdiff_t>(size)}));
  }
}

[[maybe_unused]] void require_wrong_lengths_refused(const Encoded& encoded) {
  for (const std::uint64_t wrong : {std::uint64_t{0}, encoded.payload_bytes - 1, encoded.payload_bytes + 1,
                                    2 * encoded.payload_bytes, std::uint64_t{1} << 40U, ~std::uint64_t{0}}) {
    CAPTURE(wrong);
    require_refused(PersistErrorKind::compression, stating(encoded, wrong));
  }
}

LengthEvidence evidence_of(const Encoded& encoded) {
  MemorySource source(encoded.data);
  return make_decoder({.scheme = encoded.scheme, .payload_bytes = encoded.payload_bytes}, source, encoded.data.size(),
                      resources)
      ->evidence();
}

}  // namespace

TEST_CASE("compression none: the data is the payload", "[compression]") {
  const Payload payload = Bytes().text("payload");
  const Encoded encoded = encode(Compression::none(), payload);
  CHECK(encoded.scheme == CompressionScheme::none);
  CHECK(encoded.data == payload);
}

TEST_CASE("compression none: round trip", "[compression]") { require_round_trips(Compression::none(), resources); }

TEST_CASE("compression none: round trip in any pieces", "[compression]") {
  require_round_trips_in_any_pieces(Compression::none());
}

TEST_CASE("compression none: a stated length that is not the data's is invalid_payload", "[compression]") {
  const Encoded encoded = encode(Compression::none(), Bytes().text("payload"));
  for (const std::uint64_t wrong : {std::uint64_t{0}, std::uint64_t{6}, std::uint64_t{8}, ~std::uint64_t{0}}) {
    require_refused(PersistErrorKind::invalid_payload, stating(encoded, wrong));
  }
}

TEST_CASE("compression none: its length is compared with the file's and so is evidence", "[compression]") {
  CHECK(evidence_of(encode(Compression::none(), Bytes().text("payload"))) == LengthEvidence::stored);
}

#if IQDB_PERSIST_HAS_ZSTD

namespace {

// One skippable frame, which holds no payload.
Bytes skippable(std::uint32_t magic, std::size_t content) {
  return Bytes().u32(magic).u32(static_cast<std::uint32_t>(content)).append(Payload(content, std::byte{0xAA}));
}

Encoded zstd(const Payload& payload) { return encode(Compression::zstd(3), payload); }

// How many frames the data is made of.
std::size_t frames_of(std::span<const std::byte> data) {
  std::size_t frames = 0;
  while (!data.empty()) {
    const std::size_t size = ZSTD_findFrameCompressedSize(data.data(), data.size());
    REQUIRE(ZSTD_isError(size) == 0U);
    data = data.subspan(size);
    ++frames;
  }
  return frames;
}

// What the Rust crate refuses to read: its guard against decompression bombs.
bool rust_reads(std::uint64_t payload_bytes, std::uint64_t data_bytes) { return payload_bytes <= 4096 * data_bytes; }

}  // namespace

TEST_CASE("compression zstd: round trip at the fastest and the usual level", "[compression][zstd]") {
  const int level = GENERATE(1, 3);
  const unsigned threads = GENERATE(0U, 3U);
  CAPTURE(level, threads);
  require_round_trips(Compression::zstd(level), {.buffer_bytes = buffer_bytes, .helper_threads = threads});
}

TEST_CASE("compression zstd: round trip at the strongest levels", "[compression][zstd]") {
  const int level = GENERATE(19, 22);
  const unsigned threads = GENERATE(0U, 3U);
  CAPTURE(level, threads);
  const CodingResources with{.buffer_bytes = buffer_bytes, .helper_threads = threads};
  const Payload payload = text_payload(100'000);
  CHECK(decode(encode(Compression::zstd(level), payload, with), with) == payload);
}

TEST_CASE("compression zstd: with helper threads a payload of several frames comes back whole", "[compression][zstd]") {
  const CodingResources with{.buffer_bytes = 256 * 1024, .helper_threads = 3};
  Payload payload = text_payload(3'000'000);
  const Payload noise = random_payload(6'000'000);
  payload.insert(payload.end(), noise.begin(), noise.end());
  const Encoded encoded = encode(Compression::zstd(1), payload, with, 100'000);
  CHECK(encoded.data.size() < payload.size());
  CHECK(decode(encoded, with, 100'000) == payload);
}

TEST_CASE("compression zstd: round trip in any pieces", "[compression][zstd]") {
  require_round_trips_in_any_pieces(Compression::zstd(3));
}

TEST_CASE("compression zstd: its scheme is zstd and its length is but stated", "[compression][zstd]") {
  const Encoded encoded = zstd(text_payload(100));
  CHECK(encoded.scheme == CompressionScheme::zstd);
  CHECK(evidence_of(encoded) == LengthEvidence::stated);
}

TEST_CASE("compression zstd: a higher level compresses further", "[compression][zstd]") {
  const Payload payload = text_payload(300'000);
  CHECK(encode(Compression::zstd(19), payload).data.size() < encode(Compression::zstd(1), payload).data.size());
}

TEST_CASE("compression zstd: reads frames one behind the other", "[compression][zstd]") {
  const Payload a = text_payload(10'000);
  const Payload b = random_payload(5'000);
  const Payload whole = Bytes().append(a).append(b).append(a);
  const Encoded joined{.scheme = CompressionScheme::zstd,
                       .data = Bytes().append(zstd(a).data).append(zstd(b).data).append(zstd(a).data),
                       .payload_bytes = whole.size()};
  CHECK(decode(joined) == whole);
  CHECK(decode(joined, resources, 1) == whole);
  CHECK(decode(joined, {.buffer_bytes = 1, .helper_threads = 0}) == whole);
  require_refused(PersistErrorKind::compression, stating(joined, whole.size() - a.size()));
  require_refused(PersistErrorKind::compression, stating(joined, whole.size() + 1));
}

TEST_CASE("compression zstd: reads frames without content among others", "[compression][zstd]") {
  const Payload payload = text_payload(10'000);
  const Payload empty = zstd({}).data;
  const Encoded encoded = zstd(payload);
  CHECK(decode(with_data(encoded, Bytes().append(empty).append(empty).append(encoded.data))) == payload);
  CHECK(decode(with_data(encoded, Bytes().append(encoded.data).append(empty).append(empty))) == payload);
}

TEST_CASE("compression zstd: passes over skippable frames wherever they stand", "[compression][zstd]") {
  const Payload a = text_payload(10'000);
  const Payload b = random_payload(100);
  const Payload whole = Bytes().append(a).append(b);
  for (std::uint32_t magic = 0x184D2A50; magic <= 0x184D2A5F; ++magic) {
    for (const std::size_t content : {0U, 1U, 10'000U}) {
      CAPTURE(magic, content);
      const Payload skip = skippable(magic, content);
      const Encoded joined{
          .scheme = CompressionScheme::zstd,
          .data = Bytes().append(skip).append(zstd(a).data).append(skip).append(skip).append(zstd(b).data).append(skip),
          .payload_bytes = whole.size()};
      REQUIRE(decode(joined) == whole);
    }
  }
}

TEST_CASE("compression zstd: a skippable frame that is cut short is refused", "[compression][zstd]") {
  const Encoded encoded = zstd(text_payload(1000));
  Payload data = Bytes().append(encoded.data).append(skippable(0x184D2A50, 20));
  while (data.size() > encoded.data.size() + 1) {
    data.pop_back();
    CAPTURE(data.size() - encoded.data.size());
    require_refused(PersistErrorKind::compression, with_data(encoded, data));
  }
}

TEST_CASE("compression zstd: no data is refused even where nothing is stated", "[compression][zstd]") {
  require_refused(PersistErrorKind::compression, {.scheme = CompressionScheme::zstd, .data = {}, .payload_bytes = 0});
  require_refused(PersistErrorKind::compression, {.scheme = CompressionScheme::zstd, .data = {}, .payload_bytes = 1});
}

TEST_CASE("compression zstd: data that is cut at any byte is refused", "[compression][zstd]") {
  require_truncations_refused(zstd(text_payload(1000)));
  require_truncations_refused(zstd(random_payload(100)));
  require_truncations_refused(zstd({}));
  const Payload payload = text_payload(300);
  require_truncations_refused({.scheme = CompressionScheme::zstd,
                               .data = Bytes().append(zstd(payload).data).append(zstd(payload).data),
                               .payload_bytes = 2 * payload.size()});
}

TEST_CASE("compression zstd: anything but a frame behind the data is refused", "[compression][zstd]") {
  for (const std::size_t size : {0U, 1000U}) {
    const Encoded encoded = zstd(text_payload(size));
    for (std::size_t garbage = 1; garbage < 12; ++garbage) {
      CAPTURE(size, garbage);
      Payload zeros = encoded.data;
      zeros.resize(zeros.size() + garbage);
      require_refused(PersistErrorKind::compression, with_data(encoded, zeros));
      Payload repeated = encoded.data;
      repeated.insert(repeated.end(), encoded.data.begin(),
                      encoded.data.begin() + static_cast<std::ptrdiff_t>(std::min(garbage, encoded.data.size() - 1)));
      require_refused(PersistErrorKind::compression, with_data(encoded, repeated));
    }
  }
}

TEST_CASE("compression zstd: a stated length that is wrong is refused", "[compression][zstd]") {
  require_wrong_lengths_refused(zstd(text_payload(1000)));
  require_wrong_lengths_refused(zstd(random_payload(3 * buffer_bytes)));
  require_refused(PersistErrorKind::compression, stating(zstd({}), 1));
}

TEST_CASE("compression zstd: a flipped bit does no harm", "[compression][zstd]") {
  require_flips_survived(zstd(text_payload(500)));
  require_flips_survived(zstd(random_payload(60)));
}

TEST_CASE("compression zstd: finish goes on where reading stopped", "[compression][zstd]") {
  const Payload payload = text_payload(20'000);
  const Encoded encoded = zstd(payload);
  MemorySource source(encoded.data);
  const auto decoder =
      make_decoder({.scheme = encoded.scheme, .payload_bytes = payload.size()}, source, encoded.data.size(), resources);
  Payload some(777);
  REQUIRE(decoder->read(some) > 0);
  CHECK_NOTHROW(decoder->finish());
  CHECK(source.left() == 0);
}

TEST_CASE("compression zstd: a payload that compresses more than 4096 times is padded so that the Rust crate reads it",
          "[compression][zstd]") {
  for (const std::size_t size : {100'000U, 300'000U, 1'000'000U, 4'194'304U, 4'194'305U, 9'999'999U}) {
    CAPTURE(size);
    const Payload payload(size, std::byte{0});
    const Encoded encoded = zstd(payload);
    CHECK(rust_reads(size, encoded.data.size()));
    CHECK(decode(encoded, resources, 100'000) == payload);
  }
}

TEST_CASE("compression zstd: a uniform payload of 64 MiB is padded to exactly what the Rust crate asks for",
          "[compression][zstd]") {
  constexpr std::uint64_t piece_bytes = 1 << 20U;
  constexpr std::uint64_t pieces = 64;
  const unsigned threads = GENERATE(0U, 2U);
  const CodingResources with{.buffer_bytes = 65536, .helper_threads = threads};
  iqdb::MemorySink sink;
  const auto encoder = make_encoder(Compression::zstd(), sink, with);
  const Payload piece(piece_bytes, std::byte{0x3F});
  for (std::uint64_t count = 0; count < pieces; ++count) {
    encoder->write(piece);
  }
  encoder->finish();
  CHECK(sink.bytes().size() == pieces * piece_bytes / 4096);
  CHECK(frames_of(sink.bytes()) == pieces * piece_bytes / iqdb::coding::zstd_frame_bytes(3) + 1);

  MemorySource source(sink.bytes());
  const auto decoder = make_decoder({.scheme = encoder->scheme(), .payload_bytes = pieces * piece_bytes}, source,
                                    sink.bytes().size(), with);
  iqdb::Reader reader(*decoder, pieces * piece_bytes, decoder->evidence());
  Payload got(piece_bytes);
  for (std::uint64_t count = 0; count < pieces; ++count) {
    reader.read(got);
    REQUIRE(got == piece);
  }
  CHECK_NOTHROW(decoder->finish());
}

TEST_CASE("compression zstd: a payload that compresses less than 4096 times is not padded", "[compression][zstd]") {
  CHECK(frames_of(zstd({}).data) == 1);
  CHECK(frames_of(zstd(Payload(1, std::byte{0})).data) == 1);
  CHECK(frames_of(zstd(Payload(10'000, std::byte{0})).data) == 1);
  CHECK(frames_of(zstd(text_payload(300'000)).data) == 2);
  CHECK(frames_of(zstd(random_payload(300'000)).data) == 2);
}

#else

TEST_CASE("compression zstd: is unsupported in a program that was built without it", "[compression][zstd]") {
  iqdb::MemorySink sink;
  require_kind(PersistErrorKind::unsupported, [&] { return make_encoder(Compression::zstd(3), sink, resources); });
  MemorySource source({});
  const auto error = require_kind(PersistErrorKind::unsupported, [&] {
    return make_decoder({.scheme = CompressionScheme::zstd, .payload_bytes = 0}, source, 0, resources);
  });
  CHECK(iqdb_test::mentions(error, "zstd"));
}

#endif

TEST_CASE("make_decoder: a scheme that there is not is unsupported and never taken for none", "[compression]") {
  const Payload payload = Bytes().text("payload");
  MemorySource source(payload);
  require_kind(PersistErrorKind::unsupported, [&] {
    return make_decoder({.scheme = static_cast<CompressionScheme>(4), .payload_bytes = payload.size()}, source,
                        payload.size(), resources);
  });
}

#if IQDB_PERSIST_HAS_LZ4

namespace {

Encoded lz4(const Payload& payload) { return encode(Compression::lz4(), payload); }

Encoded lz4_frames(const Payload& payload, std::size_t largest_block = 0, std::size_t piece = 1000,
                   CodingResources with = resources) {
  iqdb::MemorySink sink;
  iqdb::coding::Lz4Encoder encoder(sink, with, largest_block);
  return fed(encoder, sink, payload, piece);
}

}  // namespace

TEST_CASE("compression lz4: round trip", "[compression][lz4]") { require_round_trips(Compression::lz4(), resources); }

TEST_CASE("compression lz4: round trip in any pieces", "[compression][lz4]") {
  require_round_trips_in_any_pieces(Compression::lz4());
}

TEST_CASE("compression lz4: a payload is one block of which the length is evidence", "[compression][lz4]") {
  const Encoded encoded = lz4(text_payload(100'000));
  CHECK(encoded.scheme == CompressionScheme::lz4_block);
  CHECK(evidence_of(encoded) == LengthEvidence::stored);
  CHECK(encoded.data.size() < encoded.payload_bytes);
}

TEST_CASE("compression lz4: the block has no size before it", "[compression][lz4]") {
  // A token that announces literals only, and the literals: the LZ4 block format.
  CHECK(hex(lz4(Bytes().text("abc")).data) == "30 61 62 63");
  CHECK(hex(lz4({}).data) == "00");
}

TEST_CASE("compression lz4: a payload that is compressed in parts is one block", "[compression][lz4]") {
  constexpr std::size_t part = iqdb::coding::lz4_part_bytes;
  const std::size_t batch = part * iqdb::coding::lz4_most_parts;
  std::vector<Payload> in_parts{random_payload(3 * part + 5), Payload(3 * part, std::byte{1})};
  for (const std::size_t size : {part - 1, part, part + 1, part + 12, batch, batch + 1, 2 * batch + part + 100}) {
    in_parts.push_back(text_payload(size));
  }
  // Parts that LZ4 finds nothing in, between others.
  Bytes mixed;
  for (const std::size_t noise : {std::size_t{1}, part, 2 * part + 7}) {
    mixed.append(text_payload(part / 2)).append(random_payload(noise));
  }
  in_parts.push_back(mixed);
  for (const Payload& payload : in_parts) {
    CAPTURE(payload.size());
    const Encoded encoded = lz4(payload);
    REQUIRE(encoded.scheme == CompressionScheme::lz4_block);
    REQUIRE((decode(encoded, resources, payload.size()) == payload));
  }
}

TEST_CASE("compression lz4: the block does not depend on threads nor on the pieces that were written",
          "[compression][lz4]") {
  const Payload payload = Bytes().append(text_payload(6'000'000)).append(random_payload(2'000'000));
  const Encoded alone = lz4(payload);
  for (const unsigned helpers : {0U, 1U, 3U}) {
    for (const std::size_t piece : {std::size_t{65'537}, std::size_t{3'000'000}}) {
      CAPTURE(helpers, piece);
      const CodingResources with{.buffer_bytes = buffer_bytes, .helper_threads = helpers};
      CHECK((encode(Compression::lz4(), payload, with, piece).data == alone.data));
    }
  }
}

TEST_CASE("compression lz4: matches reach back into the part before", "[compression][lz4]") {
  constexpr std::size_t part = iqdb::coding::lz4_part_bytes;
  constexpr std::size_t repeated = 30'000;
  const Payload noise = random_payload(repeated);
  Bytes payload;
  payload.append(random_payload(part - repeated)).append(noise).append(noise);
  CHECK(lz4(payload).data.size() < part + repeated / 2);
}

TEST_CASE("compression lz4: a block that is cut at any byte is refused", "[compression][lz4]") {
  require_truncations_refused(lz4(text_payload(1000)));
  require_truncations_refused(lz4(random_payload(100)));
  require_truncations_refused(lz4({}));
}

TEST_CASE("compression lz4: what is no block is told from a block of another length", "[compression][lz4]") {
  const Encoded encoded = lz4(text_payload(1000));
  const Payload cut(encoded.data.begin(), encoded.data.end() - 1);
  const auto message = [](const Encoded& refused) {
    return std::string(require_kind(PersistErrorKind::compression, [&] { return decode(refused); }).what());
  };
  CHECK_THAT(message(with_data(encoded, cut)), Catch::Matchers::Contains("is not a valid block of at most 1000 bytes"));
  CHECK_THAT(message(stating(encoded, 1001)), Catch::Matchers::Contains("decodes to 1000 bytes, but 1001 are stated"));
}

TEST_CASE("compression lz4: anything behind a block is refused", "[compression][lz4]") {
  const Encoded encoded = lz4(text_payload(1000));
  Payload data = encoded.data;
  for (int count = 0; count < 10; ++count) {
    data.push_back(std::byte{0});
    require_refused(PersistErrorKind::compression, with_data(encoded, data));
  }
}

TEST_CASE("compression lz4: a stated length that is wrong is refused", "[compression][lz4]") {
  require_wrong_lengths_refused(lz4(text_payload(1000)));
  require_wrong_lengths_refused(lz4(Payload(100'000, std::byte{0})));
}

TEST_CASE("compression lz4: a stated length that no block of that size can have is refused", "[compression][lz4]") {
  const Encoded encoded = lz4(Payload(1000, std::byte{0}));
  const std::uint64_t data_bytes = encoded.data.size();
  for (const std::uint64_t wrong :
       {255 * (data_bytes + 1), std::uint64_t{2'113'929'216}, std::uint64_t{2'113'929'217}, std::uint64_t{1} << 31U,
        std::uint64_t{1} << 32U, (std::uint64_t{1} << 32U) + 1000, ~std::uint64_t{0}}) {
    CAPTURE(wrong);
    const auto error = require_kind(PersistErrorKind::compression, [&] { return decode(stating(encoded, wrong)); });
    CHECK(iqdb_test::mentions(error, "cannot stand for"));
  }
}

TEST_CASE("compression lz4: the most uniform payload is within what a block can have", "[compression][lz4]") {
  const Payload payload(3'000'000, std::byte{0});
  CHECK(decode(lz4(payload)) == payload);
}

TEST_CASE("compression lz4: more data than any block has is refused unread", "[compression][lz4]") {
  MemorySource source({});
  require_kind(PersistErrorKind::compression, [&] {
    return make_decoder({.scheme = CompressionScheme::lz4_block, .payload_bytes = 2'000'000'000}, source,
                        std::uint64_t{1} << 40U, resources);
  });
}

TEST_CASE("compression lz4: a stated length over what LZ4 can hold is refused however much data there is",
          "[compression][lz4]") {
  MemorySource source({});
  for (const std::uint64_t stated : {std::uint64_t{2'113'929'217}, (std::uint64_t{1} << 32U) + 5}) {
    const auto error = require_kind(PersistErrorKind::compression, [&] {
      return make_decoder({.scheme = CompressionScheme::lz4_block, .payload_bytes = stated}, source, 100'000'000,
                          resources);
    });
    CHECK(iqdb_test::mentions(error, "cannot stand for"));
  }
}

TEST_CASE("compression lz4: no data is refused even where nothing is stated", "[compression][lz4]") {
  require_refused(PersistErrorKind::compression,
                  {.scheme = CompressionScheme::lz4_block, .data = {}, .payload_bytes = 0});
  require_refused(PersistErrorKind::compression,
                  {.scheme = CompressionScheme::lz4_frames, .data = {}, .payload_bytes = 0});
}

TEST_CASE("compression lz4: a flipped bit does no harm", "[compression][lz4]") {
  require_flips_survived(lz4(text_payload(500)));
  require_flips_survived(lz4_frames(text_payload(500)));
}

TEST_CASE("compression lz4: a payload too large for a block becomes frames", "[compression][lz4]") {
  const Payload fits = text_payload(2000);
  const Payload too_large = text_payload(2001);
  for (const std::size_t piece : {1U, 999U, 1000U, 2000U, 2001U}) {
    CAPTURE(piece);
    const Encoded block = lz4_frames(fits, 2000, piece);
    CHECK(block.scheme == CompressionScheme::lz4_block);
    CHECK(decode(block) == fits);
    const Encoded frames = lz4_frames(too_large, 2000, piece);
    CHECK(frames.scheme == CompressionScheme::lz4_frames);
    CHECK(decode(frames) == too_large);
  }
}

TEST_CASE("compression lz4: a single byte before what is too large for a block is kept", "[compression][lz4]") {
  const Payload payload = text_payload(2002);
  iqdb::MemorySink sink;
  iqdb::coding::Lz4Encoder encoder(sink, resources, 2000);
  encoder.write(std::span(payload).first(1));
  encoder.write(std::span(payload).subspan(1));
  encoder.finish();
  CHECK(encoder.scheme() == CompressionScheme::lz4_frames);
  CHECK(decode({.scheme = encoder.scheme(), .data = sink.bytes(), .payload_bytes = payload.size()}) == payload);
}

TEST_CASE("compression lz4: what was compressed in parts becomes frames too", "[compression][lz4]") {
  const std::size_t most = 3 * iqdb::coding::lz4_part_bytes + 10;
  for (const Payload& payload : {text_payload(most + 1), random_payload(2 * most)}) {
    for (const std::size_t piece : {std::size_t{100'000}, most, 2 * most}) {
      CAPTURE(payload.size(), piece);
      const Encoded frames = lz4_frames(payload, most, piece);
      REQUIRE(frames.scheme == CompressionScheme::lz4_frames);
      REQUIRE((decode(frames, resources, payload.size()) == payload));
    }
  }
}

TEST_CASE("compression lz4: frames round trip", "[compression][lz4]") {
  for (const Payload& payload : payloads()) {
    if (payload.empty()) {
      continue;  // stays a block, which holds nothing
    }
    for (const std::size_t piece : {std::size_t{1000}, std::size_t{5000}, std::size_t{300'000}}) {
      CAPTURE(payload.size(), piece);
      const Encoded encoded = lz4_frames(payload, 0, piece);
      REQUIRE(encoded.scheme == CompressionScheme::lz4_frames);
      REQUIRE(evidence_of(encoded) == LengthEvidence::stated);
      REQUIRE(decode(encoded) == payload);
    }
  }
}

TEST_CASE("compression lz4: frames round trip through buffers larger than their blocks", "[compression][lz4]") {
  const Payload payload = text_payload(3'000'000);
  const CodingResources with{.buffer_bytes = 700'000, .helper_threads = 0};
  CHECK(decode(lz4_frames(payload, 100, payload.size(), with), with, 500'000) == payload);
}

TEST_CASE("compression lz4: frames that are cut at any byte are refused", "[compression][lz4]") {
  require_truncations_refused(lz4_frames(text_payload(1000)));
  require_truncations_refused(lz4_frames(random_payload(100)));
}

TEST_CASE("compression lz4: frames of another length than stated are refused", "[compression][lz4]") {
  require_wrong_lengths_refused(lz4_frames(text_payload(1000)));
}

TEST_CASE("compression lz4: anything but a frame behind frames is refused", "[compression][lz4]") {
  const Encoded encoded = lz4_frames(text_payload(1000));
  for (std::size_t garbage = 1; garbage < 20; ++garbage) {
    CAPTURE(garbage);
    Payload zeros = encoded.data;
    zeros.resize(zeros.size() + garbage);
    require_refused(PersistErrorKind::compression, with_data(encoded, zeros));
  }
}

TEST_CASE("compression lz4: reads frames one behind the other", "[compression][lz4]") {
  const Payload a = text_payload(10'000);
  const Payload b = random_payload(5000);
  const Payload whole = Bytes().append(a).append(b);
  const Encoded joined{.scheme = CompressionScheme::lz4_frames,
                       .data = Bytes().append(lz4_frames(a).data).append(lz4_frames(b).data),
                       .payload_bytes = whole.size()};
  CHECK(decode(joined) == whole);
  CHECK(decode(joined, {.buffer_bytes = 1, .helper_threads = 0}, 1) == whole);
}

#else

TEST_CASE("compression lz4: is unsupported in a program that was built without it", "[compression][lz4]") {
  iqdb::MemorySink sink;
  require_kind(PersistErrorKind::unsupported, [&] { return make_encoder(Compression::lz4(), sink, resources); });
  for (const CompressionScheme scheme : {CompressionScheme::lz4_block, CompressionScheme::lz4_frames}) {
    MemorySource source({});
    const auto error = require_kind(PersistErrorKind::unsupported, [&] {
      return make_decoder({.scheme = scheme, .payload_bytes = 0}, source, 0, resources);
    });
    CHECK(iqdb_test::mentions(error, "lz4"));
  }
}

#endif
