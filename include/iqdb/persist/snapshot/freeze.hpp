// The state of an index at one moment, written as a snapshot while the index goes on changing.
//
//   by fork   a child process writes its memory into the temporary file that the parent opened, and reports over a socket
//   by copy   this process writes a copy
//
// Invariant: the child touches no name and no lock. Only the parent syncs, and gives the file its name.
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>

#include "iqdb/index.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/progress.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"
#include "iqdb/persist/storage/native_child.hpp"
#include "iqdb/persist/storage/sparing_file.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// A store whose new files a forked process can write: they have a descriptor.
template <class S>
concept WritesInFork = requires(const typename S::Replacement& file) {
  { file.descriptor() } -> std::same_as<int>;
};

namespace freeze {

// Whether this program can freeze an index of type I in a store S by a fork.
template <class I, class S>
inline constexpr bool can_fork = FreezesByFork<I>&& WritesInFork<S>;

// Whether an index of type I in a store S can be held still in this way, so that mutations go on, as long as the system
// goes along.
template <class I, class S>
[[nodiscard]] constexpr bool offers(Freezing freezing) noexcept {
  switch (freezing) {
    case Freezing::automatic:
    case Freezing::by_fork:
      return can_fork<I, S>;
    case Freezing::by_copy:
      return std::copy_constructible<I>;
    case Freezing::by_waiting:
      break;
  }
  return false;
}

// Throws PersistError invalid_config if `config` asks for a way of freezing that an index of type I in a store S does not
// offer.
template <class I, class S>
void check(const PersistConfig& config) {
  const bool is_named = config.freezing == Freezing::by_fork || config.freezing == Freezing::by_copy;
  if (is_named && !offers<I, S>(config.freezing)) {
    throw_persist_error(
        PersistErrorKind::invalid_config,
        config.freezing == Freezing::by_fork
            ? "PersistConfig::freezing is by_fork, but the index does not state freezes_by_fork, its store "
              "is none of files, or the system has no fork, as Windows; choose automatic"
            : "PersistConfig::freezing is by_copy, but the index cannot be copied; choose automatic",
        {.path = config.path, .code = {}, .offset = {}});
  }
}

// How long a child may be silent. It reports every megabyte; what takes longer than this has met a lock that nobody holds.
inline constexpr std::chrono::seconds patience{30};

// How often the caller is asked meanwhile whether it still wants the snapshot.
inline constexpr std::chrono::milliseconds question{100};

// How often the parent looks whether the log is synced, and how long a child remembers that it was told so.
inline constexpr std::chrono::milliseconds look{5};
inline constexpr std::chrono::milliseconds remembered{4 * look};

// What a child reports. It runs the same program, so the bytes are those of its memory.
struct ChildReport {
  bool is_complete = false;
  Progress progress = {};        // unless it is complete
  SnapshotSummary summary = {};  // if it is complete
};
static_assert(std::is_trivially_copyable_v<ChildReport>);

}  // namespace freeze

/// Freezes an index and writes it. One thread makes, uses and destroys it.
template <Persistable I, Storage S>
class FrozenSnapshot {
 public:
  /// Prepares a snapshot beside the file at `path`, a resolved name, under its lock; all must outlive this. `syncs()` says
  /// how often a log was synced so far that shares the disk: for as long as that goes on, it gets the disk for most of the
  /// time. Throws PersistError io.
  FrozenSnapshot(
      S& storage, const typename S::Lock& lock, const std::filesystem::path& path, const PersistConfig& config,
      std::function<std::uint64_t()> syncs = [] { return std::uint64_t{0}; })
      : config_(&config), file_(storage.replace(path, lock)), syncs_(std::move(syncs)), syncs_seen_(syncs_()) {}

  /// Whether an index of this type can be frozen with these settings, as long as the system goes along.
  [[nodiscard]] static bool is_possible(const PersistConfig& config) noexcept {
    return freeze::offers<I, S>(config.freezing);
  }

  /// Freezes `index`, which must not change before this returns. Returns whether it is frozen; if not, nothing has been
  /// done. Call it once. Throws what the copy of an index throws.
  [[nodiscard]] bool freeze(const I& index) {
    if constexpr (freeze::can_fork<I, S>) {
      if (config_->freezing != Freezing::by_copy) {
        return has_memory(index) && fork_child(index);
      }
    }
    if constexpr (std::copy_constructible<I>) {
      if (config_->freezing == Freezing::by_copy) {
        copy_.emplace(index);
        return true;
      }
    }
    return false;
  }

