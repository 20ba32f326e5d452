// Reads a whole log, once or twice, and replays it onto the index that was loaded from the snapshot beside it.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/index.hpp"
#include "iqdb/persist/bytes/helper_threads.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/progress.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/frame_body.hpp"
#include "iqdb/persist/wal/frame_marks.hpp"
#include "iqdb/persist/wal/frame_reader.hpp"
#include "iqdb/persist/wal/log_clock.hpp"
#include "iqdb/persist/wal/log_identity.hpp"
#include "iqdb/persist/wal/new_log.hpp"
#include "iqdb/persist/wal/recovery_report.hpp"
#include "iqdb/persist/wal/replay.hpp"
#include "iqdb/persist/wal/wal_format.hpp"
#include "iqdb/persist/wal/wal_reader.hpp"
#include "iqdb/text.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace recovery {

// Throws PersistError log_mismatch: the log continues another snapshot than `present` and holds `mutations`.
[[noreturn, gnu::cold, gnu::noinline]] inline void throw_log_mismatch(const LogIdentity& log,
                                                                      const Fingerprint& present,
                                                                      std::uint64_t mutations) {
  const auto described = [](const Fingerprint& snapshot) {
    return "one of " + std::to_string(snapshot.file_bytes) + " bytes with the checksum " +
           hexadecimal(snapshot.region_crc32);
  };
  throw_persist_error(PersistErrorKind::log_mismatch,
                      "the log does not continue the snapshot beside it, " + described(present) + ", but " +
                          described(log.header.base) +
                          "; one of the two files is older than the other, as in a backup that copied them at two "
                          "moments; put back the "
                          "file that is missing, or remove the log, which gives up its " +
                          std::to_string(mutations) + " mutations and whatever the other snapshot holds");
}

// The snapshot from whose index a replay begins.
template <Persistable I, Storage S>
struct BaseSnapshot {
  std::filesystem::path path;
  typename S::File file;
  std::optional<LoadedSnapshot<I>> loaded = {};

  // Loads the index, also if it was loaded before. Throws what load_snapshot throws.
  void load(const PersistConfig& config) {
    loaded.reset();  // before there is another one
    loaded.emplace(naming_file(path, [&] { return load_snapshot<I>(file, config); }));
  }
};

// Where a replay writes its new log.
template <Storage S>
struct NewLogPlace {
  S* storage;
  std::filesystem::path path;
  const typename S::Lock* lock;

  [[nodiscard]] std::unique_ptr<NewLog<S>> begin(const Fingerprint& base, std::uint64_t base_lsn,
                                                 std::optional<std::uint64_t> history_id,
                                                 const PersistConfig& config) const {
    return std::make_unique<NewLog<S>>(*storage, path, *lock, base, base_lsn, history_id, config);
  }
};

// Where a replay ended.
struct ReplayEnd {
  LogPosition position = {};                   // behind the last frame
  std::optional<LogPosition> last_frame = {};  // the last one that was read and has mutations
  std::uint32_t last_crc32 = 0;                // its checksum
  std::vector<LsnRange> last_aborted = {};     // its mutations that an abort behind it names
};

// What came of a replay.
template <Storage S>
struct Replayed {
  std::unique_ptr<NewLog<S>> log;  // not finished yet; null if none is written
  RecoveryReport report = {};
  std::uint64_t last_lsn = 0;  // the last mutation that was read
  ReplayEnd end = {};

  // Whether mutations that once stood in the log are not in the state: the numbers behind them will be given again.
  [[nodiscard]] bool lost_mutations() const noexcept { return report.dropped_bytes > 0 || report.tolerated > 0; }
};

// Replays a log onto the index of the snapshot beside it.
template <Persistable I, Storage S>
  requires Index<I>
class LogReplay {
 public:
  // `base` must be loaded. Writes a new log at `place`, or none. Uses buffer_bytes, helper_threads, history, on_progress,
  // skip_rejected, and with read_only also up_to of `config`. Fills in `marks`, unless it is null. All arguments must outlive
  // this object.
  LogReplay(BaseSnapshot<I, S>& base, const NewLogPlace<S>* place, const PersistConfig& config,
            FrameMarks* marks = nullptr)
      : base_(&base), place_(place), config_(&config), marks_(marks), helpers_(config.helper_threads) {}

