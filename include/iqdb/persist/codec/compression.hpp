// Chooses the codec of a payload: zstd, LZ4 or none.
//
//   make_encoder -> PayloadEncoder: StoredEncoder, ZstdEncoder, Lz4Encoder
//   make_decoder -> PayloadDecoder: StoredDecoder, ZstdDecoder, FrameDecoder<Lz4Frames>, Lz4BlockDecoder
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/codec/codec.hpp"
#include "iqdb/persist/codec/compression_scheme.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/version.hpp"

#if IQDB_PERSIST_DEFINITIONS
#include "iqdb/persist/codec/lz4_codec.hpp"
#include "iqdb/persist/codec/zstd_codec.hpp"
#endif

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Returns an encoder for `compression` that writes to `data`, which must outlive it. Throws PersistError unsupported
/// if the codec is not built in, compression if the codec fails, and std::bad_alloc.
[[nodiscard]] IQDB_PERSIST_INLINE std::unique_ptr<PayloadEncoder> make_encoder(
    Compression compression, ByteSink& data, [[maybe_unused]] CodingResources resources);

/// Returns a decoder for the `data_bytes` bytes of `data`, which must outlive it. `preamble` states their scheme and
/// how many bytes they decode to. Throws PersistError unsupported if the codec is unknown or not built in,
/// invalid_payload or compression if the lengths cannot be right, and std::bad_alloc. An LZ4 block is decoded here, so
/// this also throws what `data` throws and, for a block that is not valid, PersistError compression.
[[nodiscard]] IQDB_PERSIST_INLINE std::unique_ptr<PayloadDecoder> make_decoder(
    RegionPreamble preamble, ByteSource& data, std::uint64_t data_bytes, [[maybe_unused]] CodingResources resources);

#if IQDB_PERSIST_DEFINITIONS

namespace coding {

// Makes pointers to the interface directly: a std::unique_ptr for each codec would cost the compiler forty functions
// each.
template <class Encoder, class... Arguments>
std::unique_ptr<PayloadEncoder> made_encoder(Arguments&&... arguments) {
  return std::unique_ptr<PayloadEncoder>(new Encoder(std::forward<Arguments>(arguments)...));
}

template <class Decoder, class... Arguments>
std::unique_ptr<PayloadDecoder> made_decoder(Arguments&&... arguments) {
  return std::unique_ptr<PayloadDecoder>(new Decoder(std::forward<Arguments>(arguments)...));
}

}  // namespace coding

IQDB_PERSIST_INLINE std::unique_ptr<PayloadEncoder> make_encoder(Compression compression, ByteSink& data,
                                                                 [[maybe_unused]] CodingResources resources) {
  switch (compression.codec()) {
    case Compression::Codec::none:
      return coding::made_encoder<coding::StoredEncoder>(data);
    case Compression::Codec::zstd:
#if IQDB_PERSIST_HAS_ZSTD
      return coding::made_encoder<coding::ZstdEncoder>(data, compression.level(), resources);
#else
      break;
#endif
    case Compression::Codec::lz4:
#if IQDB_PERSIST_HAS_LZ4
      return coding::made_encoder<coding::Lz4Encoder>(data, resources);
#else
      break;
#endif
  }
  throw_persist_error(PersistErrorKind::unsupported, "cannot compress: the program was built without this codec");
}

IQDB_PERSIST_INLINE std::unique_ptr<PayloadDecoder> make_decoder(RegionPreamble preamble, ByteSource& data,
                                                                 std::uint64_t data_bytes,
                                                                 [[maybe_unused]] CodingResources resources) {
  [[maybe_unused]] const auto refuse = [](std::string_view codec) {
    throw_persist_error(PersistErrorKind::unsupported, "the snapshot is compressed with " + std::string(codec) +
                                                           ", but the program was built without it; build it with " +
                                                           std::string(codec));
  };
  switch (preamble.scheme) {
    case CompressionScheme::none:
      return coding::made_decoder<coding::StoredDecoder>(data, data_bytes, preamble.payload_bytes);
    case CompressionScheme::zstd:
#if IQDB_PERSIST_HAS_ZSTD
      return coding::made_decoder<coding::ZstdDecoder>(data, preamble.payload_bytes, resources);
#else
      refuse("zstd");
      break;
#endif
    case CompressionScheme::lz4_block:
#if IQDB_PERSIST_HAS_LZ4
      return coding::made_decoder<coding::Lz4BlockDecoder>(data, data_bytes, preamble.payload_bytes);
#else
      refuse("lz4");
      break;
#endif
    case CompressionScheme::lz4_frames:
#if IQDB_PERSIST_HAS_LZ4
      return coding::made_decoder<coding::FrameDecoder<coding::Lz4Frames>>(data, preamble.payload_bytes,
                                                                           resources.buffer_bytes);
#else
      refuse("lz4");
      break;
#endif
  }
  throw_persist_error(PersistErrorKind::unsupported, "the snapshot is compressed by a scheme that there is not");
}

#endif  // IQDB_PERSIST_DEFINITIONS

}  // namespace iqdb
