// The settings of persistence: where an index is stored, when its log is synced, and how its snapshots are compressed.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/events.hpp"
#include "iqdb/persist/history_paths.hpp"
#include "iqdb/persist/index_path.hpp"
#include "iqdb/persist/path_text.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// When the log is made durable. Snapshots are always synced.
class FsyncPolicy {
 public:
  /// Sync before each mutation is acknowledged: no crash and no power cut loses an acknowledged mutation.
  [[nodiscard]] static constexpr FsyncPolicy always() noexcept { return FsyncPolicy(Mode::always, {}); }

  /// Sync only in sync(), save(), checkpoint() and close(): a power cut may lose every mutation since then. For tests.
  [[nodiscard]] static constexpr FsyncPolicy never() noexcept { return FsyncPolicy(Mode::never, {}); }

  /// Sync in a thread, half of `interval` after a mutation. So no acknowledged mutation stays unsynced longer than
  /// `interval`, unless the sync itself takes longer than the other half: the next mutation then waits until that sync
  /// is done. So a crash loses what was acknowledged in the last `interval`, and the mutation after it, whatever the
  /// disk does. The thread also calls PersistConfig::on_event, which is part of that time. `interval` is from 0 to 24 hours.
  [[nodiscard]] static constexpr FsyncPolicy periodic(std::chrono::milliseconds interval) noexcept {
    return FsyncPolicy(Mode::periodic, interval);
  }

  /// Whether it is always().
  [[nodiscard]] constexpr bool is_always() const noexcept { return mode_ == Mode::always; }
  /// Whether it is never().
  [[nodiscard]] constexpr bool is_never() const noexcept { return mode_ == Mode::never; }
  /// Whether it is a periodic().
  [[nodiscard]] constexpr bool is_periodic() const noexcept { return mode_ == Mode::periodic; }

  /// The interval of periodic(); meaningful if is_periodic().
  [[nodiscard]] constexpr std::chrono::milliseconds interval() const noexcept { return interval_; }

  friend constexpr bool operator==(FsyncPolicy, FsyncPolicy) = default;

 private:
  enum class Mode : std::uint8_t { always, periodic, never };
  constexpr FsyncPolicy(Mode mode, std::chrono::milliseconds interval) noexcept : mode_(mode), interval_(interval) {}

  Mode mode_;
  std::chrono::milliseconds interval_;
};

/// When an index with a log makes a checkpoint by itself. Without checkpoints the log grows for ever, and a load replays all
/// of it.
class CheckpointPolicy {
 public:
  /// The bounds of automatic().
  struct Bounds {
    /// A log of fewer bytes is not worth a checkpoint for its size. A log that is larger than this and larger than the
    /// snapshot is.
    std::uint64_t least_log_bytes = std::uint64_t{64} << 20U;
    /// How long the replay of a log may take: at least 1 ms, at most 24 hours. The estimate is the time that the index
    /// took for the mutations. It counts once the log has an eighth of the snapshot's bytes.
    std::chrono::milliseconds recovery_time = std::chrono::seconds(10);

    friend constexpr bool operator==(const Bounds&, const Bounds&) = default;
  };

  /// A checkpoint is made when the log is over one of the bounds, but only when ten times as long has passed since the
  /// last one as that one took. So a load takes as long as that of the snapshot, and the longest of: recovery_time and one
  /// checkpoint, beside which mutations go on; twelve checkpoints; a replay of an eighth of the snapshot.
  ///
  /// A PersistedIndex makes it at the end of the load, or of the mutation, that finds the log over the bound, also of one that
  /// the index rejects; a SharedIndex in a thread of its own. It never fails a mutation or a load: PersistConfig::on_event
  /// tells of a failure, and the next one is tried when the log has doubled. It does not call PersistConfig::on_progress.
  [[nodiscard]] static constexpr CheckpointPolicy automatic(Bounds bounds) noexcept {
    return CheckpointPolicy(true, bounds);
  }
  [[nodiscard]] static constexpr CheckpointPolicy automatic() noexcept { return automatic(Bounds()); }

  /// Only checkpoint() makes one.
  [[nodiscard]] static constexpr CheckpointPolicy manual() noexcept { return CheckpointPolicy(false, Bounds()); }

  /// Whether checkpoints are made without a call of checkpoint().
  [[nodiscard]] constexpr bool is_automatic() const noexcept { return is_automatic_; }
  [[nodiscard]] constexpr const Bounds& bounds() const noexcept { return bounds_; }  ///< meaningful if is_automatic()

  friend constexpr bool operator==(const CheckpointPolicy&, const CheckpointPolicy&) = default;

