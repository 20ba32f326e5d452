// LZ4: a payload as one raw block, or as frames where it is too large for one. The only header that includes <lz4*.h>.
#pragma once

#if IQDB_PERSIST_HAS_LZ4

#include <lz4.h>
#include <lz4frame.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "iqdb/persist/codec.hpp"
#include "iqdb/persist/format.hpp"
#include "iqdb/persist/huge_pages.hpp"
#include "iqdb/persist/stream.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace coding {

[[nodiscard]] inline std::size_t lz4_checked(std::size_t result, std::string_view call) {
  if (LZ4F_isError(result) != 0U) {
    throw_failed(call, LZ4F_getErrorName(result));
  }
  return result;
}

/// Memory for a whole block or payload, not initialised.
using Lz4Buffer = std::vector<std::byte, HugePageAllocator<std::byte>>;

/// Bytes that grow where they lie: realloc extends a large block by remapping its pages, whereas a vector holds the old
/// and the new block at once. In ordinary pages: to remap huge ones took twice the time that they saved.
class GrowingBuffer {
 public:
  void append(std::span<const std::byte> bytes) {
    if (bytes.size() > capacity_ - size_) {
      std::size_t capacity = std::max(size_ + bytes.size(), capacity_ + capacity_ / 2);
      if (capacity > largest_small_bytes) {
        capacity = std::max(capacity, least_large_bytes);
      }
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

  // In between lies what glibc may take from its heap, up to DEFAULT_MMAP_THRESHOLD_MAX of 32 MiB (mallopt(3)): that is
  // copied when it grows, and what it leaves behind stays in the heap. Of the large one only what is filled takes
  // memory.
  static constexpr std::size_t largest_small_bytes = std::size_t{1} * 1024 * 1024;
  static constexpr std::size_t least_large_bytes = std::size_t{48} * 1024 * 1024;

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
    Lz4Buffer block(static_cast<std::size_t>(bound));
    const int block_bytes = LZ4_compress_default(reinterpret_cast<const char*>(payload.data()),
                                                 reinterpret_cast<char*>(block.data()), payload_bytes, bound);
    if (block_bytes <= 0) {
      throw_failed("LZ4_compress_default", std::to_string(block_bytes));
    }
    block_.clear();
    data_->write(std::span<const std::byte>(block).first(static_cast<std::size_t>(block_bytes)));
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
    // No byte of a block stands for more than 255 of the payload (LZ4 block format, "match length"), so that what is
    // set aside below is in proportion to bytes that are there.
    constexpr std::uint64_t greatest_ratio = 255;
    if (payload_bytes > LZ4_MAX_INPUT_SIZE || payload_bytes / greatest_ratio > data_bytes) {
      throw_corrupt("LZ4", "has " + std::to_string(data_bytes) + " bytes, which cannot stand for the stated " +
                               std::to_string(payload_bytes));
    }
    if (data_bytes > static_cast<std::uint64_t>(LZ4_compressBound(LZ4_MAX_INPUT_SIZE))) {
      throw_corrupt("LZ4", "has " + std::to_string(data_bytes) + " bytes, more than any block");
    }
    Reader reader(data, data_bytes, LengthEvidence::stored);
    Lz4Buffer block(static_cast<std::size_t>(data_bytes));
    reader.read(block);
    payload_.resize(size_);
    const int decoded =
        LZ4_decompress_safe(reinterpret_cast<const char*>(block.data()), reinterpret_cast<char*>(payload_.data()),
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
    std::copy_n(payload_.data() + read_, count, into.data());
    read_ += count;
    return count;
  }

  [[nodiscard]] LengthEvidence evidence() const noexcept override { return LengthEvidence::stored; }
  void finish() override {}

 private:
  Lz4Buffer payload_;
  std::size_t size_;
  std::size_t read_ = 0;
};

}  // namespace coding

}  // namespace iqdb::inline IQDB_PERSIST_ABI

#endif  // IQDB_PERSIST_HAS_LZ4