  /// Writes what was frozen. Precondition: freeze() has returned true. Returns nothing if the child did not do it: the
  /// snapshot must then be made in another way. Throws as write_snapshot does.
  [[nodiscard]] std::optional<WrittenSnapshot<S>> write() {
    std::optional<SnapshotSummary> summary;
    if (child_) {
      summary = reported();
      child_.reset();
      if (!summary) {
        return std::nullopt;
      }
      summary->info.frozen = Freezing::by_fork;
    } else {
      SparingFile sparing(file_, [this](std::chrono::nanoseconds took) {
        if (has_synced()) {
          std::this_thread::sleep_for(pause_behind(took));
        }
      });
      summary = write_snapshot_into(sparing, *copy_, *config_);
      summary->info.frozen = Freezing::by_copy;
      copy_.reset();
    }
    return WrittenSnapshot<S>{.file = std::move(file_), .fingerprint = summary->fingerprint, .info = summary->info};
  }

 private:
  // Whether there is memory for what a child takes: a part of what mutations change while it writes, and what a codec
  // holds.
  [[nodiscard]] bool has_memory(const I& index) const {
    constexpr std::uint64_t least = std::uint64_t{64} << 20U;
    constexpr std::uint64_t part_that_changes = 8;
    const std::uint64_t vectors = persisted_size(index) * persisted_dim(index) * sizeof(float);
    const bool holds_payload = config_->compression.codec() == Compression::Codec::lz4;
    return native_memory::available() >= least + vectors / part_that_changes + (holds_payload ? vectors : 0);
  }

  [[nodiscard]] bool fork_child(const I& index) {
    PersistConfig config = *config_;
    config.helper_threads = 0;  // the threads of the parent do not exist in the child
    try {
      child_.emplace(file_.descriptor(), [&](const NativeChild::Report& report) {
        const auto send = [&](const freeze::ChildReport& what) { report(std::as_bytes(std::span(&what, 1))); };
        config.on_progress = [&](const Progress& progress) { send({.progress = progress}); };
        using Clock = std::chrono::steady_clock;
        Clock::time_point spare_until = Clock::now();
        SparingFile sparing(file_, [&](std::chrono::nanoseconds took) {
          if (report.was_told()) {
            spare_until = Clock::now() + freeze::remembered;
          }
          if (Clock::now() < spare_until) {
            std::this_thread::sleep_for(pause_behind(took));
          }
        });
        const SnapshotSummary summary = write_snapshot_into(sparing, index, config);
        send({.is_complete = true, .summary = summary});
      });
    } catch (const std::system_error&) {
      return false;  // mutations wait instead
    }
    return true;
  }

  // Whether the log was synced since the last time.
  [[nodiscard]] bool has_synced() {
    const std::uint64_t syncs = syncs_();
    return std::exchange(syncs_seen_, syncs) != syncs;
  }

  // Whether the child reports nothing until the caller is to be asked. Tells the child of syncs meanwhile.
  [[nodiscard]] bool is_silent() {
    for (std::chrono::milliseconds waited{0}; waited < freeze::question; waited += freeze::look) {
      if (has_synced()) {
        child_->tell();
      }
      if (!child_->is_silent_for(freeze::look)) {
        return false;
      }
    }
    return true;
  }

  // What the child has written; nothing if it did not come to its end.
  [[nodiscard]] std::optional<SnapshotSummary> reported() {
    freeze::ChildReport report{.progress = {.phase = Progress::Phase::save, .done = 0, .total = 0}};
    std::chrono::milliseconds silent{0};
    while (silent < freeze::patience) {
      if (is_silent()) {
        silent += freeze::question;
      } else if (!child_->receive(std::as_writable_bytes(std::span(&report, 1)), freeze::patience)) {
        break;
      } else if (report.is_complete) {
        return report.summary;
      } else {
        silent = {};
      }
      progress::report(config_->on_progress, report.progress);
    }
    return std::nullopt;
  }

  const PersistConfig* config_;
  typename S::Replacement file_;
  std::function<std::uint64_t()> syncs_;
  std::uint64_t syncs_seen_;
  std::optional<I> copy_;
  std::optional<NativeChild> child_;  // declared last: it ends before the file that it writes is removed
};

}  // namespace iqdb
