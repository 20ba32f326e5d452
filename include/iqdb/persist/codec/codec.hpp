// The interface of codecs. An encoder turns a payload into data; a decoder turns data back into the payload.
//
// Invariants: an encoder passes its output on to a sink. A decoder trusts no length: the first byte beyond the stated
// length is an error. A decoder says how far the stated length can be trusted before it is decoded.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/codec/compression_scheme.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// The memory and threads that a codec may use: see PersistConfig.
struct CodingResources {
  std::size_t buffer_bytes;  ///< the size of each buffer, in bytes
  unsigned helper_threads;   ///< threads besides the caller's
};

/// Encodes a payload and passes the data on. Used by one thread.
class PayloadEncoder : public ByteSink {
 public:
  /// Passes on the data that is still held. write() must not be called afterwards. Throws, as write() does, what the
  /// sink throws, PersistError compression if the codec fails, and std::bad_alloc.
  virtual void finish() = 0;

  /// The scheme by which the data is encoded; known after finish().
  [[nodiscard]] virtual CompressionScheme scheme() const noexcept = 0;
};

/// Decodes data into the payload. Used by one thread.
class PayloadDecoder : public ByteSource {
 public:
  /// How far the payload's stated length can be trusted before it is decoded.
  [[nodiscard]] virtual LengthEvidence evidence() const noexcept = 0;

  /// Decodes what was not read yet. Throws PersistError compression unless the data decodes to exactly the stated
  /// length and ends there.
  virtual void finish() = 0;
};

namespace coding {

[[noreturn, gnu::cold, gnu::noinline]] inline void throw_corrupt(std::string_view codec, std::string_view found) {
  throw_persist_error(PersistErrorKind::compression, "cannot decompress: the " + std::string(codec) + " data " +
                                                         std::string(found) +
                                                         "; the file was made by something else or is damaged");
}

[[noreturn, gnu::cold, gnu::noinline]] inline void throw_failed(std::string_view call, std::string_view answer) {
  throw_persist_error(PersistErrorKind::compression,
                      "the codec failed: " + std::string(call) + " answered: " + std::string(answer));
}

[[noreturn, gnu::cold, gnu::noinline]] inline void throw_longer(std::string_view codec, std::uint64_t stated) {
  throw_corrupt(codec, "decodes to more than the stated " + std::to_string(stated) + " bytes");
}

class StoredEncoder final : public PayloadEncoder {
 public:
  explicit StoredEncoder(ByteSink& data) : data_(&data) {}
  void write(std::span<const std::byte> bytes) override { data_->write(bytes); }
  void finish() override {}
  [[nodiscard]] CompressionScheme scheme() const noexcept override { return CompressionScheme::none; }

 private:
  ByteSink* data_;
};

class StoredDecoder final : public PayloadDecoder {
 public:
  StoredDecoder(ByteSource& data, std::uint64_t data_bytes, std::uint64_t payload_bytes) : data_(&data) {
    if (data_bytes != payload_bytes) {
      throw_persist_error(PersistErrorKind::invalid_payload,
                          "the payload is stated to have " + std::to_string(payload_bytes) +
                              " bytes, but it is stored as it is and has " + std::to_string(data_bytes) +
                              "; the file was made by something else or is damaged");
    }
  }
  std::size_t read(std::span<std::byte> into) override { return data_->read(into); }
  std::uint64_t skip(std::uint64_t count) override { return data_->skip(count); }
  [[nodiscard]] LengthEvidence evidence() const noexcept override { return LengthEvidence::stored; }
  void finish() override {}

 private:
  ByteSource* data_;
};

/// What another decoder has decoded already.
struct DecodedBefore {
  std::uint64_t bytes = 0;  ///< the number of payload bytes
  bool any_frame = false;   ///< whether it decoded a frame, even an empty one
};

/// Decodes any concatenation of frames. `Frames` wraps a codec's streaming context:
///   name                      the codec's name in messages
///   decode(input, output)     moves both spans past what it read and wrote; returns true at the end of a frame
template <class Frames>
class FrameDecoder final : public PayloadDecoder {
 public:
  /// `data`, which must outlive this, begins behind the frames that were decoded `before`.
  FrameDecoder(ByteSource& data, std::uint64_t payload_bytes, std::size_t buffer_bytes, DecodedBefore before = {})
      : data_(&data),
        stated_(payload_bytes),
        decoded_(before.bytes),
        buffer_(buffer_bytes),
        any_frame_(before.any_frame) {}

  std::size_t read(std::span<std::byte> into) override {
    const auto wanted = into.first(static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), stated_ - decoded_)));
    const std::size_t count = wanted.empty() ? 0 : decode(wanted);
    if (count == 0 && decoded_ < stated_) {
      throw_corrupt(Frames::name, "decodes to " + std::to_string(decoded_) + " bytes, but " + std::to_string(stated_) +
                                      " are stated");
    }
    decoded_ += count;
    return count;
  }

  [[nodiscard]] LengthEvidence evidence() const noexcept override { return LengthEvidence::stated; }

  void finish() override {
    std::vector<std::byte> unread(
        static_cast<std::size_t>(std::min<std::uint64_t>(buffer_.size(), stated_ - decoded_)));
    while (decoded_ < stated_) {
      read(unread);
    }
    std::array<std::byte, 1> beyond{};
    if (decode(beyond) > 0) {
      throw_longer(Frames::name, stated_);
    }
  }

 private:
  // Decodes at least one byte, or returns 0 at the end of the data. Throws if that is not the end of a frame.
  std::size_t decode(std::span<std::byte> into) {
    std::span<std::byte> room = into;
    for (;;) {
      if (input_.empty() && !at_end_) {
        const std::size_t count = data_->read(buffer_);
        input_ = std::span<const std::byte>(buffer_).first(count);
        at_end_ = count == 0;
      }
      if (at_end_ && !within_frame_) {
        if (!any_frame_) {
          throw_corrupt(Frames::name, "is empty");
        }
        return 0;
      }
      within_frame_ = !frames_.decode(input_, room);
      any_frame_ = true;
      if (room.size() < into.size()) {
        return into.size() - room.size();
      }
      if (at_end_ && within_frame_) {
        throw_corrupt(Frames::name, "ends within a frame");
      }
    }
  }

  ByteSource* data_;
  std::uint64_t stated_;
  std::uint64_t decoded_;
  std::vector<std::byte> buffer_;
  std::span<const std::byte> input_;  // read, not yet decoded
  Frames frames_;
  bool at_end_ = false;  // the source has no more data, and input_ is empty
  bool within_frame_ = false;
  bool any_frame_;
};

}  // namespace coding

}  // namespace iqdb