 private:
  constexpr CheckpointPolicy(bool is_automatic, Bounds bounds) noexcept
      : is_automatic_(is_automatic), bounds_(bounds) {}

  bool is_automatic_;
  Bounds bounds_;
};

/// Which older states of an index are kept beside it. A snapshot that a save or a checkpoint replaces gets a second name, and
/// so does its log: that costs two names and one sync of the directory, and the space of what is kept. With
/// PersistConfig::up_to the index can then be loaded as it was at any mutation since the oldest of them.
/// On an object store the history belongs to the index: with none() a writer keeps what the one before kept.
class HistoryPolicy {
 public:
  /// None.
  [[nodiscard]] static constexpr HistoryPolicy none() noexcept { return {0, {}}; }

  /// The last `count` snapshots that were replaced: 1 to 1,000,000.
  [[nodiscard]] static constexpr HistoryPolicy keep_last(std::size_t count) noexcept { return {count, {}}; }

  /// What the index was in the last `span`, 1 second to 100 years, by the system's clock. A clock that is set forward gives
  /// up older states early.
  [[nodiscard]] static constexpr HistoryPolicy keep_for(std::chrono::seconds span) noexcept { return {0, span}; }

  /// Whether older states are kept at all.
  [[nodiscard]] constexpr bool is_on() const noexcept { return count_ != 0 || span_.count() != 0; }
  [[nodiscard]] constexpr std::size_t count() const noexcept { return count_; }              ///< 0 unless keep_last()
  [[nodiscard]] constexpr std::chrono::milliseconds span() const noexcept { return span_; }  ///< 0 unless keep_for()

  friend constexpr bool operator==(const HistoryPolicy&, const HistoryPolicy&) = default;

 private:
  constexpr HistoryPolicy(std::size_t count, std::chrono::seconds span) noexcept : count_(count), span_(span) {}

  std::size_t count_;
  std::chrono::seconds span_;
};

/// How snapshots are compressed. This setting does not affect loading: a program loads every snapshot whose codec it is
/// built with.
class Compression {
 public:
  /// The codecs.
  enum class Codec : std::uint8_t { none, zstd, lz4 };

  /// Stores the payload uncompressed.
  [[nodiscard]] static constexpr Compression none() noexcept { return Compression(Codec::none, 0); }

  /// LZ4. A payload of up to 2,113,929,216 bytes is one block: a save then holds the block in memory, and a load holds
  /// the block and the payload.
  [[nodiscard]] static constexpr Compression lz4() noexcept { return Compression(Codec::lz4, 0); }

  /// Zstandard at `level`, 1 (fast) to 22 (small). Its working memory grows with the level.
  [[nodiscard]] static constexpr Compression zstd(int level = 3) noexcept { return Compression(Codec::zstd, level); }

  /// The codec of what is written.
  [[nodiscard]] constexpr Codec codec() const noexcept { return codec_; }

  /// The level of zstd; meaningless for other codecs.
  [[nodiscard]] constexpr int level() const noexcept { return level_; }

  friend constexpr bool operator==(Compression, Compression) = default;

 private:
  constexpr Compression(Codec codec, int level) noexcept : codec_(codec), level_(level) {}

  Codec codec_;
  int level_;
};

/// The progress of a long call.
struct Progress {
  /// The step under way: a snapshot is written, its checksum is verified, its payload is decoded, or a log is replayed.
  enum class Phase : std::uint8_t { save, verify, load, replay };
  Phase phase;         ///< the step under way
  std::uint64_t done;  ///< bytes of it that are done so far
  /// All bytes of the step; 0 if unknown. For a log it is the file's size, which includes the zeros ahead, until the
  /// end.
  std::uint64_t total;
};

/// How a SharedIndex holds its index still while a checkpoint writes it.
enum class Freezing : std::uint8_t {
  /// by_fork where the index, the store and the system allow it and there is memory; else by_waiting.
  automatic,
  /// A forked process writes its own memory, and mutations go on. The system copies what they change meanwhile. For an
  /// index that states `freezes_by_fork`. Where the system cannot do it now, mutations wait.
  by_fork,
  /// A copy of the index is written, and mutations go on once it is made. It takes the memory of a second index. For an
  /// index that can be copied.
  by_copy,
  /// Mutations wait until the index is written.
  by_waiting,
};

/// The most that PersistConfig::buffer_bytes may be: 1 GiB, or 64 MiB where memory is addressed with 32 bits, since a save holds
/// dozens of buffers.
inline constexpr std::size_t most_buffer_bytes = std::size_t{1} << (sizeof(std::size_t) < 8 ? 26U : 30U);

