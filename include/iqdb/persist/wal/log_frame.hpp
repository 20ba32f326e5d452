// One frame of a log, as FrameReader returns it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "iqdb/persist/bytes/checksum.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/log_identity.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// What a user can do about a log that is damaged behind the mutation `last_whole`: an end of a sentence.
[[nodiscard]] inline std::string advice_on_damaged_log(std::uint64_t last_whole) {
  return "restore the log from a copy; without one, load the index with read_only = true and up_to = " +
         std::to_string(last_whole) +
         ", which has every mutation before the damage, and keep it by save_copy(); a load without the log loses them "
         "all";
}

/// A frame whose checksum is correct.
struct LogFrame {
  LogPosition position;             ///< where it stands
  std::uint64_t end = 0;            ///< where the next one stands
  std::span<const std::byte> body;  ///< valid until the next frame is read
  std::uint32_t crc32 = 0;          ///< its checksum
  Crc32 fields;                     ///< what `crc32` covers before the body; nothing in version 1

  /// Throws `error` as PersistError log_corrupted at this frame.
  [[noreturn]] void fail(const std::string& found) const {
    throw_persist_error(PersistErrorKind::log_corrupted,
                        "the log holds a record that is not what its writer makes: " + found + "; " +
                            advice_on_damaged_log(position.next_lsn - 1),
                        {.path = {}, .code = {}, .offset = position.offset});
  }

  /// Calls `decode`. PersistError invalid_payload and truncated_payload become log_corrupted at this frame: the
  /// checksum is correct, so the writer wrote something else than a log.
  template <class Decode>
  decltype(auto) decoded(Decode&& decode) const {
    try {
      return std::forward<Decode>(decode)();
    } catch (const PersistError& error) {
      if (error.kind() == PersistErrorKind::invalid_payload || error.kind() == PersistErrorKind::truncated_payload) {
        fail(error.what());
      }
      throw;
    }
  }
};

}  // namespace iqdb
