// zstd: encodes a payload as frames of a fixed size, which several threads compress and decompress at the same time.
// The only header that includes <zstd.h>.
//
// zstd's own workers are not used: they share one input, which costs more memory (51 MiB for two at level 3) or, with
// smaller jobs, time (a quarter at 1 MiB).
//
// Invariant: the data depends on the payload and the level alone, not on the number of threads.
//
// Data from other programs may have large frames or frames that do not state their size. It is decoded as a stream.
#pragma once

#if IQDB_PERSIST_HAS_ZSTD

#include <zstd.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/persist/bytes/helper_threads.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/codec/codec.hpp"
#include "iqdb/persist/codec/codec_workers.hpp"
#include "iqdb/persist/codec/compression_scheme.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace coding {

[[nodiscard]] inline std::size_t zstd_checked(std::size_t result, std::string_view call) {
  if (ZSTD_isError(result) != 0) {
    throw_failed(call, ZSTD_getErrorName(result));
  }
  return result;
}

/// How many payload bytes a frame holds. Up to level 12 zstd is fastest on small frames, and compresses rows of numbers
/// no worse. Higher levels have larger windows and need larger frames.
[[nodiscard]] constexpr std::size_t zstd_frame_bytes(int level) noexcept {
  constexpr int highest_fast_level = 12;
  return std::size_t{level <= highest_fast_level ? 256U : 1024U} * 1024;
}

/// The largest number of payload bytes that are decompressed at the same time.
inline constexpr std::size_t zstd_batch_bytes = std::size_t{8} * 1024 * 1024;

/// The largest number of payload bytes that are compressed at the same time. As much again is taken for what comes of them: with the
/// contexts and the blocks on their way to the disk, a save takes 30 MiB beside the index.
inline constexpr std::size_t zstd_encoded_batch_bytes = std::size_t{7} * 1024 * 1024;

/// Encodes a payload as frames of zstd_frame_bytes(level). Appends skippable frames if the payload is more than 4096
/// times as long as the data: otherwise the Rust crate's guard against decompression bombs would refuse it.
class ZstdEncoder final : public PayloadEncoder {
 public:
  ZstdEncoder(ByteSink& data, int level, CodingResources resources)
      : data_(&data),
        frame_bytes_(zstd_frame_bytes(level)),
        most_frames_(resources.helper_threads == 0 ? 1 : zstd_encoded_batch_bytes / frame_bytes_),
        workers_(resources.helper_threads, most_frames_ - 1, &ZSTD_createCCtx),
        input_(std::make_unique_for_overwrite<std::byte[]>(most_frames_ * frame_bytes_)) {  // NOLINT(*-c-arrays)
    for (const auto& context : workers_.contexts()) {
      std::ignore = zstd_checked(ZSTD_CCtx_setParameter(context.get(), ZSTD_c_compressionLevel, level),
                                 "ZSTD_CCtx_setParameter(compressionLevel)");
    }
  }

  void write(std::span<const std::byte> bytes) override {
    payload_bytes_ += bytes.size();
    while (!bytes.empty()) {
      const std::size_t count = std::min(bytes.size(), most_frames_ * frame_bytes_ - used_);
      std::memcpy(input_.get() + used_, bytes.data(), count);
      used_ += count;
      bytes = bytes.subspan(count);
      if (used_ == most_frames_ * frame_bytes_) {
        compress();
      }
    }
  }

  void finish() override {
    if (used_ > 0 || payload_bytes_ == 0) {  // an empty payload is an empty frame: the format requires at least one
      compress();
    }
    pad();
  }

  [[nodiscard]] CompressionScheme scheme() const noexcept override { return CompressionScheme::zstd; }

