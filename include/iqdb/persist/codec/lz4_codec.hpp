// LZ4: encodes a payload as one raw block, which several threads compress at the same time, or as frames if it is too
// large for one block. The only header that includes <lz4*.h>.
#pragma once

#if IQDB_PERSIST_HAS_LZ4

#include <lz4.h>
#include <lz4frame.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "iqdb/persist/bytes/huge_pages.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/codec/codec.hpp"
#include "iqdb/persist/codec/codec_workers.hpp"
#include "iqdb/persist/codec/compression_scheme.hpp"
#include "iqdb/persist/codec/lz4_block.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace coding {

[[nodiscard]] inline std::size_t lz4_checked(std::size_t result, std::string_view call) {
  if (LZ4F_isError(result) != 0U) {
    throw_failed(call, LZ4F_getErrorName(result));
  }
  return result;
}

/// Uninitialised memory for a whole block or payload.
using Lz4Buffer = std::vector<std::byte, HugePageAllocator<std::byte>>;

/// How many payload bytes a thread compresses at a time. With larger parts the threads would get less even shares; with
/// smaller ones they would spend their time on loading the window before each part.
inline constexpr std::size_t lz4_part_bytes = std::size_t{512} * 1024;

/// The largest number of parts that are compressed at the same time.
inline constexpr std::size_t lz4_most_parts = 8;

/// How many bytes back a match may reach (LZ4 block format, "offset").
inline constexpr std::size_t lz4_window_bytes = std::size_t{64} * 1024;

/// Encodes a payload as one raw block, which it holds in memory until finish(). Changes to frames once the payload is
/// too large for one block.
///
/// The block depends on the payload alone, not on the number of threads.
class Lz4Encoder final : public PayloadEncoder {
 public:
  /// `largest_block` is the most payload bytes that one block may hold, at most LZ4_MAX_INPUT_SIZE. `data` must outlive
  /// this. Throws std::bad_alloc.
  Lz4Encoder(ByteSink& data, CodingResources resources, std::size_t largest_block = LZ4_MAX_INPUT_SIZE)
      : data_(&data),
        piece_bytes_(resources.buffer_bytes),
        largest_block_(largest_block),
        most_parts_(resources.helper_threads == 0 ? 1 : lz4_most_parts),
        workers_(resources.helper_threads, most_parts_ - 1, &LZ4_createStream),
        // Not zeroed: pages that a small payload does not reach are never touched and take no memory.
        input_(std::make_unique_for_overwrite<std::byte[]>(lz4_window_bytes +  // NOLINT(*-c-arrays)
                                                           most_parts_ * lz4_part_bytes)) {}

  void write(std::span<const std::byte> bytes) override {
    if (frames_.get() == nullptr && bytes.size() > largest_block_ - payload_bytes_) {
      change_to_frames();
    }
    if (frames_.get() != nullptr) {
      write_frames(bytes);
      return;
    }
    payload_bytes_ += bytes.size();
    while (!bytes.empty()) {
      const std::size_t count = std::min(bytes.size(), most_parts_ * lz4_part_bytes - used_);
      std::memcpy(input_.get() + before_ + used_, bytes.data(), count);
      used_ += count;
      bytes = bytes.subspan(count);
      if (used_ == most_parts_ * lz4_part_bytes) {
        compress_parts();
      }
    }
  }

  void finish() override {
    if (frames_.get() == nullptr) {
      finish_block();
      block_.for_each([this](std::span<const std::byte> piece) { data_->write(piece); });
    } else {
      pass_on(
          lz4_checked(LZ4F_compressEnd(frames_.get(), output_.data(), output_.size(), nullptr), "LZ4F_compressEnd"));
    }
  }

  [[nodiscard]] CompressionScheme scheme() const noexcept override {
    return frames_.get() == nullptr ? CompressionScheme::lz4_block : CompressionScheme::lz4_frames;
  }

 private:
  // Compresses the gathered bytes, each part with the window before it as its dictionary.
  void compress_parts() {
    const std::size_t parts = (used_ + lz4_part_bytes - 1) / lz4_part_bytes;
    const int bound = LZ4_compressBound(static_cast<int>(std::min(used_, lz4_part_bytes)));
    output_.resize(std::max(output_.size(), parts * static_cast<std::size_t>(bound)));
    std::array<Part, lz4_most_parts> made_parts;
    workers_.share_out(parts, [&](LZ4_stream_t* stream, std::size_t number) {
      const std::size_t begin = before_ + number * lz4_part_bytes;
      const std::size_t window = std::min(begin, lz4_window_bytes);
      const auto room =
          std::span(output_).subspan(number * static_cast<std::size_t>(bound), static_cast<std::size_t>(bound));
      const char* const part = reinterpret_cast<const char*>(input_.get() + begin);
      std::ignore = LZ4_loadDict(stream, part - window, static_cast<int>(window));
      const int bytes =
          LZ4_compress_fast_continue(stream, part, reinterpret_cast<char*>(room.data()),
                                     static_cast<int>(std::min(lz4_part_bytes, before_ + used_ - begin)), bound, 1);
      if (bytes <= 0) {
        throw_failed("LZ4_compress_fast_continue", std::to_string(bytes));
      }
      const auto block = room.first(static_cast<std::size_t>(bytes));
      made_parts[number] = {.block = block, .ends = find_lz4_ends(block)};
    });
    for (const Part& part : std::span(made_parts).first(parts)) {
      block_.append(part.block, part.ends);
    }
    const std::size_t kept = std::min(before_ + used_, lz4_window_bytes);
    std::memmove(input_.get(), input_.get() + before_ + used_ - kept, kept);
    before_ = kept;
    used_ = 0;
  }

