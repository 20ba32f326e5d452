// Encodes frames: the body first, then the header with the checksum in front of it.
//
// Invariant: no frame is larger than a reader accepts.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/wal_format.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Encodes frames, one or several that follow one another, into one buffer that is reused.
class FrameEncoder {
 public:
  /// Begins a frame, in place of those that were encoded before, or `behind` them. The caller writes its body to the returned
  /// Writer.
  [[nodiscard]] Writer& begin(bool behind = false) {
    writer_.flush();  // what is left of a body whose encoding failed
    start_ = behind ? frames_.bytes().size() : 0;
    frames_.resize(start_ + FrameHeader::bytes);
    return writer_;
  }

  /// Ends the frame. Returns its bytes, with those of the frames before it if it stands behind some; they are valid until the next begin(). Throws PersistError
  /// record_too_large if the body is larger than a reader of the log accepts (largest_frame_body).
  [[nodiscard]] std::span<const std::byte> finish(std::uint64_t log_id, std::uint64_t lsn, std::uint64_t durable) {
    writer_.flush();
    const std::span<std::byte> frame = frames_.bytes().subspan(start_);
    const std::span<const std::byte> body = frame.subspan(FrameHeader::bytes);
    if (body.size() > largest_frame_body) {
      throw_persist_error(PersistErrorKind::record_too_large,
                          "the record has " + std::to_string(body.size()) + " bytes, but a log takes at most " +
                              std::to_string(largest_frame_body) + "; split the batch, or store less metadata");
    }
    FrameHeader header{
        .body_bytes = static_cast<std::uint32_t>(body.size()), .crc32 = 0, .lsn = lsn, .durable = durable};
    header.crc32 = frame_checksum(log_id, header, body);
    const auto fields = encoded(header);
    std::copy(fields.begin(), fields.end(), frame.begin());
    return frames_.bytes();
  }

 private:
  class Buffer final : public ByteSink {
   public:
    void resize(std::size_t size) { bytes_.resize(size); }
    void write(std::span<const std::byte> bytes) override { bytes_.insert(bytes_.end(), bytes.begin(), bytes.end()); }
    [[nodiscard]] std::span<std::byte> bytes() noexcept { return bytes_; }

   private:
    std::vector<std::byte> bytes_;
  };

  static constexpr std::size_t writer_buffer_bytes = 4096;

  Buffer frames_;
  std::size_t start_ = 0;  // of the frame that is being encoded
  Writer writer_{frames_, writer_buffer_bytes};
};

}  // namespace iqdb