 private:
  // Compresses the gathered bytes into frames and passes them on.
  void compress() {
    const std::size_t frames = std::max<std::size_t>(1, (used_ + frame_bytes_ - 1) / frame_bytes_);
    const std::size_t bound = ZSTD_compressBound(std::min(used_, frame_bytes_));
    if (output_bytes_ < frames * bound) {
      output_ = std::make_unique_for_overwrite<std::byte[]>(frames * bound);  // NOLINT(*-c-arrays)
      output_bytes_ = frames * bound;
    }
    std::vector<std::size_t> sizes(frames);
    workers_.share_out(frames, [&](ZSTD_CCtx* context, std::size_t number) {
      const std::size_t begin = number * frame_bytes_;
      sizes[number] = zstd_checked(ZSTD_compress2(context, output_.get() + number * bound, bound, input_.get() + begin,
                                                  std::min(frame_bytes_, used_ - begin)),
                                   "ZSTD_compress2");
    });
    for (std::size_t number = 0; number < frames; ++number) {
      pass_on({output_.get() + number * bound, sizes[number]});
    }
    used_ = 0;
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
      const std::vector<std::byte> zeros(std::min<std::size_t>(content, frame_bytes_));
      while (content > 0) {
        const auto piece = std::min<std::size_t>(content, zeros.size());
        pass_on(std::span(zeros).first(piece));
        content -= static_cast<std::uint32_t>(piece);
      }
    }
  }

  void pass_on(std::span<const std::byte> bytes) {
    data_->write(bytes);
    data_bytes_ += bytes.size();
  }

  ByteSink* data_;
  std::size_t frame_bytes_;
  std::size_t most_frames_;  // how many are compressed at the same time
  CodecWorkers<ZSTD_CCtx, &ZSTD_freeCCtx> workers_;
  std::unique_ptr<std::byte[]> input_;   // NOLINT(*-c-arrays): room for the payload of most_frames_ frames
  std::size_t used_ = 0;                 // bytes gathered in input_
  std::unique_ptr<std::byte[]> output_;  // NOLINT(*-c-arrays)
  std::size_t output_bytes_ = 0;
  std::uint64_t payload_bytes_ = 0;
  std::uint64_t data_bytes_ = 0;
};

/// zstd's streaming decoder, for FrameDecoder.
class ZstdFrames {
 public:
  static constexpr std::string_view name = "zstd";

  ZstdFrames() : context_(made(ZSTD_createDCtx())) {}

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
  Owned<ZSTD_DCtx, &ZSTD_freeDCtx> context_;
};

/// Decodes frames that fit in the input buffer and state their size, several at a time. From the first other frame on,
/// decodes everything as a stream.
class ZstdDecoder final : public PayloadDecoder {
 public:
  ZstdDecoder(ByteSource& data, std::uint64_t payload_bytes, CodingResources resources)
      : source_(*this),
        data_(&data),
        stated_(payload_bytes),
        buffer_bytes_(resources.buffer_bytes),
        most_bytes_(resources.helper_threads == 0 ? zstd_frame_bytes(1) : zstd_batch_bytes),
        workers_(resources.helper_threads, zstd_batch_bytes / zstd_frame_bytes(1) - 1, &ZSTD_createDCtx) {}

  std::size_t read(std::span<std::byte> into) override {
    while (!stream_ && ready_.empty() && decoded_ < stated_) {
      if (!gather()) {
        begin_stream();
      } else if (const std::size_t count = decode(into); count > 0) {
        return count;
      }
    }
    if (!ready_.empty()) {
      const std::size_t count = std::min(into.size(), ready_.size());
      std::memcpy(into.data(), ready_.data(), count);
      ready_ = ready_.subspan(count);
      return count;
    }
    return stream_ ? stream_->read(into) : 0;
  }

  [[nodiscard]] LengthEvidence evidence() const noexcept override { return LengthEvidence::stated; }

  void finish() override {
    while (!stream_ && decoded_ < stated_) {
      if (gather()) {
        std::ignore = decode({});
      } else {
        begin_stream();
      }
    }
    if (!stream_) {
      begin_stream();
    }
    stream_->finish();
  }

 private:
  struct Frame {
    std::span<const std::byte> data;
    std::size_t begin;  // where its payload begins in the payload of the frames that are decoded together
    std::size_t bytes;
  };

  // The bytes that were read and not decoded, and then the rest of the data.
  class Remainder final : public ByteSource {
   public:
    explicit Remainder(ZstdDecoder& decoder) : decoder_(&decoder) {}
    std::size_t read(std::span<std::byte> into) override {
      std::span<const std::byte>& held = decoder_->held_;
      if (held.empty()) {
        return decoder_->data_->read(into);
      }
      const std::size_t count = std::min(into.size(), held.size());
      std::memcpy(into.data(), held.data(), count);
      held = held.subspan(count);
      return count;
    }

   private:
    ZstdDecoder* decoder_;
  };

