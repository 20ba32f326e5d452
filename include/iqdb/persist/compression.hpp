// Which codec a payload goes through: zstd, LZ4 or none. The only header that includes <zstd.h> and <lz4*.h>.
//
//   make_encoder -> PayloadEncoder: StoredEncoder, ZstdEncoder, Lz4Encoder
//   make_decoder -> PayloadDecoder: StoredDecoder, FrameDecoder<ZstdFrames>, FrameDecoder<Lz4Frames>, Lz4BlockDecoder
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "iqdb/persist/codec.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/format.hpp"
#include "iqdb/persist/stream.hpp"
#include "iqdb/persist/version.hpp"

#if IQDB_PERSIST_HAS_ZSTD
#include <zstd.h>
#endif
#if IQDB_PERSIST_HAS_LZ4
#include <lz4.h>
#include <lz4frame.h>
#endif

namespace iqdb::inline IQDB_PERSIST_ABI {

/// What coding may use: see PersistConfig.
struct CodingResources {
  std::size_t buffer_bytes;  ///< the size of each buffer, in bytes
  unsigned helper_threads;   ///< threads besides the caller's
};

namespace coding {

#if IQDB_PERSIST_HAS_ZSTD

[[nodiscard]] inline std::size_t zstd_checked(std::size_t result, std::string_view call) {
  if (ZSTD_isError(result) != 0) {
    throw_failed(call, ZSTD_getErrorName(result));
  }
  return result;
}

/// One frame, and behind it a skippable one where the payload is so uniform that the Rust crate's guard against
/// decompression bombs, 4096 times the data, would refuse it.
class ZstdEncoder final : public PayloadEncoder {
 public:
  ZstdEncoder(ByteSink& data, int level, CodingResources resources)
      : data_(&data), context_(ZSTD_createCCtx()), output_(resources.buffer_bytes) {
    if (context_ == nullptr) {
      throw std::bad_alloc();
    }
    std::ignore = zstd_checked(ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_compressionLevel, level),
                               "ZSTD_CCtx_setParameter(compressionLevel)");
    // A zstd built without threads refuses any number but 0 and compresses in this one: slower, and nothing else.
    std::ignore = ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_nbWorkers, static_cast<int>(resources.helper_threads));
    // zstd would give each worker jobs of four windows, 8 MiB at level 3, and hold several: measured, 51 MiB for two
    // workers; with jobs of 1 MiB 9 MiB, and a file 1% larger. Higher levels have windows for which that is too little.
    constexpr int highest_small_job_level = 12;
    constexpr int small_job_bytes = 1024 * 1024;
    if (level <= highest_small_job_level) {
      std::ignore = ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_jobSize, small_job_bytes);
    }
  }

  void write(std::span<const std::byte> bytes) override {
    payload_bytes_ += bytes.size();
    ZSTD_inBuffer input{bytes.data(), bytes.size(), 0};
    while (input.pos < input.size) {
      compress(input, ZSTD_e_continue);
    }
  }

  void finish() override {
    ZSTD_inBuffer input{nullptr, 0, 0};
    while (compress(input, ZSTD_e_end) > 0) {
    }
    pad();
  }

  [[nodiscard]] CompressionScheme scheme() const noexcept override { return CompressionScheme::zstd; }

 private:
  std::size_t compress(ZSTD_inBuffer& input, ZSTD_EndDirective directive) {
    ZSTD_outBuffer output{output_.data(), output_.size(), 0};
    const std::size_t left =
        zstd_checked(ZSTD_compressStream2(context_.get(), &output, &input, directive), "ZSTD_compressStream2");
    pass_on(std::span<const std::byte>(output_).first(output.pos));
    return left;
  }

  void pad() {
    constexpr std::uint64_t greatest_ratio = 4096;
    constexpr std::uint32_t skippable_magic = 0x184D2A50;
    constexpr std::uint64_t frame_header_bytes = 8;
    const std::uint64_t least_bytes = payload_bytes_ / greatest_ratio + (payload_bytes_ % greatest_ratio == 0 ? 0 : 1);
    while (data_bytes_ < least_bytes) {
      const std::uint64_t missing = least_bytes - data_bytes_;
      auto content = static_cast<std::uint32_t>(std::min<std::uint64_t>(missing - std::min(missing, frame_header_bytes),
                                                                        std::numeric_limits<std::uint32_t>::max()));
      pass_on(to_little_endian(skippable_magic));
      pass_on(to_little_endian(content));
      std::ranges::fill(output_, std::byte{0});
      while (content > 0) {
        const auto piece = std::min<std::size_t>(content, output_.size());
        pass_on(std::span<const std::byte>(output_).first(piece));
        content -= static_cast<std::uint32_t>(piece);
      }
    }
  }

  void pass_on(std::span<const std::byte> bytes) {
    if (!bytes.empty()) {
      data_->write(bytes);
      data_bytes_ += bytes.size();
    }
  }

  struct Free {
    void operator()(ZSTD_CCtx* context) const noexcept { ZSTD_freeCCtx(context); }
  };

  ByteSink* data_;
  std::unique_ptr<ZSTD_CCtx, Free> context_;
  std::vector<std::byte> output_;
  std::uint64_t payload_bytes_ = 0;
  std::uint64_t data_bytes_ = 0;
};

