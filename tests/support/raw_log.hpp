// Logs made and taken apart by hand, as docs/format.md has them, without the code that is tested.
#pragma once

#include <zlib.h>

#include <algorithm>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/bytes.hpp"
#include "support/files.hpp"

namespace iqdb_test {

using ByteVector = std::vector<std::byte>;

/// The CRC32 of zlib.
[[nodiscard]] inline std::uint32_t crc32_of(std::span<const std::byte> bytes) {
  return static_cast<std::uint32_t>(
      ::crc32_z(0, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size()));  // NOLINT(*-reinterpret-cast)
}

/// The little-endian number of `size` bytes at `offset`.
[[nodiscard]] inline std::uint64_t number_at(std::span<const std::byte> bytes, std::size_t offset, std::size_t size) {
  std::uint64_t value = 0;
  for (std::size_t at = 0; at < size; ++at) {
    value |= std::to_integer<std::uint64_t>(bytes[offset + at]) << (8 * at);
  }
  return value;
}

inline constexpr std::size_t raw_header_bytes = 64;
inline constexpr std::size_t raw_frame_header_bytes = 24;
inline constexpr std::string_view raw_log_magic("IQDBWAL\0", 8);

/// A snapshot's fingerprint, 16 bytes: size, CRC32 of the header, CRC32 of the region as the header has it.
[[nodiscard]] inline ByteVector fingerprint_of(std::span<const std::byte> snapshot) {
  const auto header = 41 + static_cast<std::size_t>(number_at(snapshot, 12, 8));
  return Bytes()
      .u64(snapshot.size())
      .u32(crc32_of(snapshot.first(header)))
      .u32(static_cast<std::uint32_t>(number_at(snapshot, header - 4, 4)));
}

inline constexpr std::uint64_t raw_history_id = 0x4869;

/// A header of version 2 or 3. Version 2 has no history id.
[[nodiscard]] inline ByteVector raw_header(std::uint64_t log_id, std::uint64_t base_lsn,
                                           std::span<const std::byte> fingerprint, std::uint32_t version = 3,
                                           std::uint64_t history_id = raw_history_id) {
  const auto with = [&](std::uint32_t crc32) {
    return Bytes()
        .text(raw_log_magic)
        .u32(version)
        .u32(crc32)
        .u64(log_id)
        .u64(base_lsn)
        .append(fingerprint)
        .u64(version == 2 ? 0 : history_id)
        .append(ByteVector(8))
        .get();
  };
  return with(crc32_of(with(0)));
}

/// The version-3 header that `log` has if its random numbers are taken from it.
[[nodiscard]] inline ByteVector raw_header_of(std::span<const std::byte> log, std::uint64_t base_lsn,
                                              std::span<const std::byte> fingerprint) {
  return raw_header(number_at(log, 16, 8), base_lsn, fingerprint, 3, number_at(log, 48, 8));
}

/// A frame of version 2 or 3.
[[nodiscard]] inline ByteVector raw_frame(std::uint64_t log_id, std::uint64_t lsn, std::uint64_t durable,
                                          std::span<const std::byte> body) {
  const auto length = static_cast<std::uint32_t>(body.size());
  const std::uint32_t crc32 = crc32_of(Bytes().u64(log_id).u32(length).u64(lsn).u64(durable).append(body));
  return Bytes().u32(length).u32(crc32).u64(lsn).u64(durable).append(body);
}

/// A version-1 frame.
[[nodiscard]] inline ByteVector raw_frame_1(std::span<const std::byte> body) {
  return Bytes().u32(static_cast<std::uint32_t>(body.size())).u32(crc32_of(body)).append(body);
}

// Bodies. Identifiers are integers; `text` becomes a metadata entry of the key "t".
[[nodiscard]] inline Bytes insert_body(std::uint64_t id, std::span<const float> vector,
                                       std::optional<std::string> text = {}) {
  Bytes body;
  body.u8(1).u8(0).u64(id).u32(static_cast<std::uint32_t>(vector.size()));
  for (const float component : vector) {
    body.f32(component);
  }
  if (text) {
    body.u8(1).u32(1).u32(1).text("t").u8(0).u32(static_cast<std::uint32_t>(text->size())).text(*text);
  } else {
    body.u8(0);
  }
  return body;
}
[[nodiscard]] inline Bytes erase_body(std::uint64_t id) { return Bytes().u8(2).u8(0).u64(id); }
[[nodiscard]] inline Bytes batch_body(const std::vector<ByteVector>& mutations) {
  Bytes body;
  body.u8(3).u32(static_cast<std::uint32_t>(mutations.size()));
  for (const ByteVector& mutation : mutations) {
    body.append(mutation);
  }
  return body;
}
/// An insert body made an upsert body.
[[nodiscard]] inline ByteVector upsert_body(std::uint64_t id, std::span<const float> vector,
                                            std::optional<std::string> text = {}) {
  ByteVector body = insert_body(id, vector, std::move(text));
  body.front() = std::byte{7};
  return body;
}
/// Aborts of version 3: of one range, or of one mutation.
[[nodiscard]] inline Bytes abort_body(std::uint64_t first, std::uint64_t last) {
  return Bytes().u8(4).u32(1).u64(first).u64(last);
}
[[nodiscard]] inline Bytes abort_body(std::uint64_t lsn) { return abort_body(lsn, lsn); }
[[nodiscard]] inline Bytes checkpoint_body(std::span<const std::byte> fingerprint, std::uint64_t lsn) {
  return Bytes().u8(5).append(fingerprint).u64(lsn);
}
[[nodiscard]] inline Bytes time_body(std::int64_t milliseconds) {
  return Bytes().u8(9).u64(static_cast<std::uint64_t>(milliseconds));
}
/// Those of version 2: an abort goes to the end of the frame before it, a checkpoint holds everything before it.
[[nodiscard]] inline Bytes abort_body_2(std::uint64_t lsn) { return Bytes().u8(4).u64(lsn); }
[[nodiscard]] inline Bytes checkpoint_body_2(std::span<const std::byte> fingerprint) {
  return Bytes().u8(5).append(fingerprint);
}
[[nodiscard]] inline Bytes close_body() { return Bytes().u8(6); }

/// A log of version 2 or 3 that is put together frame by frame.
class RawLog {
 public:
  RawLog(std::uint64_t log_id, std::uint64_t base_lsn, std::span<const std::byte> fingerprint,
         std::uint32_t version = 3, std::uint64_t history_id = raw_history_id)
      : log_id_(log_id),
        next_lsn_(base_lsn + 1),
        bytes_(raw_header(log_id, base_lsn, fingerprint, version, history_id)) {}

