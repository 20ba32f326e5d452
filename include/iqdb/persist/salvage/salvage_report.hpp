// What a salvage takes, and what it reports.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "iqdb/persist/salvage/flipped_bit.hpp"
#include "iqdb/persist/salvage/log_frames.hpp"
#include "iqdb/persist/salvage/log_header.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/frame_body.hpp"
#include "iqdb/persist/wal/wal_format.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// What a salvage takes beside what is whole.
struct SalvageOptions {
  /// Whole records of the log behind its damage: what came between is missing. And those behind the torn place of a log that
  /// a load has replaced.
  bool also_behind = false;
  bool unchecked_rows = false;  ///< rows of a snapshot whose checksum is wrong: some of them may be altered
};

/// What became of a snapshot.
enum class SalvagedSnapshot : std::uint8_t {
  missing,    ///< there is none
  whole,      ///< it is what was written
  corrected,  ///< it is what was written, after a flipped bit was corrected or its header was made again
  older,      ///< it is lost, and an older state of the history led to what it held
  rows,       ///< its rows were taken unchecked
  lost,       ///< nothing was taken of it
};

/// What became of a log.
enum class SalvagedLogUse : std::uint8_t {
  missing,     ///< there is none
  taken,       ///< its mutations were made
  foreign,     ///< it continues another snapshot, and nothing was taken of it
  unreadable,  ///< nothing in it can be read
};

/// What became of a log that a load had replaced because its end was torn.
enum class SalvagedTornUse : std::uint8_t {
  missing,   ///< there is none
  foreign,   ///< it is of another state than the snapshot and the log, and nothing was taken of it
  empty,     ///< it holds no whole mutation behind the torn place
  left_out,  ///< it holds some, which were not made
  taken,     ///< it holds some, which were made, unless their vectors were changed since
  instead,   ///< the log is missing or unreadable, and this one was taken in its place
};

/// A mutation that is in the log and not in the index.
struct RefusedMutation {
  std::uint64_t lsn = 0;
  FrameOp op = FrameOp::insert;
  VectorId id = 0;
  std::string why = {};  ///< what the index said
};

/// What a log that a load had replaced holds behind its torn place.
struct SalvagedTornLog {
  SalvagedTornUse use = SalvagedTornUse::missing;
  std::vector<LsnRange> tail = {};            ///< the whole mutations; the present log gave their numbers again
  std::uint64_t applied = 0;                  ///< mutations that were made
  std::uint64_t superseded = 0;               ///< mutations that were not made: their vectors were changed since
  std::vector<RefusedMutation> refused = {};  ///< mutations that the index did not take
};

/// What a salvage took, corrected and lost.
struct SalvageReport {
  SalvagedSnapshot snapshot = SalvagedSnapshot::missing;
  std::string snapshot_problem = {};                            ///< why it was not decoded, if it was not
  bool header_rebuilt = false;                                  ///< its header was lost, and made again
  std::vector<salvage::BitPosition> snapshot_corrections = {};  ///< flipped bits of it that were corrected
  std::optional<std::uint64_t> stated_vectors = {};             ///< how many vectors it says that it holds
  std::uint64_t vectors_taken = 0;                              ///< how many were taken of it
  std::vector<VectorId> vectors_lost = {};                      ///< those whose identifiers could be read
  std::vector<VectorId> metadata_lost = {};                     ///< vectors that were taken without their metadata

  std::string older_state = {};  ///< the file name of the older snapshot that was begun with

  SalvagedLogUse log = SalvagedLogUse::missing;
  salvage::HeaderState log_header = salvage::HeaderState::whole;
  std::vector<salvage::BitPosition> log_corrections = {};  ///< flipped bits of it that were corrected
  std::vector<salvage::LogDamage> damages = {};            ///< bytes that hold no whole record
  bool log_assumed_to_fit = false;                         ///< nothing says which snapshot it continues
  bool log_closed = false;                                 ///< its last record says that it was closed in order
  SalvagedTornLog torn = {};                               ///< of a log that a load had replaced
  std::uint64_t superseded = 0;                            ///< mutations of vectors that were changed since
  std::uint64_t covered = 0;                               ///< mutations that the snapshot holds already
  std::uint64_t applied = 0;                               ///< mutations that were made, of all of the log
  std::uint64_t applied_behind = 0;                        ///< those of them that stand behind damage
  std::uint64_t aborted = 0;                               ///< mutations that their writer had taken back
  std::uint64_t unknown_erased = 0;                        ///< removals of vectors that were in a snapshot that is lost
  std::vector<LsnRange> left_out = {};                     ///< whole mutations behind damage that were not made
  std::vector<LsnRange> unsettled = {};                    ///< made, but damage behind them may have taken them back
  std::vector<RefusedMutation> refused = {};               ///< mutations that the index did not take

  /// Whether nothing is known to be lost, refused, left out or doubtful.
  [[nodiscard]] bool is_whole() const noexcept {
    return snapshot != SalvagedSnapshot::lost && snapshot != SalvagedSnapshot::rows &&
           snapshot != SalvagedSnapshot::missing &&
           // Where the log is missing, too, nobody knows what stood in it.
           (snapshot != SalvagedSnapshot::older || log == SalvagedLogUse::taken) &&
           (log == SalvagedLogUse::missing || log == SalvagedLogUse::taken) && damages.empty() && left_out.empty() &&
           refused.empty() && unsettled.empty() && !log_assumed_to_fit && torn.use != SalvagedTornUse::taken &&
           torn.use != SalvagedTornUse::instead;
  }
};

}  // namespace iqdb