  static constexpr std::size_t most_frames = 256;  // the most that are decoded together, if they are small

  // Finds whole frames at the beginning of the held bytes, and reads more if it finds none. Returns whether it found
  // any.
  bool gather() {
    find_frames();
    if (frames_.empty()) {
      refill();
      find_frames();
    }
    return !frames_.empty();
  }

  void find_frames() {
    frames_.clear();
    std::size_t bytes = 0;
    for (std::span<const std::byte> left = held_; !left.empty() && frames_.size() < most_frames;) {
      const std::size_t data_bytes = ZSTD_findFrameCompressedSize(left.data(), left.size());
      const unsigned long long frame_bytes = ZSTD_getFrameContentSize(left.data(), left.size());
      // The frame is not whole, or its size is unknown, wrong, larger than the room left or than the payload left.
      if (ZSTD_isError(data_bytes) != 0 || frame_bytes > most_bytes_ - bytes ||
          frame_bytes > stated_ - decoded_ - bytes) {
        return;
      }
      frames_.push_back(
          {.data = left.first(data_bytes), .begin = bytes, .bytes = static_cast<std::size_t>(frame_bytes)});
      bytes += frames_.back().bytes;
      left = left.subspan(data_bytes);
    }
  }

  void refill() {
    const std::size_t room = ZSTD_compressBound(most_bytes_);
    if (input_ == nullptr) {
      input_ = std::make_unique_for_overwrite<std::byte[]>(room);  // NOLINT(*-c-arrays)
    }
    std::size_t used = held_.size();
    if (used > 0) {
      std::memmove(input_.get(), held_.data(), used);
    }
    for (std::size_t count = 1; count > 0 && used < room; used += count) {
      count = data_->read({input_.get() + used, room - used});
    }
    held_ = {input_.get(), used};
  }

  // Decodes the frames found. If `into` has room for all of them, decodes into it and returns the number of bytes.
  // Otherwise decodes into output_, from which read() copies, and returns 0.
  std::size_t decode(std::span<std::byte> into) {
    const std::size_t bytes = frames_.back().begin + frames_.back().bytes;
    const bool direct = bytes <= into.size();
    if (!direct && output_ == nullptr) {
      output_ = std::make_unique_for_overwrite<std::byte[]>(most_bytes_);  // NOLINT(*-c-arrays)
    }
    std::byte* const output = direct ? into.data() : output_.get();
    workers_.share_out(frames_.size(), [&](ZSTD_DCtx* context, std::size_t number) {
      const Frame& frame = frames_[number];
      const std::size_t count =
          ZSTD_decompressDCtx(context, output + frame.begin, frame.bytes, frame.data.data(), frame.data.size());
      if (ZSTD_isError(count) != 0) {
        throw_corrupt(ZstdFrames::name, std::string("is not valid: ") + ZSTD_getErrorName(count));
      }
    });
    held_ =
        held_.subspan(static_cast<std::size_t>(frames_.back().data.data() + frames_.back().data.size() - held_.data()));
    decoded_ += bytes;
    any_frame_ = true;
    if (direct) {
      return bytes;
    }
    ready_ = {output, bytes};
    return 0;
  }

  void begin_stream() {
    stream_.emplace(source_, stated_, buffer_bytes_, DecodedBefore{.bytes = decoded_, .any_frame = any_frame_});
  }

  Remainder source_;
  ByteSource* data_;
  std::uint64_t stated_;
  std::size_t buffer_bytes_;
  std::size_t most_bytes_;  // payload bytes that are decoded together
  CodecWorkers<ZSTD_DCtx, &ZSTD_freeDCtx> workers_;
  std::unique_ptr<std::byte[]> input_;   // NOLINT(*-c-arrays)
  std::span<const std::byte> held_;      // the part of input_ that was read and not decoded
  std::unique_ptr<std::byte[]> output_;  // NOLINT(*-c-arrays)
  std::span<const std::byte> ready_;     // the part of output_ that was decoded and not read
  std::vector<Frame> frames_;
  std::uint64_t decoded_ = 0;
  bool any_frame_ = false;
  std::optional<FrameDecoder<ZstdFrames>> stream_;
};

}  // namespace coding

}  // namespace iqdb::inline IQDB_PERSIST_ABI

#endif  // IQDB_PERSIST_HAS_ZSTD