  /// Appends a frame as a writer that syncs always makes it, of `mutations` mutations.
  RawLog& frame(std::span<const std::byte> body, std::uint64_t mutations) {
    return frame_as(body, mutations, next_lsn_, bytes_.size());
  }
  RawLog& control(std::span<const std::byte> body) { return frame(body, 0); }

  /// Appends a checkpoint frame of version 3 that holds every mutation so far.
  RawLog& checkpoint(std::span<const std::byte> fingerprint) {
    return control(checkpoint_body(fingerprint, next_lsn_ - 1));
  }

  /// Appends a frame with this number and durable field.
  RawLog& frame_as(std::span<const std::byte> body, std::uint64_t mutations, std::uint64_t lsn, std::uint64_t durable) {
    return raw(raw_frame(log_id_, lsn, durable, body), mutations);
  }

  RawLog& raw(std::span<const std::byte> more, std::uint64_t mutations = 0) {
    bytes_.insert(bytes_.end(), more.begin(), more.end());
    next_lsn_ += mutations;
    return *this;
  }

  [[nodiscard]] const ByteVector& bytes() const noexcept { return bytes_; }
  [[nodiscard]] std::size_t size() const noexcept { return bytes_.size(); }
  [[nodiscard]] std::uint64_t next_lsn() const noexcept { return next_lsn_; }
  [[nodiscard]] std::uint64_t log_id() const noexcept { return log_id_; }

 private:
  std::uint64_t log_id_;
  std::uint64_t next_lsn_;
  ByteVector bytes_;
};

/// A frame of a log of version 2 or 3 as it stands there.
struct SeenFrame {
  std::size_t offset = 0;
  std::size_t end = 0;
  unsigned op = 0;
  std::uint64_t lsn = 0;
  std::uint64_t durable = 0;
  ByteVector body;
};

/// The frames of a log of version 2 or 3, up to the first with a wrong checksum, a zero length or the end of the file.
[[nodiscard]] inline std::vector<SeenFrame> frames_of(std::span<const std::byte> log) {
  std::vector<SeenFrame> frames;
  const std::uint64_t log_id = number_at(log, 16, 8);
  std::size_t at = raw_header_bytes;
  while (at + raw_frame_header_bytes < log.size()) {
    const auto length = static_cast<std::size_t>(number_at(log, at, 4));
    if (length == 0 || length > log.size() - at - raw_frame_header_bytes) {
      break;
    }
    const auto whole = log.subspan(at, raw_frame_header_bytes + length);
    const auto body = whole.subspan(raw_frame_header_bytes);
    SeenFrame frame{.offset = at,
                    .end = at + whole.size(),
                    .op = std::to_integer<unsigned>(body[0]),
                    .lsn = number_at(whole, 8, 8),
                    .durable = number_at(whole, 16, 8),
                    .body = ByteVector(body.begin(), body.end())};
    const ByteVector expected = raw_frame(log_id, frame.lsn, frame.durable, body);
    if (!std::equal(whole.begin(), whole.end(), expected.begin(), expected.end())) {
      break;
    }
    at = frame.end;
    frames.push_back(std::move(frame));
  }
  return frames;
}

/// What the frames are, e.g. "iebacx": insert, erase, batch, abort, checkpoint, close ('x'), upsert, metadata, time, and
/// insert ('I') and upsert ('U') of other elements.
[[nodiscard]] inline std::string ops_of(std::span<const std::byte> log) {
  std::string ops;
  for (const SeenFrame& frame : frames_of(log)) {
    ops += frame.op >= 1 && frame.op <= 11 ? std::string_view("iebacxumtIU")[frame.op - 1] : '?';
  }
  return ops;
}

/// The files of a directory, by name, as they would be found after a crash.
using FileSet = std::map<std::string, ByteVector>;

/// All regular files in `directory` but locks, which nothing is read from.
[[nodiscard]] inline FileSet files_in(const std::filesystem::path& directory) {
  FileSet files;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    if (entry.is_regular_file() && entry.path().extension() != ".lock") {
      files[entry.path().filename().string()] = read_bytes(entry.path());
    }
  }
  return files;
}

/// Makes `files` all that is in `directory`.
inline void put_files(const std::filesystem::path& directory, const FileSet& files) {
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    std::filesystem::remove_all(entry.path());
  }
  for (const auto& [name, bytes] : files) {
    write_bytes(directory / name, bytes);
  }
}

}  // namespace iqdb_test