/// The settings of a PersistedIndex or a SharedIndex.
struct PersistConfig {
  /// The snapshot's file. A symbolic link is followed. The log, the lock and temporary files lie beside it, so the name
  /// must not end with ".wal", ".wal.torn", ".tmp" or ".lock", and must leave room for ".wal.torn.tmp" (13 bytes), with a
  /// history for 32 bytes. A name that ends with ".history" can only be loaded to read.
  std::filesystem::path path = {};
  /// Whether each mutation is logged before it is applied.
  bool wal_enabled = false;
  /// When the log is synced.
  FsyncPolicy fsync_policy = FsyncPolicy::always();
  /// When an index with a log makes a checkpoint by itself.
  CheckpointPolicy checkpoint = CheckpointPolicy::automatic();
  /// Which older states are kept, as files beside the snapshot whose names end with ".history". They lie on the same disk: a
  /// history is no backup.
  HistoryPolicy history = HistoryPolicy::none();
  /// How snapshots are compressed.
  Compression compression = Compression::none();
  /// How a checkpoint of a SharedIndex holds the index still. A PersistedIndex has one thread, which waits.
  Freezing freezing = Freezing::automatic;
  /// Whether open_with, or the first save of what it made, may replace a snapshot that holds vectors. It never covers a
  /// log that holds mutations. It counts once, for that call.
  bool replace_existing = false;
  /// Whether a load only reads: snapshot and log, whatever `wal_enabled` says. It needs no lock, no space and no right
  /// to write, and may run beside a writer. Mutations and saves then throw PersistError read_only.
  bool read_only = false;
  /// With `read_only`, the number (LSN) of the last mutation that is loaded; what stands behind it in the log is not
  /// read. The way to have everything before the damage of a log, and with a history the index as it was.
  std::optional<std::uint64_t> up_to = {};
  /// With `read_only`, in place of `up_to`: what was logged up to this time is loaded, to the second. A writer notes the times
  /// while it keeps a history, by the system's clock; where that is set back, they stand still until it has caught up.
  std::optional<std::chrono::system_clock::time_point> up_to_time = {};
  /// Whether a load passes over a logged mutation that the index rejects, whatever it throws, instead of throwing
  /// replay_rejected. The mutation is lost; RecoveryReport::tolerated counts it, and the old log is kept.
  bool skip_rejected = false;
  /// Called now and then during a long save or load, in the thread that made the call, and at the end of each phase. An
  /// exception from it cancels the call and reaches the caller; the old snapshot then stands. If it forks and returns in the
  /// child, the call throws PersistError poisoned there.
  std::function<void(const Progress&)> on_progress = {};
  /// Called with what a program would write to its log: a load that replayed, checkpoints, slow syncs, a failure that
  /// poisons. It is called in the thread in which that happens, which may be one of this library, at any time until the
  /// index is destroyed, and by several threads at once. It holds that thread up: a sync that is due waits for it. Of a
  /// SharedIndex it may call stats() and what else waits for nothing; other calls of an index, and opening one, throw
  /// PersistError reentered. What it throws is ignored.
  ///
  /// If it forks and returns in the child, the call throws PersistError poisoned there; in a thread of this library, the child
  /// ends. It must not destroy a PersistedIndex that is in a call. A SharedIndex, or one whose thread syncs, that it destroys in
  /// a call or a thread of that index, as by `exit`, is left as by a crash, and keeps its path until the process ends.
  std::function<void(const Event&)> on_event = {};
  /// How long a sync of the log may take before it is an event: from 0 to 24 hours.
  std::chrono::milliseconds slow_sync = std::chrono::seconds(1);
  /// The size of each buffer, in bytes, from 4 KiB to most_buffer_bytes. A save or load uses a few buffers, whatever the size of
  /// the index.
  std::size_t buffer_bytes = std::size_t{256} * 1024;
  /// How many threads may help the calling thread: 0 for none, at most 1024.
  unsigned helper_threads = 2;
  /// The most bytes of zeros that are written ahead of the log's end at a time, with FsyncPolicy::always only, so that
  /// a sync has less to do. The space ahead grows with the log: it is as large as the log, but at most this, and at
  /// least 16 KiB or this, whichever is smaller. 0 for none. A record larger than a quarter of this is written without
  /// space ahead. At most 1 GiB.
  std::size_t log_extent_bytes = std::size_t{1024} * 1024;
  /// With an index on an object store: whether to open it for writing though another writer may be at work. That one can make
  /// nothing durable afterwards, and nothing that it has made durable is lost. Without it, such an index is refused as `locked`.
  /// With the log off, each save takes the index over. Files need no such thing: a lock ends with its process.
  bool take_over = false;
};

