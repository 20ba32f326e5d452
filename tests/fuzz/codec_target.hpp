// The targets `zstd`, `lz4_block` and `lz4_frames`: data goes through a decoder.
//
//   input: stated length of the payload u64 | data
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <tuple>

#include <lz4.h>
#include <lz4frame.h>
#include <zstd.h>

#include "fuzz/durable_files.hpp"
#include "fuzz/fuzz_target.hpp"
#include "fuzz/heap_meter.hpp"
#include "fuzz/numbers.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/codec/compression.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"

namespace iqdb_fuzz {

/// Bytes that are read a few at a time.
class PiecewiseSource final : public iqdb::ByteSource {
 public:
  PiecewiseSource(Input bytes, std::size_t piece_bytes) : left_(bytes), piece_bytes_(piece_bytes) {}

  std::size_t read(std::span<std::byte> into) override {
    const auto piece = left_.first(std::min({into.size(), left_.size(), piece_bytes_}));
    std::ranges::copy(piece, into.begin());
    left_ = left_.subspan(piece.size());
    return piece.size();
  }

 private:
  Input left_;
  std::size_t piece_bytes_;
};

/// How some data is read: in pieces of what size, through buffers of what size.
struct ReadingPlan {
  std::size_t source_piece;
  std::size_t read_piece;
  std::size_t buffer_bytes;
};

/// What came of it: the payload, if it was taken whole.
struct Decoded {
  enum class End { whole, refused, too_long };
  End end = End::refused;
  Bytes payload = {};
};

/// Decodes the data. Throws Violation where more comes than was stated, or less without an error.
[[nodiscard]] inline Decoded decode(iqdb::RegionPreamble preamble, Input data, ReadingPlan plan) {
  Decoded decoded;
  try {
    PiecewiseSource source(data, plan.source_piece);
    const auto decoder =
        iqdb::make_decoder(preamble, source, data.size(), {.buffer_bytes = plan.buffer_bytes, .helper_threads = 0});
    Bytes piece(plan.read_piece);
    std::size_t count = 0;
    do {
      count = decoder->read(piece);
      require(count <= piece.size(), "a decoder claims more than it was asked for");
      decoded.payload.insert(decoded.payload.end(), piece.begin(), piece.begin() + static_cast<std::ptrdiff_t>(count));
      require(decoded.payload.size() <= preamble.payload_bytes, "a decoder gives more than was stated");
      if (decoded.payload.size() > most_decoded) {
        decoded.end = Decoded::End::too_long;
        return decoded;
      }
    } while (count > 0);
    decoder->finish();
    require(decoded.payload.size() == preamble.payload_bytes, "a decoder gives less than was stated");
    decoded.end = Decoded::End::whole;
  } catch (const iqdb::PersistError& error) {
    const auto kind = error.kind();
    require(kind == iqdb::PersistErrorKind::compression, "a decoder fails with an error of another kind");
  }
  return decoded;
}

/// Examines the decoder of one scheme: however the data is read, the same must come of it.
template <iqdb::CompressionScheme scheme>
void examine_codec(Input input) {
  if (input.size() < sizeof(std::uint64_t)) {
    return;
  }
  const iqdb::RegionPreamble preamble{.scheme = scheme, .payload_bytes = number_at<std::uint64_t>(input, 0)};
  const Input data = input.subspan(sizeof(std::uint64_t));
  constexpr std::size_t whole = std::size_t{8} * 1024;  // of data: more than an input has

  const HeapMeter::Peak peak;
  const Decoded decoded = decode(preamble, data, {.source_piece = whole, .read_piece = whole, .buffer_bytes = whole});
  // The decoded bytes are held here too, in a vector that doubles.
  require_little_heap(peak, input.size() + 2 * decoded.payload.capacity());

  const std::uint64_t pieces = choice(input);
  const Decoded again = decode(preamble, data,
                               {.source_piece = 1 + static_cast<std::size_t>(pieces % 97),
                                .read_piece = 1 + static_cast<std::size_t>(pieces % 5003),
                                .buffer_bytes = 4096});
  if (decoded.end == Decoded::End::too_long || again.end == Decoded::End::too_long) {
    return;  // an error soon behind most_decoded bytes is met by one of the two, in a large read, and not by the other
  }
  require(decoded.end == again.end, "whether data can be decoded depends on how it is read");
  require(decoded.end != Decoded::End::whole || decoded.payload == again.payload,
          "what data decodes to depends on how it is read");
}

/// Encodes a payload by what the codec's own library has for it: the buffers of our encoders are made for large payloads,
/// and to make them takes longer here than all the rest.
template <iqdb::CompressionScheme scheme>
[[nodiscard]] Bytes encoded(Input payload) {
  Bytes data;
  std::size_t size = 0;
  if constexpr (scheme == iqdb::CompressionScheme::zstd) {
    data.resize(ZSTD_compressBound(payload.size()));
    size = ZSTD_compress(data.data(), data.size(), payload.data(), payload.size(), 1);
  } else if constexpr (scheme == iqdb::CompressionScheme::lz4_frames) {
    data.resize(LZ4F_compressFrameBound(payload.size(), nullptr));
    size = LZ4F_compressFrame(data.data(), data.size(), payload.data(), payload.size(), nullptr);
  } else {
    const int bound = LZ4_compressBound(static_cast<int>(payload.size()));
    data.resize(static_cast<std::size_t>(bound));
    size = static_cast<std::size_t>(LZ4_compress_default(reinterpret_cast<const char*>(payload.data()),
                                                         reinterpret_cast<char*>(data.data()),
                                                         static_cast<int>(payload.size()), bound));
  }
  require(size > 0 && size <= data.size(), "what must fit could not be encoded");
  data.resize(size);
  return data;
}

/// Encodes the data once more as if it were a payload, alone or, where frames may follow each other, behind itself.
template <iqdb::CompressionScheme scheme>
void reshape_codec(Bytes& input, Random& random) {
  if (input.size() < sizeof(std::uint64_t)) {
    return;
  }
  const auto data = input.begin() + sizeof(std::uint64_t);
  Bytes payload(data, input.end());
  constexpr std::size_t most_payload = 4096;
  payload.resize(std::min(payload.size(), static_cast<std::size_t>(random.below(most_payload))));
  if (random.one_in(2)) {
    payload.resize(payload.size() + static_cast<std::size_t>(random.below(most_payload)));  // something to compress
  }
  if (payload.empty()) {
    return;
  }
  const Bytes frame = encoded<scheme>(payload);
  if (scheme == iqdb::CompressionScheme::lz4_block || random.one_in(2)) {
    input.erase(data, input.end());
  }
  input.insert(input.end(), frame.begin(), frame.end());
  for (std::uint64_t times = random.below(3); times > 0; --times) {
    Bytes disturbed(input.begin() + sizeof(std::uint64_t), input.end());
    disturb(disturbed, random);
    input.resize(sizeof(std::uint64_t));
    input.insert(input.end(), disturbed.begin(), disturbed.end());
  }
}

/// How many bytes some frames decode to, up to the first error.
template <class Frames>
[[nodiscard]] std::uint64_t decodable_frames(Input data) {
  Frames frames;
  Bytes room(std::size_t{8} * 1024);
  std::uint64_t decoded = 0;
  try {
    for (std::size_t left = 1; !data.empty() && left > 0 && decoded < most_decoded;) {
      const std::size_t before = data.size();
      std::span<std::byte> output(room);
      std::ignore = frames.decode(data, output);
      left = (room.size() - output.size()) + (before - data.size());
      decoded += room.size() - output.size();
    }
  } catch (const iqdb::PersistError&) {
  }
  return decoded;
}

/// How many bytes the data decodes to, up to the first error; of an LZ4 block 0 where it is none.
template <iqdb::CompressionScheme scheme>
[[nodiscard]] std::uint64_t decodable_bytes(Input data) {
  if constexpr (scheme == iqdb::CompressionScheme::zstd) {
    return decodable_frames<iqdb::coding::ZstdFrames>(data);
  } else if constexpr (scheme == iqdb::CompressionScheme::lz4_frames) {
    return decodable_frames<iqdb::coding::Lz4Frames>(data);
  } else {
    Bytes room(std::min<std::size_t>(255 * data.size(), most_decoded));
    const int decoded =
        LZ4_decompress_safe(reinterpret_cast<const char*>(data.data()), reinterpret_cast<char*>(room.data()),
                            static_cast<int>(data.size()), static_cast<int>(room.size()));
    return static_cast<std::uint64_t>(std::max(decoded, 0));
  }
}

/// Makes the windows that zstd's frames ask for small, most of the time: what the sanitizer does for a large one takes
/// longer than all the rest.
inline void shrink_windows(std::span<std::byte> frames, Random& random) {
  constexpr std::size_t descriptor_at = 4;
  constexpr std::size_t window_at = 5;
  constexpr std::byte single_segment{0x20};  // such a frame states no window
  constexpr std::byte largest_window{0x3F};  // 240 KiB; a block has up to 128 KiB
  while (frames.size() > window_at && !random.one_in(64)) {
    if (number_at<std::uint32_t>(frames, 0) == ZSTD_MAGICNUMBER &&
        (frames[descriptor_at] & single_segment) == std::byte{0}) {
      frames[window_at] &= largest_window;
    }
    const std::size_t frame_bytes = ZSTD_findFrameCompressedSize(frames.data(), frames.size());
    if (ZSTD_isError(frame_bytes) != 0) {
      return;
    }
    frames = frames.subspan(frame_bytes);
  }
}

/// States the length that the data decodes to, as far as the codec's own library finds out.
template <iqdb::CompressionScheme scheme>
void repair_codec(Bytes& input, Random& random) {
  if (input.size() < sizeof(std::uint64_t) || random.one_in(8)) {
    return;
  }
  const auto data = std::span(input).subspan(sizeof(std::uint64_t));
  if constexpr (scheme == iqdb::CompressionScheme::zstd) {
    shrink_windows(data, random);
  }
  put_at(std::span(input), 0, decodable_bytes<scheme>(data));
}

/// The target of a scheme.
template <iqdb::CompressionScheme scheme>
inline constexpr FuzzTarget codec_target{.name = iqdb::to_string(scheme),
                                         .examine = &examine_codec<scheme>,
                                         .reshape = &reshape_codec<scheme>,
                                         .repair = &repair_codec<scheme>};

}  // namespace iqdb_fuzz
