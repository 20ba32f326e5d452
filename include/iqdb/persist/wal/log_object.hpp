// An object of a log on an object store as a whole: what follows its header, encoded and decoded.
//
// Invariant: an object that decodes is complete to its last byte. It was stored whole, so nothing of it is ever torn, and what
// does not validate is damage.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/storage/object_store.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/frame_body.hpp"
#include "iqdb/persist/wal/frame_encoder.hpp"
#include "iqdb/persist/wal/object_format.hpp"
#include "iqdb/persist/wal/wal_format.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// A frame of a log object.
struct LogObjectFrame {
  std::uint64_t lsn = 0;        ///< of its first mutation; of a frame without any: of the mutation that follows
  std::uint64_t mutations = 0;  ///< how many it holds
  std::size_t begin = 0;        ///< where its body begins in the object
  std::size_t bytes = 0;        ///< the size of its body
};

/// What a checkpoint object says.
struct PublishedSnapshot {
  std::string key;          ///< of the snapshot in the store
  Fingerprint fingerprint;  ///< of the snapshot
  std::uint64_t lsn = 0;    ///< the last mutation that it holds

  friend bool operator==(const PublishedSnapshot&, const PublishedSnapshot&) = default;
};

/// An object of a log, decoded.
struct LogObject {
  LogObjectHeader header;
  std::vector<LogObjectFrame> frames;  ///< in their order; of a fence none
  PublishedSnapshot snapshot;          ///< of a checkpoint
  ObjectBytes bytes;                   ///< the whole object, which holds the bodies

  /// The body of one of its frames. Valid as long as this object.
  [[nodiscard]] std::span<const std::byte> body(const LogObjectFrame& frame) const {
    return std::span(bytes).subspan(frame.begin, frame.bytes);
  }

  /// The LSN before the first mutation of the object that follows.
  [[nodiscard]] std::uint64_t last_lsn() const noexcept {
    return frames.empty() ? header.base_lsn : frames.back().lsn + frames.back().mutations - 1;
  }
};

namespace log_objects {

inline constexpr std::uint32_t frame_version = 3;  // of the log whose frames these are
static_assert(frame_version == log_version);

inline void append(ObjectBytes& object, std::span<const std::byte> bytes) {
  object.insert(object.end(), bytes.begin(), bytes.end());
}

// Reads the frames from `begin` to the end of the object.
[[nodiscard]] inline std::vector<LogObjectFrame> read_frames(const LogObjectHeader& header, std::string_view key,
                                                             std::span<const std::byte> object, std::size_t begin) {
  std::vector<LogObjectFrame> frames;
  for (std::uint64_t lsn = header.base_lsn + 1; begin < object.size();) {
    const std::span<const std::byte> rest = object.subspan(begin);
    if (rest.size() < FrameHeader::bytes) {
      fail(key, "it ends within the header of a frame", begin);
    }
    const FrameHeader found = read_frame_header(rest.first<FrameHeader::bytes>());
    if (found.body_bytes == 0 ||
        found.body_bytes > std::min<std::uint64_t>(largest_frame_body, rest.size() - FrameHeader::bytes)) {
      fail(key,
           "a frame has a body of " + std::to_string(found.body_bytes) + " bytes, and " +
               std::to_string(rest.size() - FrameHeader::bytes) + " follow",
           begin);
    }
    const auto body = rest.subspan(FrameHeader::bytes, found.body_bytes);
    if (found.crc32 != frame_checksum(header.nonce, found, body)) {
      fail(key, "the checksum of a frame is wrong", begin);
    }
    if (found.lsn != lsn || found.durable != 0) {
      fail(key,
           "a frame has the LSN " + std::to_string(found.lsn) + " and the durable field " +
               std::to_string(found.durable) + ", expected " + std::to_string(lsn) + " and 0",
           begin);
    }
    std::uint64_t mutations = 0;
    try {
      mutations = FrameBody(body, frame_version).mutations();
    } catch (const PersistError& error) {
      fail(key, std::string("a frame is not what a writer makes: ") + error.what(), begin);
    }
    frames.push_back(
        {.lsn = lsn, .mutations = mutations, .begin = begin + std::size_t{FrameHeader::bytes}, .bytes = body.size()});
    lsn += mutations;
    begin += FrameHeader::bytes + body.size();
  }
  return frames;
}

// Throws unless the frames are what an object of this kind holds.
inline void require_frames_of_kind(const LogObject& object, std::string_view key) {
  const auto op_of = [&](const LogObjectFrame& frame) { return static_cast<FrameOp>(object.body(frame).front()); };
  const auto is_one = [&](FrameOp op) { return object.frames.size() == 1 && op_of(object.frames.front()) == op; };
  const bool is_right = [&] {
    switch (object.header.kind) {
      case LogObjectKind::fence:
        return object.frames.empty();
      case LogObjectKind::frames:
        return !object.frames.empty() && std::ranges::none_of(object.frames, [&](const LogObjectFrame& frame) {
          return op_of(frame) == FrameOp::checkpoint || op_of(frame) == FrameOp::close;
        });
      case LogObjectKind::checkpoint:
        return is_one(FrameOp::checkpoint);
      case LogObjectKind::close:
        return is_one(FrameOp::close);
    }
    return false;
  }();
  if (!is_right) {
    fail(key, "an object of the kind " + std::to_string(static_cast<unsigned>(object.header.kind)) + " holds " +
                  std::to_string(object.frames.size()) + " frames, or frames of another kind");
  }
}

}  // namespace log_objects