/// zstd's streaming decoder, for FrameDecoder.
class ZstdFrames {
 public:
  static constexpr std::string_view name = "zstd";

  ZstdFrames() : context_(ZSTD_createDCtx()) {
    if (context_ == nullptr) {
      throw std::bad_alloc();
    }
  }

  bool decode(std::span<const std::byte>& input, std::span<std::byte>& output) {
    ZSTD_inBuffer in{input.data(), input.size(), 0};
    ZSTD_outBuffer out{output.data(), output.size(), 0};
    const std::size_t left = ZSTD_decompressStream(context_.get(), &out, &in);
    if (ZSTD_isError(left) != 0) {
      throw_corrupt(name, std::string("is not valid: ") + ZSTD_getErrorName(left));
    }
    input = input.subspan(in.pos);
    output = output.subspan(out.pos);
    return left == 0;
  }

 private:
  struct Free {
    void operator()(ZSTD_DCtx* context) const noexcept { ZSTD_freeDCtx(context); }
  };

  std::unique_ptr<ZSTD_DCtx, Free> context_;
};

#endif  // IQDB_PERSIST_HAS_ZSTD

#if IQDB_PERSIST_HAS_LZ4

[[nodiscard]] inline std::size_t lz4_checked(std::size_t result, std::string_view call) {
  if (LZ4F_isError(result) != 0U) {
    throw_failed(call, LZ4F_getErrorName(result));
  }
  return result;
}

/// Bytes that grow where they lie: realloc extends a large block by remapping its pages, whereas a vector holds the old
/// and the new block at once.
class GrowingBuffer {
 public:
  void append(std::span<const std::byte> bytes) {
    if (bytes.size() > capacity_ - size_) {
      const std::size_t capacity = std::max(size_ + bytes.size(), capacity_ + capacity_ / 2);
      void* const grown = std::realloc(bytes_.get(), capacity);  // NOLINT(*-no-malloc,*-owning-memory)
      if (grown == nullptr) {
        throw std::bad_alloc();
      }
      std::ignore = bytes_.release();
      bytes_.reset(static_cast<std::byte*>(grown));
      capacity_ = capacity;
    }
    std::ranges::copy(bytes, bytes_.get() + size_);
    size_ += bytes.size();
  }

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return {bytes_.get(), size_}; }

  void clear() noexcept {
    bytes_.reset();
    size_ = capacity_ = 0;
  }

 private:
  struct Free {
    void operator()(std::byte* bytes) const noexcept { std::free(bytes); }  // NOLINT(*-no-malloc,*-owning-memory)
  };

  std::unique_ptr<std::byte, Free> bytes_;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
};

/// One raw block, for which the whole payload has to be held; once it is too large for one, frames.
class Lz4Encoder final : public PayloadEncoder {
 public:
  /// `largest_block` is the most payload that one block may hold, at most LZ4_MAX_INPUT_SIZE.
  Lz4Encoder(ByteSink& data, CodingResources resources, std::size_t largest_block = LZ4_MAX_INPUT_SIZE)
      : data_(&data), piece_bytes_(resources.buffer_bytes), largest_block_(largest_block) {}

  void write(std::span<const std::byte> bytes) override {
    if (frames_ == nullptr && bytes.size() <= largest_block_ - block_.bytes().size()) {
      block_.append(bytes);
      return;
    }
    if (frames_ == nullptr) {
      begin_frame();
      compress(block_.bytes());
      block_.clear();
    }
    compress(bytes);
  }

  void finish() override {
    if (frames_ == nullptr) {
      write_block();
    } else {
      pass_on(
          lz4_checked(LZ4F_compressEnd(frames_.get(), output_.data(), output_.size(), nullptr), "LZ4F_compressEnd"));
    }
  }

  [[nodiscard]] CompressionScheme scheme() const noexcept override {
    return frames_ == nullptr ? CompressionScheme::lz4_block : CompressionScheme::lz4_frames;
  }

