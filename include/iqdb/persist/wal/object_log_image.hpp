// A log on an object store as one readable thing: the bytes of a log file that continues the snapshot of the last checkpoint.
//
// Invariant: the image holds the mutations that the snapshot lacks, each once and in order, and what settles them. So whoever
// reads a log file reads it, and nothing of it is torn. The log is in memory once: the bodies of its frames are those of its objects.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/storage/object_store.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/frame_body.hpp"
#include "iqdb/persist/wal/frame_encoder.hpp"
#include "iqdb/persist/wal/log_object.hpp"
#include "iqdb/persist/wal/object_format.hpp"
#include "iqdb/persist/wal/object_run.hpp"
#include "iqdb/persist/wal/wal_format.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Where a log ended when it was read.
struct EndOfObjectLog {
  std::string name = {};          ///< of its index
  std::uint64_t next_number = 0;  ///< of the next object
  std::uint64_t history_id = 0;   ///< of the log
  std::uint64_t fence = 0;        ///< of the writer of the last object

  /// Whether the last object is a fence, which is never deleted.
  [[nodiscard]] bool is_fence() const noexcept { return fence + 1 == next_number; }

  /// Whether the object that was found at the next number is sure to go on with the log, whose last mutation is `lsn`. If it is not,
  /// the log is to be read anew. The objects behind the end may have been swept, and a fence come late in the place of one. What
  /// stands behind that has another fence in its header, or is a fence, too.
  [[nodiscard]] bool goes_on_with(const LogObjectHeader& next, std::uint64_t lsn) const noexcept {
    return next.history_id == history_id && next.base_lsn == lsn &&
           (next.kind == LogObjectKind::fence ? !is_fence() : next.fence == fence);
  }
};

/// Where `run`, which has objects, ends.
[[nodiscard]] inline EndOfObjectLog end_of_object_log(const ObjectRun& run, std::string_view name) {
  const LogObjectHeader& last = run.objects.back().header;
  return {
      .name = std::string(name), .next_number = run.next_number(), .history_id = last.history_id, .fence = last.fence};
}

/// The bytes of a log file, of which those of the frames' bodies stay where they were read. Any number of threads may read it. Copies
/// share the bytes.
class ObjectLogImage {
 public:
  /// The log of `run`, so far without anything in it.
  explicit ObjectLogImage(ObjectRun run) : shared_(std::make_shared<Shared>()) { shared_->run = std::move(run); }

  /// What it is made of.
  [[nodiscard]] const ObjectRun& run() const noexcept { return shared_->run; }

  [[nodiscard]] std::uint64_t size() const noexcept { return shared_->size; }

  /// Appends bytes: those of `own`, then `rest`, which must stay as long as what it is made of. Not beside other calls.
  void append(std::span<const std::byte> own, std::span<const std::byte> rest) {
    shared_->pieces.push_back({.begin = shared_->size, .own = shared_->own.size(), .rest = rest});
    shared_->own.insert(shared_->own.end(), own.begin(), own.end());
    shared_->size += own.size() + rest.size();
  }

  /// Reads at `offset` into the beginning of `into`. Returns how many bytes, at least 1 before the end.
  std::size_t read_at(std::uint64_t offset, std::span<std::byte> into) const noexcept {
    if (offset >= shared_->size) {
      return 0;
    }
    auto at = std::ranges::upper_bound(shared_->pieces, offset, {}, &Piece::begin) - 1;
    std::size_t read = 0;
    const auto take = [&](std::span<const std::byte> bytes, std::uint64_t begin) {
      const auto skipped = static_cast<std::size_t>(std::min<std::uint64_t>(offset + read - begin, bytes.size()));
      const auto found = bytes.subspan(skipped, std::min(bytes.size() - skipped, into.size() - read));
      std::ranges::copy(found, into.begin() + static_cast<std::ptrdiff_t>(read));
      read += found.size();
    };
    for (; at != shared_->pieces.end() && read < into.size(); ++at) {
      const std::size_t own_end = at + 1 == shared_->pieces.end() ? shared_->own.size() : (at + 1)->own;
      const auto own = std::span(shared_->own).subspan(at->own, own_end - at->own);
      take(own, at->begin);
      take(at->rest, at->begin + own.size());
    }
    return read;
  }