  void finish_block() {
    if (used_ > 0) {
      compress_parts();
    }
    block_.finish();
  }

  // Decompresses the block, the only copy of the payload so far, and encodes the payload as frames.
  void change_to_frames() {
    Lz4Buffer payload(payload_bytes_);
    if (payload_bytes_ > 0) {
      finish_block();
      Lz4Buffer block(static_cast<std::size_t>(block_.size()));
      block_.for_each([room = block.data()](std::span<const std::byte> piece) mutable {
        std::memcpy(room, piece.data(), piece.size());
        room += piece.size();
      });
      block_ = {};
      const int decoded =
          LZ4_decompress_safe(reinterpret_cast<const char*>(block.data()), reinterpret_cast<char*>(payload.data()),
                              static_cast<int>(block.size()), static_cast<int>(payload.size()));
      if (decoded != static_cast<int>(payload.size())) {
        throw_failed("LZ4_decompress_safe", std::to_string(decoded));
      }
    }
    begin_frame();
    write_frames(payload);
  }

  void begin_frame() {
    LZ4F_cctx* context = nullptr;
    std::ignore = lz4_checked(LZ4F_createCompressionContext(&context, LZ4F_VERSION), "LZ4F_createCompressionContext");
    frames_ = Owned<LZ4F_cctx, &LZ4F_freeCompressionContext>(context);
    LZ4F_preferences_t preferences{};
    preferences.frameInfo.blockSizeID = LZ4F_max256KB;
    output_.resize(std::max<std::size_t>(LZ4F_compressBound(piece_bytes_, &preferences), LZ4F_HEADER_SIZE_MAX));
    pass_on(lz4_checked(LZ4F_compressBegin(frames_.get(), output_.data(), output_.size(), &preferences),
                        "LZ4F_compressBegin"));
  }

  void write_frames(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const auto piece = bytes.first(std::min(bytes.size(), piece_bytes_));
      pass_on(lz4_checked(
          LZ4F_compressUpdate(frames_.get(), output_.data(), output_.size(), piece.data(), piece.size(), nullptr),
          "LZ4F_compressUpdate"));
      bytes = bytes.subspan(piece.size());
    }
  }

  void pass_on(std::size_t bytes) { data_->write(std::span<const std::byte>(output_).first(bytes)); }

  struct Part {
    std::span<const std::byte> block;
    Lz4Ends ends;
  };

  ByteSink* data_;
  std::size_t piece_bytes_;
  std::size_t largest_block_;
  std::size_t most_parts_;  // how many are compressed at the same time
  CodecWorkers<LZ4_stream_t, &LZ4_freeStream> workers_;
  std::unique_ptr<std::byte[]> input_;  // NOLINT(*-c-arrays): the window, and behind it room for most_parts_ parts
  std::size_t before_ = 0;              // bytes in the window
  std::size_t used_ = 0;                // bytes gathered behind the window
  std::size_t payload_bytes_ = 0;       // payload bytes in the block
  Lz4BlockJoiner block_;
  Owned<LZ4F_cctx, &LZ4F_freeCompressionContext> frames_;  // null while one block can hold the payload
  Lz4Buffer output_;
};

/// LZ4's streaming decoder, for FrameDecoder.
class Lz4Frames {
 public:
  static constexpr std::string_view name = "LZ4";

  Lz4Frames() {
    LZ4F_dctx* context = nullptr;
    std::ignore =
        lz4_checked(LZ4F_createDecompressionContext(&context, LZ4F_VERSION), "LZ4F_createDecompressionContext");
    context_ = Owned<LZ4F_dctx, &LZ4F_freeDecompressionContext>(context);
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
  Owned<LZ4F_dctx, &LZ4F_freeDecompressionContext> context_;
};

/// Decodes one raw block as a whole in the constructor, since only that shows whether it is valid. The constructor
/// throws PersistError compression if it is not, what the source throws, and std::bad_alloc.
class Lz4BlockDecoder final : public PayloadDecoder {
 public:
  Lz4BlockDecoder(ByteSource& data, std::uint64_t data_bytes, std::uint64_t payload_bytes)
      : size_(static_cast<std::size_t>(payload_bytes)) {
    // No byte of a block decodes to more than 255 payload bytes (LZ4 block format, "match length"). So the memory
    // allocated below is in proportion to bytes that exist.
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
