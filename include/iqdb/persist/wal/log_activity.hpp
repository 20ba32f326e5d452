// Whether another process writes a log, as far as one can see from its bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <utility>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/storage/file_window.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/log_identity.hpp"
#include "iqdb/persist/wal/wal_format.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Counts how often the log of an index was found to have grown since the look before. A checkpoint of the writer puts another log in
/// its place, which is followed. Used by one thread.
template <Storage S>
class LogActivity {
 public:
  /// Looks at `log`, which is the file at `path`, a resolved name, or was; `end` is where one of its frames ended, by default where the
  /// first one begins. Counts what comes behind those that are there now. `storage` and `log` must outlive this. Throws what
  /// reading the log throws.
  LogActivity(S& storage, std::filesystem::path path, typename S::File& log, std::optional<std::uint64_t> end = {})
      : storage_(&storage), path_(std::move(path)), log_(&log) {
    const LogIdentity identity = identify_log(log);
    log_id_ = identity.header.log_id;
    end_ = end.value_or(identity.first_frame().offset);
    moves_on();
  }

  /// Looks once, and returns how many looks have found more so far.
  [[nodiscard]] std::uint64_t operator()() {
    try {
      if (moves_on() || has_successor()) {
        ++found_;
      }
    } catch (const PersistError&) {
      // Nothing rests on what is seen here. Who needs these bytes finds out what is wrong with them.
    }
    return found_;
  }

 private:
  // Goes to the end of the frames that are there. Returns whether that is farther than before.
  bool moves_on() {
    if constexpr (GrowingFile<typename S::File>) {
      log_->refresh();
    }
    FileWindow window(*log_, looked_at_bytes);
    const std::uint64_t before = end_;
    while (const std::optional<FrameHeader> header = header_at_end(window)) {
      end_ += FrameHeader::bytes + header->body_bytes;
      lsn_ = header->lsn;
    }
    return end_ != before;
  }

  // The header of the next frame, as far as it can be one: what was cut back may be followed by something else.
  [[nodiscard]] std::optional<FrameHeader> header_at_end(FileWindow<typename S::File>& window) const {
    const std::span<const std::byte> bytes = window.at(end_, FrameHeader::bytes);
    if (bytes.size() < FrameHeader::bytes) {
      return std::nullopt;
    }
    const FrameHeader header = read_frame_header(bytes.first<FrameHeader::bytes>());
    const bool may_be_one = header.body_bytes > 0 && header.body_bytes <= largest_frame_body &&
                            header.durable <= end_ && header.lsn >= lsn_ &&
                            end_ + FrameHeader::bytes + header.body_bytes <= log_->size();
    return may_be_one ? std::optional(header) : std::nullopt;
  }

  // Whether another log has taken the place of this one. A log that nobody was seen to write is not asked for again.
  bool has_successor() {
    if (found_ == 0) {
      return false;
    }
    std::optional<typename S::File> there = storage_->open(path_);
    if (!there) {
      return false;
    }
    const LogIdentity identity = identify_log(*there);
    if (identity.version < 2 || identity.header.log_id == log_id_) {
      return false;
    }
    successor_.emplace(std::move(*there));
    log_ = &*successor_;
    log_id_ = identity.header.log_id;
    end_ = identity.first_frame().offset;
    lsn_ = 0;
    moves_on();
    return true;
  }

  // At once: several small frames, or the zeros behind the last one.
  static constexpr std::size_t looked_at_bytes = 4096;

  S* storage_;
  std::filesystem::path path_;
  typename S::File* log_;
  std::optional<typename S::File> successor_;
  std::uint64_t log_id_ = 0;
  std::uint64_t end_ = 0;  // of the last frame that was seen
  std::uint64_t lsn_ = 0;  // of that frame
  std::uint64_t found_ = 0;
};

}  // namespace iqdb