  // Replays the log in `file`, in one pass if that is enough. Throws PersistError log_mismatch, log_corrupted,
  // replay_rejected, unsupported, invalid_config; io; std::bad_alloc; and what BaseSnapshot::load throws.
  [[nodiscard]] Replayed<S> replayed(typename S::File& file) {
    const auto began = std::chrono::steady_clock::now();
    Replayed<S> done = in_as_few_passes_as_it_takes(file);
    done.report.replay_elapsed = std::chrono::steady_clock::now() - began;
    return done;
  }

 private:
  static constexpr auto no_end = std::numeric_limits<std::uint64_t>::max();

  [[nodiscard]] Replayed<S> in_as_few_passes_as_it_takes(typename S::File& file) {
    const LogIdentity identity = identify_log(file);
    if (identity.continues(base_->loaded->fingerprint) && !ends_early()) {
      if (auto done = in_one_pass(file, identity)) {
        return std::move(*done);
      }
      base_->load(*config_);
    }
    return in_two_passes(file);
  }

  // Whether only a part of the log is replayed: then one pass is not enough.
  [[nodiscard]] bool ends_early() const noexcept { return config_->read_only && config_->up_to; }

  // Reads once a log that continues the snapshot. Returns nothing if one pass is not enough: the index rejects a
  // mutation, or a checkpoint of this snapshot stands behind some mutations. The index then holds some of the mutations,
  // and must be loaded again.
  [[nodiscard]] std::optional<Replayed<S>> in_one_pass(typename S::File& file, const LogIdentity& identity) {
    const Fingerprint& snapshot = base_->loaded->fingerprint;
    const LogPosition first = identity.first_frame();
    const ReplayRules rules{.version = identity.version, .covered_lsn = identity.header.base_lsn};
    Replayed<S> replayed = begun(identity, rules.covered_lsn);
    replayed.end.position = first;
    FrameReader reader(file, identity, first, config_->buffer_bytes, helpers_.if_any());
    FrameOrder order(identity);
    Replay<I, S> replay(base_->loaded->index, replayed.log.get(), rules, replayed.report, helpers_);
    ProgressMeter progress(config_->on_progress, Progress::Phase::replay,
                           file.size() - std::min(file.size(), first.offset));
    while (const auto frame = reader.next()) {
      FrameBody body = order.take(*frame);
      const bool starts_anew = body.op() == FrameOp::checkpoint && body.fingerprint() == snapshot;
      if (starts_anew && order.covered_lsn() > rules.covered_lsn) {
        return std::nullopt;
      }
      const std::vector<LsnRange> aborted = reader.abort_behind(*frame, body.mutations());
      if (replay.take(*frame, body, aborted) != Replay<I, S>::Taken::done) {
        return std::nullopt;
      }
      passed(*frame, body, aborted, reader, replayed.end);
      progress.advance(frame->end - frame->position.offset);
    }
    if (replay.settle() != Replay<I, S>::Taken::done) {
      return std::nullopt;
    }
    replayed.report.dropped_bytes = reader.torn_bytes();
    replayed.last_lsn = reader.position().next_lsn - 1;
    if (reader.position().offset > first.offset) {
      progress.finish();
      replay.finish(LogClock(*config_));
    }
    return replayed;
  }

  // Reads a log to its end, then reads again the part that is replayed.
  [[nodiscard]] Replayed<S> in_two_passes(typename S::File& file) {
    const Fingerprint snapshot = base_->loaded->fingerprint;
    const auto behind = ends_early() ? BehindTheEnd::ignored : BehindTheEnd::examined;
    const LogScan scan = scan_log(file, snapshot, config_->buffer_bytes, helpers_.if_any(), behind);
    if (!scan.replay) {
      throw_log_mismatch(scan.log, snapshot, scan.mutations);
    }
    ReplayRules rules{.version = scan.log.version,
                      .covered_lsn = scan.replay->covered_lsn,
                      // Of a log that is read in part nobody knows whether its last frame is the last one.
                      .log_end = ends_early() ? no_end : scan.end.offset,
                      .skip_rejected = config_->skip_rejected,
                      .time_before = scan.replay->time_before};
    if (ends_early()) {
      require_not_covered(*config_->up_to, rules.covered_lsn);
      rules.up_to = *config_->up_to;
    }
    for (;;) {
      Replayed<S> replayed = begun(scan.log, rules.covered_lsn);
      replayed.report.dropped_bytes = scan.dropped_bytes;
      replayed.last_lsn = std::min(rules.up_to, scan.end.next_lsn - 1);
      replayed.end.position = scan.replay->from;
      const std::optional<std::uint64_t> half_done = replay_part(file, scan, rules, replayed);
      if (!half_done) {
        return replayed;
      }
      // The old vector is gone, and the new one is not there: begin again, and leave this mutation out.
      rules.passed_over.push_back(*half_done);
      base_->load(*config_);
    }
  }