/// Throws PersistError invalid_config if a setting cannot be used, and unsupported if the program was built without
/// something that a setting needs.
IQDB_PERSIST_INLINE void validate(const PersistConfig& config);

#if IQDB_PERSIST_DEFINITIONS

IQDB_PERSIST_INLINE void validate(const PersistConfig& config) {
  const auto refuse = [&config](PersistErrorKind kind, std::string message) {
    throw_persist_error(kind, std::move(message), {.path = config.path, .code = {}, .offset = {}});
  };
  if (config.path.empty()) {
    refuse(PersistErrorKind::invalid_config, "PersistConfig::path is empty; set it to the snapshot's file");
  }
  if (!config.path.has_filename()) {
    refuse(PersistErrorKind::invalid_config, "PersistConfig::path names a directory; set it to the snapshot's file");
  }
  if (!config.read_only || !index_path::ends_like(path_text(config.path.filename()), history_paths::ending)) {
    index_path::require_usable(config.path);
  }
  const auto require_from_to = [&refuse](const char* name, auto value, auto least, auto most) {
    if (value < least || value > most) {
      refuse(PersistErrorKind::invalid_config, std::string(name) + " is " + std::to_string(value) + "; it must be " +
                                                   std::to_string(least) + " to " + std::to_string(most));
    }
  };
  constexpr std::chrono::milliseconds a_day = std::chrono::hours(24);
  if (config.fsync_policy.is_periodic()) {
    require_from_to("the interval of FsyncPolicy::periodic, in milliseconds,", config.fsync_policy.interval().count(),
                    std::chrono::milliseconds::rep{0}, a_day.count());
  }
  if (config.checkpoint.is_automatic()) {
    require_from_to("the recovery_time of CheckpointPolicy::automatic, in milliseconds,",
                    config.checkpoint.bounds().recovery_time.count(), std::chrono::milliseconds::rep{1}, a_day.count());
  }
  if (!config.read_only && (config.up_to || config.up_to_time)) {
    refuse(PersistErrorKind::invalid_config,
           "PersistConfig::up_to or up_to_time is set without read_only: who goes on writing behind an older state "
           "gives up what follows it; set read_only to look at that state, or make an index of it with backup or "
           "`iqdb restore`");
  }
  if (config.history.is_on()) {
    constexpr std::size_t most_name_bytes = 255;  // the limit of the usual file systems
    if (config.history.count() != 0) {
      require_from_to("the count of HistoryPolicy::keep_last", config.history.count(), std::size_t{1},
                      std::size_t{1000000});
    } else {
      constexpr std::chrono::milliseconds century = std::chrono::hours(24) * 36525;
      require_from_to("the span of HistoryPolicy::keep_for, in milliseconds,", config.history.span().count(),
                      std::chrono::milliseconds::rep{1000}, century.count());
    }
    require_from_to("with PersistConfig::history, the length of the path's file name",
                    config.path.filename().native().size(), std::size_t{1},
                    most_name_bytes - history_paths::most_bytes_added);
  }
  require_from_to("PersistConfig::slow_sync, in milliseconds,", config.slow_sync.count(),
                  std::chrono::milliseconds::rep{0}, a_day.count());
  constexpr std::size_t gibibyte = std::size_t{1} << 30U;
  require_from_to("PersistConfig::buffer_bytes", config.buffer_bytes, std::size_t{4096}, most_buffer_bytes);
  require_from_to("PersistConfig::log_extent_bytes", config.log_extent_bytes, std::size_t{0}, gibibyte);
  require_from_to("PersistConfig::helper_threads", config.helper_threads, 0U, 1024U);
  if (config.compression.codec() == Compression::Codec::zstd) {
    if (config.compression.level() < 1 || config.compression.level() > 22) {
      refuse(PersistErrorKind::invalid_config, "the zstd level is " + std::to_string(config.compression.level()) +
                                                   "; levels go from 1 (fast) to 22 (small)");
    }
    if (IQDB_PERSIST_HAS_ZSTD == 0) {
      refuse(PersistErrorKind::unsupported,
             "Compression::zstd was asked for, but the program was built without zstd; build it with "
             "IQDB_PERSIST_HAS_ZSTD=1 and -lzstd, or choose another compression");
    }
  }
  if (config.compression.codec() == Compression::Codec::lz4 && IQDB_PERSIST_HAS_LZ4 == 0) {
    refuse(PersistErrorKind::unsupported,
           "Compression::lz4 was asked for, but the program was built without lz4; build it with "
           "IQDB_PERSIST_HAS_LZ4=1 and -llz4, or choose another compression");
  }
}

#endif  // IQDB_PERSIST_DEFINITIONS

}  // namespace iqdb
