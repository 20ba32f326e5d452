// How a backup leaves disk and processor to those who write the index meanwhile.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>

#include "iqdb/persist/config.hpp"
#include "iqdb/persist/storage/block_stream.hpp"
#include "iqdb/persist/storage/sparing_file.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/log_activity.hpp"
#include "iqdb/persist/wal/log_identity.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace backup {

// What is known of the writers of the log that is copied.
struct Writers {
  // Every frame before it is settled. Known to who holds the lock of the index.
  std::optional<LogPosition> settled_end = {};
  // The log that they append to, if it is to be watched while it is copied.
  std::filesystem::path log = {};
  // Of the work beside them. Nothing before the end of that log is known.
  std::optional<Pace> pace = {};

  template <class File>
  void make_room(File& copy, std::uint64_t bytes) {
    if (pace) {
      pace->advance(copy, bytes);
    }
  }
};

// How often a log was appended to, as one sees without its lock.
template <Storage S>
[[nodiscard]] std::function<std::uint64_t()> appends_to(S& storage, const std::filesystem::path& path,
                                                        typename S::File& log, std::optional<std::uint64_t> end = {}) {
  return [activity = std::make_shared<LogActivity<S>>(storage, path, log, end)] { return (*activity)(); };
}

// The settings of a log that is copied in pieces of which each is in the file before the next one is made: writers that wait for
// the disk meanwhile wait for one of them.
[[nodiscard]] inline PersistConfig in_pieces(const PersistConfig& config) {
  PersistConfig piecewise = config;
  piecewise.buffer_bytes = std::min(config.buffer_bytes, sparing_piece_bytes / buffers_in_block);
  piecewise.helper_threads = 0;
  return piecewise;
}

}  // namespace backup

}  // namespace iqdb