  void passed(const LogFrame& frame, const FrameBody& body, const std::vector<LsnRange>& aborted,
              FrameReader<typename S::File>& reader, ReplayEnd& end) {
    reader.advance(body.mutations());
    end.position = reader.position();
    if (body.mutations() > 0) {
      end.last_frame = frame.position;
      end.last_crc32 = frame.crc32;
      end.last_aborted = aborted;
    }
    if (marks_ != nullptr && body.mutations() > 0) {
      marks_->take(marks_->of(frame, aborted));
    } else if (marks_ != nullptr && body.op() == FrameOp::checkpoint) {
      marks_->take_base(body.fingerprint());
    }
  }

  [[nodiscard]] Replayed<S> begun(const LogIdentity& identity, std::uint64_t base_lsn) {
    Replayed<S> replayed{.log = nullptr, .report = {.log_found = true, .log_version = identity.version}};
    if (marks_ != nullptr) {
      marks_->clear();
      marks_->take_base(identity.header.base);
    }
    if (place_ != nullptr) {
      const bool has_history = identity.version >= 3;
      replayed.log = place_->begin(base_->loaded->fingerprint, base_lsn,
                                   has_history ? std::optional(identity.header.history_id) : std::nullopt, *config_);
    }
    return replayed;
  }

  static void require_not_covered(std::uint64_t up_to, std::uint64_t covered_lsn) {
    if (up_to < covered_lsn) {
      throw_persist_error(PersistErrorKind::invalid_config,
                          "up_to is " + std::to_string(up_to) +
                              ", but the snapshot already holds the mutations up to " + std::to_string(covered_lsn) +
                              "; load an older snapshot with its log");
    }
  }

  // Replays the part of the log that `scan` found. Returns the mutation at which the index must be loaded anew, if any.
  [[nodiscard]] std::optional<std::uint64_t> replay_part(typename S::File& file, const LogScan& scan,
                                                         const ReplayRules& rules, Replayed<S>& replayed) {
    const LogPosition first = scan.replay->from;
    if (first.offset == scan.end.offset) {
      return std::nullopt;
    }
    FrameReader reader(file, scan.log, first, config_->buffer_bytes, helpers_.if_any());
    Replay<I, S> replay(base_->loaded->index, replayed.log.get(), rules, replayed.report, helpers_);
    ProgressMeter progress(config_->on_progress, Progress::Phase::replay, scan.end.offset - first.offset);
    while (reader.position().offset < scan.end.offset) {
      const auto frame = reader.next();
      if (!frame) {
        throw_persist_error(PersistErrorKind::log_corrupted,
                            "the log changed while it was read: a record that was valid is not any more; something "
                            "else writes to it",
                            {.path = {}, .code = {}, .offset = reader.position().offset});
      }
      FrameBody body(frame->body, scan.log.version);
      const std::vector<LsnRange> aborted = reader.abort_behind(*frame, body.mutations());
      if (replay.take(*frame, body, aborted) != Replay<I, S>::Taken::done) {
        return replay.half_done_lsn();
      }
      passed(*frame, body, aborted, reader, replayed.end);
      progress.advance(frame->end - frame->position.offset);
    }
    std::ignore = replay.settle();  // it throws, or is done: where the log ends is known
    progress.finish();
    replay.finish(LogClock(*config_));
    return std::nullopt;
  }

  BaseSnapshot<I, S>* base_;
  const NewLogPlace<S>* place_;
  const PersistConfig* config_;
  FrameMarks* marks_;
  HelperThreads helpers_;
};

}  // namespace recovery

}  // namespace iqdb