 private:
  void write_block() {
    const std::span<const std::byte> payload = block_.bytes();
    const int payload_bytes = static_cast<int>(payload.size());
    const int bound = LZ4_compressBound(payload_bytes);
    // Not zeroed: pages that the block does not reach are never touched, and take no memory.
    const auto block =
        std::make_unique_for_overwrite<std::byte[]>(static_cast<std::size_t>(bound));  // NOLINT(*-c-arrays)
    const int block_bytes = LZ4_compress_default(reinterpret_cast<const char*>(payload.data()),
                                                 reinterpret_cast<char*>(block.get()), payload_bytes, bound);
    if (block_bytes <= 0) {
      throw_failed("LZ4_compress_default", std::to_string(block_bytes));
    }
    block_.clear();
    data_->write({block.get(), static_cast<std::size_t>(block_bytes)});
  }

  void begin_frame() {
    LZ4F_cctx* context = nullptr;
    std::ignore = lz4_checked(LZ4F_createCompressionContext(&context, LZ4F_VERSION), "LZ4F_createCompressionContext");
    frames_.reset(context);
    LZ4F_preferences_t preferences{};
    preferences.frameInfo.blockSizeID = LZ4F_max256KB;
    output_.resize(std::max<std::size_t>(LZ4F_compressBound(piece_bytes_, &preferences), LZ4F_HEADER_SIZE_MAX));
    pass_on(lz4_checked(LZ4F_compressBegin(frames_.get(), output_.data(), output_.size(), &preferences),
                        "LZ4F_compressBegin"));
  }

  void compress(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const auto piece = bytes.first(std::min(bytes.size(), piece_bytes_));
      pass_on(lz4_checked(
          LZ4F_compressUpdate(frames_.get(), output_.data(), output_.size(), piece.data(), piece.size(), nullptr),
          "LZ4F_compressUpdate"));
      bytes = bytes.subspan(piece.size());
    }
  }

  void pass_on(std::size_t bytes) { data_->write(std::span<const std::byte>(output_).first(bytes)); }

  struct Free {
    void operator()(LZ4F_cctx* context) const noexcept { std::ignore = LZ4F_freeCompressionContext(context); }
  };

  ByteSink* data_;
  std::size_t piece_bytes_;
  std::size_t largest_block_;
  GrowingBuffer block_;
  std::unique_ptr<LZ4F_cctx, Free> frames_;  // none as long as one block can hold the payload
  std::vector<std::byte> output_;
};

/// LZ4's streaming decoder, for FrameDecoder.
class Lz4Frames {
 public:
  static constexpr std::string_view name = "LZ4";

  Lz4Frames() {
    LZ4F_dctx* context = nullptr;
    std::ignore =
        lz4_checked(LZ4F_createDecompressionContext(&context, LZ4F_VERSION), "LZ4F_createDecompressionContext");
    context_.reset(context);
  }

  bool decode(std::span<const std::byte>& input, std::span<std::byte>& output) {
    std::size_t read = input.size();
    std::size_t written = output.size();
    const std::size_t left = LZ4F_decompress(context_.get(), output.data(), &written, input.data(), &read, nullptr);
    if (LZ4F_isError(left) != 0U) {
      throw_corrupt(name, std::string("is not valid: ") + LZ4F_getErrorName(left));
    }
    input = input.subspan(read);
    output = output.subspan(written);
    return left == 0;
  }

 private:
  struct Free {
    void operator()(LZ4F_dctx* context) const noexcept { std::ignore = LZ4F_freeDecompressionContext(context); }
  };

  std::unique_ptr<LZ4F_dctx, Free> context_;
};

