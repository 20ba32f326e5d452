// A log on an object store as one readable thing: the bytes of a log file that continues the snapshot of the last checkpoint.
//
// Invariant: the image holds the mutations that the snapshot lacks, each once and in order, and what settles them. So whoever
// reads a log file reads it, and nothing of it is torn.
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

/// Bytes in memory that are read like a file. Any number of threads may read it. Copies share the bytes.
class BytesAsFile {
 public:
  explicit BytesAsFile(ObjectBytes bytes) : bytes_(std::make_shared<const ObjectBytes>(std::move(bytes))) {}

  [[nodiscard]] std::uint64_t size() const noexcept { return bytes_->size(); }

  /// All of them.
  [[nodiscard]] std::span<const std::byte> all() const noexcept { return *bytes_; }

  /// Reads at `offset` into the beginning of `into`. Returns how many bytes.
  std::size_t read_at(std::uint64_t offset, std::span<std::byte> into) const noexcept {
    const std::size_t begin = static_cast<std::size_t>(std::min<std::uint64_t>(offset, bytes_->size()));
    const auto found = std::span(*bytes_).subspan(begin, std::min(into.size(), bytes_->size() - begin));
    std::ranges::copy(found, into.begin());
    return found.size();
  }

 private:
  std::shared_ptr<const ObjectBytes> bytes_;
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
[[nodiscard]] inline std::optional<BytesAsFile> image_of_object_log(const ObjectRun& run, std::string_view name,
                                                                    std::uint64_t log_id) {
  if (!run.checkpoint && run.next_lsn() == 1) {
    return std::nullopt;
  }
  const std::uint64_t covered = run.snapshot_lsn();
  const Fingerprint base = run.checkpoint ? run.objects[*run.checkpoint].snapshot.fingerprint : Fingerprint();
  ObjectBytes image = bytes_of([&](Writer& writer) {
    write_log_header(
        writer,
        {.log_id = log_id, .base_lsn = covered, .base = base, .history_id = run.objects.back().header.history_id});
  });
  FrameEncoder encoder;
  const auto append = [&](std::span<const std::byte> body, std::uint64_t lsn) {
    encoder.begin().write(body);
    log_objects::append(image, encoder.finish(log_id, lsn, image.size()));
  };
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
        append(body, std::max(frame.lsn, covered + 1));
        holds_mutations = holds_mutations || frame.mutations > 0;
      }
    }
  }
  if (holds_mutations && object_log_images::is_settled(run)) {
    append(bytes_of([](Writer& writer) { write_close(writer); }), run.next_lsn());
  }
  return BytesAsFile(std::move(image));
}

}  // namespace iqdb