/// The bytes of an object that holds frames with these bodies, in their order; of a fence without any. Throws PersistError
/// record_too_large if a body is larger than a reader of the log accepts; invalid_payload or truncated_payload if one is no
/// body of a frame.
[[nodiscard]] inline ObjectBytes encode_log_object(const LogObjectHeader& header,
                                                   std::span<const std::span<const std::byte>> bodies) {
  ObjectBytes object;
  log_objects::append(object, encoded(header));
  FrameEncoder encoder;
  std::uint64_t lsn = header.base_lsn + 1;
  for (const std::span<const std::byte> body : bodies) {
    const std::uint64_t mutations = FrameBody(body, log_objects::frame_version).mutations();
    encoder.begin().write(body);
    log_objects::append(object, encoder.finish(header.nonce, lsn, 0));
    lsn += mutations;
  }
  return object;
}

/// The bytes of a checkpoint object.
[[nodiscard]] inline ObjectBytes encode_log_checkpoint(const LogObjectHeader& header,
                                                       const PublishedSnapshot& snapshot) {
  ObjectBytes object;
  log_objects::append(object, encoded(header));
  log_objects::append(object, bytes_of([&](Writer& writer) {
                        writer.write_le(static_cast<std::uint32_t>(snapshot.key.size()));
                        writer.write_array(snapshot.key);
                      }));
  FrameEncoder encoder;
  write_checkpoint(encoder.begin(), snapshot.fingerprint, snapshot.lsn);
  log_objects::append(object, encoder.finish(header.nonce, header.base_lsn + 1, 0));
  return object;
}

/// The bytes of a close object.
[[nodiscard]] inline ObjectBytes encode_log_close(const LogObjectHeader& header) {
  const auto body = bytes_of([](Writer& writer) { write_close(writer); });
  const std::span<const std::byte> only = body;
  return encode_log_object(header, std::span(&only, 1));
}

/// Decodes the object `number`, whose key is `key`. The mutations within its frames are not decoded yet. Throws PersistError
/// log_corrupted if it is not complete and correct; unsupported_version if this library does not know its version.
[[nodiscard]] inline LogObject read_log_object(ObjectBytes bytes, std::string_view key, std::uint64_t number) {
  LogObject object;
  object.header = read_log_object_header(bytes, key, number);
  object.bytes = std::move(bytes);
  std::size_t begin = log_object_header_bytes;
  if (object.header.kind == LogObjectKind::checkpoint) {
    try {
      Reader reader(std::span(object.bytes).subspan(begin));
      const auto length = reader.read_le<std::uint32_t>();
      object.snapshot.key = reader.read_string(length);
      begin += static_cast<std::size_t>(reader.position());
    } catch (const PersistError& error) {
      log_objects::fail(key, std::string("it names no snapshot: ") + error.what(), begin);
    }
  }
  object.frames = log_objects::read_frames(object.header, key, object.bytes, begin);
  log_objects::require_frames_of_kind(object, key);
  if (object.header.kind == LogObjectKind::checkpoint) {
    const FrameBody body(object.body(object.frames.front()), log_objects::frame_version);
    object.snapshot.fingerprint = body.fingerprint();
    object.snapshot.lsn = body.checkpoint_lsn().value_or(0);
    if (object.snapshot.lsn > object.header.base_lsn) {
      log_objects::fail(key, "its snapshot holds mutations up to " + std::to_string(object.snapshot.lsn) +
                                 ", but the log in front of it has " + std::to_string(object.header.base_lsn));
    }
  }
  return object;
}

}  // namespace iqdb