 private:
  struct Piece {
    std::uint64_t begin = 0;               // in the file
    std::size_t own = 0;                   // where its own bytes begin; they end where those of the next piece begin
    std::span<const std::byte> rest = {};  // behind them
  };

  struct Shared {
    ObjectRun run;
    ObjectBytes own = {};
    std::vector<Piece> pieces = {};
    std::uint64_t size = 0;
  };

  std::shared_ptr<Shared> shared_;
};

namespace object_log_images {

// Whether an abort of the last frame can follow no more: its writer went on, or ended.
[[nodiscard]] inline bool is_settled(const ObjectRun& run) {
  const auto last = std::find_if(run.objects.rbegin(), run.objects.rend(),
                                 [](const LogObject& object) { return object.header.kind != LogObjectKind::fence; });
  return last == run.objects.rend() || last->header.kind != LogObjectKind::frames;
}

}  // namespace object_log_images

/// The log that `run` is, with the identity `log_id`. Nothing if there is neither a snapshot nor a mutation. `name` is the name of
/// the index, for errors. Throws PersistError log_corrupted if a snapshot ends within a frame; std::bad_alloc.
[[nodiscard]] inline std::optional<ObjectLogImage> image_of_object_log(ObjectRun all, std::string_view name,
                                                                       std::uint64_t log_id) {
  if (!all.checkpoint && all.next_lsn() == 1) {
    return std::nullopt;
  }
  ObjectLogImage image(std::move(all));
  const ObjectRun& run = image.run();
  const std::uint64_t covered = run.snapshot_lsn();
  const Fingerprint base = run.checkpoint ? run.objects[*run.checkpoint].snapshot.fingerprint : Fingerprint();
  image.append(
      bytes_of([&](Writer& writer) {
        write_log_header(
            writer,
            {.log_id = log_id, .base_lsn = covered, .base = base, .history_id = run.objects.back().header.history_id});
      }),
      {});
  bool holds_mutations = false;
  for (const LogObject& object : run.objects) {
    if (object.header.kind != LogObjectKind::frames) {
      continue;
    }
    for (const LogObjectFrame& frame : object.frames) {
      const std::uint64_t last = frame.lsn + frame.mutations - 1;
      if (frame.mutations > 0 && frame.lsn <= covered && covered < last) {
        log_objects::fail(log_object_key(name, object.header.number),
                          "the snapshot of a checkpoint holds the mutations up to " + std::to_string(covered) +
                              ", but one frame has those from " + std::to_string(frame.lsn) + " to " +
                              std::to_string(last));
      }
      const auto body = object.body(frame);
      // An abort in front of all mutations is one of the snapshot's.
      const bool is_needed = frame.mutations > 0
                                 ? frame.lsn > covered
                                 : holds_mutations || static_cast<FrameOp>(body.front()) == FrameOp::time;
      if (is_needed) {
        FrameHeader header{.body_bytes = static_cast<std::uint32_t>(body.size()),
                           .crc32 = 0,
                           .lsn = std::max(frame.lsn, covered + 1),
                           .durable = image.size()};
        header.crc32 = frame_checksum(log_id, header, body);
        image.append(encoded(header), body);
        holds_mutations = holds_mutations || frame.mutations > 0;
      }
    }
  }
  if (holds_mutations && object_log_images::is_settled(run)) {
    FrameEncoder encoder;
    write_close(encoder.begin());
    image.append(encoder.finish(log_id, run.next_lsn(), image.size()), {});
  }
  return image;
}

}  // namespace iqdb
