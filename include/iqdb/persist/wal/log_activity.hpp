// Whether another process writes a log, as far as one can see from its bytes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/wal_format.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Counts how often a log was found to have more frames than at the look before. Used by one thread.
template <ReadableFile F>
class LogActivity {
 public:
  /// Looks at `log`, which must outlive this, from `end` on: where its last frame ended at some time.
  LogActivity(F& log, std::uint64_t end) : log_(&log), end_(end) {}

  /// Looks once, and returns how many looks have found more so far. A torn tail, which never changes, counts as a frame or two.
  /// Throws what the file throws.
  [[nodiscard]] std::uint64_t operator()() {
    if constexpr (GrowingFile<F>) {
      log_->refresh();
    }
    std::array<std::byte, FrameHeader::bytes> bytes{};
    std::size_t have = 0;
    while (have < bytes.size()) {
      const std::size_t count = log_->read_at(end_ + have, std::span(bytes).subspan(have));
      if (count == 0) {
        return found_;
      }
      have += count;
    }
    // One frame a look is enough: a writer appends more of them than a copy has looks.
    const FrameHeader header = read_frame_header(bytes);
    if (header.body_bytes != 0) {
      end_ += FrameHeader::bytes + header.body_bytes;
      ++found_;
    }
    return found_;
  }

 private:
  F* log_;
  std::uint64_t end_;
  std::uint64_t found_ = 0;
};

}  // namespace iqdb