/// One raw block: decoded as a whole, since only that tells whether it is valid.
class Lz4BlockDecoder final : public PayloadDecoder {
 public:
  Lz4BlockDecoder(ByteSource& data, std::uint64_t data_bytes, std::uint64_t payload_bytes)
      : size_(static_cast<std::size_t>(payload_bytes)) {
    // No byte of a block stands for more than 255 of the payload (LZ4 block format, "match length"), so that what is set
    // aside below is in proportion to bytes that are there.
    constexpr std::uint64_t greatest_ratio = 255;
    if (payload_bytes > LZ4_MAX_INPUT_SIZE || payload_bytes / greatest_ratio > data_bytes) {
      throw_corrupt("LZ4", "has " + std::to_string(data_bytes) + " bytes, which cannot stand for the stated " +
                               std::to_string(payload_bytes));
    }
    if (data_bytes > static_cast<std::uint64_t>(LZ4_compressBound(LZ4_MAX_INPUT_SIZE))) {
      throw_corrupt("LZ4", "has " + std::to_string(data_bytes) + " bytes, more than any block");
    }
    Reader reader(data, data_bytes, LengthEvidence::stored);
    const auto block =
        std::make_unique_for_overwrite<char[]>(static_cast<std::size_t>(data_bytes));  // NOLINT(*-c-arrays)
    reader.read_array(std::span<char>(block.get(), static_cast<std::size_t>(data_bytes)));
    payload_ = std::make_unique_for_overwrite<std::byte[]>(size_);  // NOLINT(*-c-arrays)
    const int decoded = LZ4_decompress_safe(block.get(), reinterpret_cast<char*>(payload_.get()),
                                            static_cast<int>(data_bytes), static_cast<int>(size_));
    if (decoded < 0) {
      throw_corrupt("LZ4", "is not a valid block of at most " + std::to_string(size_) + " bytes");
    }
    if (static_cast<std::size_t>(decoded) != size_) {
      throw_corrupt("LZ4",
                    "decodes to " + std::to_string(decoded) + " bytes, but " + std::to_string(size_) + " are stated");
    }
  }

  std::size_t read(std::span<std::byte> into) override {
    const std::size_t count = std::min(into.size(), size_ - read_);
    std::ranges::copy(std::span<const std::byte>(payload_.get() + read_, count), into.begin());
    read_ += count;
    return count;
  }

  [[nodiscard]] LengthEvidence evidence() const noexcept override { return LengthEvidence::stored; }
  void finish() override {}

 private:
  std::unique_ptr<std::byte[]> payload_;  // NOLINT(*-c-arrays)
  std::size_t size_;
  std::size_t read_ = 0;
};

#endif  // IQDB_PERSIST_HAS_LZ4

}  // namespace coding

/// An encoder for `compression` that passes data on to `data`, which must outlive it.
/// Throws PersistError unsupported where the codec is not built in.
[[nodiscard]] inline std::unique_ptr<PayloadEncoder> make_encoder(Compression compression, ByteSink& data,
                                                                  [[maybe_unused]] CodingResources resources) {
  switch (compression.codec()) {
    case Compression::Codec::none:
      return std::make_unique<coding::StoredEncoder>(data);
    case Compression::Codec::zstd:
#if IQDB_PERSIST_HAS_ZSTD
      return std::make_unique<coding::ZstdEncoder>(data, compression.level(), resources);
#else
      break;
#endif
    case Compression::Codec::lz4:
#if IQDB_PERSIST_HAS_LZ4
      return std::make_unique<coding::Lz4Encoder>(data, resources);
#else
      break;
#endif
  }
  throw_persist_error(PersistErrorKind::unsupported, "cannot compress: the program was built without this codec");
}

/// A decoder for the `data_bytes` that `data` gives, which are stated to decode by `preamble`; `data` must outlive it.
/// Throws PersistError unsupported where the codec is not built in, invalid_payload or compression where the lengths
/// cannot be right.
[[nodiscard]] inline std::unique_ptr<PayloadDecoder> make_decoder(RegionPreamble preamble, ByteSource& data,
                                                                  std::uint64_t data_bytes,
                                                                  [[maybe_unused]] CodingResources resources) {
  [[maybe_unused]] const auto refuse = [](std::string_view codec) {
    throw_persist_error(PersistErrorKind::unsupported, "the snapshot is compressed with " + std::string(codec) +
                                                           ", but the program was built without it; build it with " +
                                                           std::string(codec));
  };
  switch (preamble.scheme) {
    case CompressionScheme::none:
      break;
    case CompressionScheme::zstd:
#if IQDB_PERSIST_HAS_ZSTD
      return std::make_unique<coding::FrameDecoder<coding::ZstdFrames>>(data, preamble.payload_bytes,
                                                                        resources.buffer_bytes);
#else
      refuse("zstd");
      break;
#endif
    case CompressionScheme::lz4_block:
#if IQDB_PERSIST_HAS_LZ4
      return std::make_unique<coding::Lz4BlockDecoder>(data, data_bytes, preamble.payload_bytes);
#else
      refuse("lz4");
      break;
#endif
    case CompressionScheme::lz4_frames:
#if IQDB_PERSIST_HAS_LZ4
      return std::make_unique<coding::FrameDecoder<coding::Lz4Frames>>(data, preamble.payload_bytes,
                                                                       resources.buffer_bytes);
#else
      refuse("lz4");
      break;
#endif
  }
  return std::make_unique<coding::StoredDecoder>(data, data_bytes, preamble.payload_bytes);
}

}  // namespace iqdb
