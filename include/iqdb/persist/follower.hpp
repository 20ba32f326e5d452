// Follower: an index in memory that follows what another process writes.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <concepts>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <thread>
#include <tuple>
#include <type_traits>
#include <utility>

#include "iqdb/index.hpp"
#include "iqdb/persist/bytes/fair_mutex.hpp"
#include "iqdb/persist/call_under_way.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/process_mark.hpp"
#include "iqdb/persist/progress.hpp"
#include "iqdb/persist/shared_index.hpp"
#include "iqdb/persist/shared_reads.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/storage/file_storage.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/commit_queue.hpp"
#include "iqdb/persist/wal/followed_log.hpp"
#include "iqdb/persist/wal/log_guard.hpp"
#include "iqdb/persist/wal/log_paths.hpp"
#include "iqdb/persist/wal/read_only.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// What a Follower has done since it was made.
struct FollowerStats {
  std::uint64_t lsn = 0;         ///< the LSN of the last mutation that it holds; 0 without a log
  std::uint64_t catch_ups = 0;   ///< how often it looked for more
  std::uint64_t reloads = 0;     ///< how often it loaded snapshot and log anew
  std::uint64_t taken_back = 0;  ///< how many of these were since the writer did not keep a mutation that was shown
  /// How long ago it was last known to hold everything that the files held: its lag.
  std::chrono::nanoseconds behind{0};
  std::chrono::nanoseconds longest_catch_up{0};  ///< the longest that a look for more has taken
  std::string why_failing = {};                  ///< why the last look of its own thread failed; empty if it did not
};

/// An index that a process only reads, while another process, or another object of this one, writes it. Several may follow
/// one writer.
///
///     auto follower = iqdb::Follower<iqdb::FlatIndex>::load({.path = "vectors.iqdb"});
///     follower.catch_up_every(std::chrono::milliseconds(10));
///     auto hits = follower.search(embedding);
///
/// It takes no lock, writes nothing, and needs no right to write. It goes on over checkpoints, saves and restarts of the
/// writer, and loads the files anew, beside the index that it shows, where it cannot. It may show a mutation a moment before
/// that is durable, or that the writer takes back since a write failed or the index rejected it; the next catch_up() then
/// takes it back, too. What it shows is never a mixture of two histories.
///
/// Every member may be called from any thread at any time, but for the destructor. It can neither be copied nor moved. In the
/// child of a fork every call throws PersistError poisoned, and the destructor does nothing.
template <Persistable I, Storage S = FileStorage>
class Follower : public SharedReads<Follower<I, S>, I> {
  static_assert(Index<I>, "Follower<I> applies the mutations of a log: I needs what concept Index asks for");
  static_assert(GrowingFile<typename S::File> || ContinuesLogs<S>,
                "Follower<I, S> reads files that grow: S::File needs refresh()");

 public:
  /// Loads the index of config.path as it is now; wal_enabled and read_only do not matter. Throws as PersistedIndex::load does
  /// with read_only; PersistError invalid_config if `up_to` is set.
  static Follower load(PersistConfig config, S storage = {}) { return Follower(std::move(config), std::move(storage)); }

  Follower(const Follower&) = delete;
  Follower& operator=(const Follower&) = delete;

  /// Ends its thread; a reload that is under way ends without its result. No other thread may be in a call, or make one.
  ~Follower() {
    // A thread that does not exist in the child of a fork may have held its locks; a callback of its own call waits for itself.
    if (state_->made_in.inherited() || ThreadInCall::is_in(state_.get())) {
      std::ignore = state_.release();
      return;
    }
    state_->end();
  }

  /// Applies what the writer has logged since, and returns the LSN of the last mutation. Readers wait only while mutations
  /// are applied. Throws PersistError io, and what load throws if it must load anew; then the index that it shows stays.
  /// PersistError reentered from within a read.
  std::uint64_t catch_up() {
    require_ready();
    return state_->catch_up();
  }

  /// Has a thread of its own call catch_up() every `interval`, until this is destroyed. A failure is told by stats(), and it
  /// tries again. Another call changes the interval. Throws PersistError invalid_config for an interval that is not
  /// positive or longer than a day, reentered; io if there is no thread.
  void catch_up_every(std::chrono::milliseconds interval) {
    require_ready();
    constexpr std::chrono::hours longest{24};
    if (interval.count() <= 0 || interval > longest) {
      throw_persist_error(PersistErrorKind::invalid_config,
                          "a follower cannot look for more every " + std::to_string(interval.count()) +
                              " ms; choose an interval from 1 ms to a day",
                          {.path = state_->config.path, .code = {}, .offset = {}});
    }
    state_->catch_up_every(interval);
  }

  /// Returns `look(index)`, beside other readers. The index does not change meanwhile. What `look` returns must not refer to
  /// it. Throws what `look` throws.
  template <class Look>
  auto read(Look&& look) const {
    static_assert(!std::is_reference_v<std::invoke_result_t<Look, const I&>>,
                  "read() lets nobody keep a reference into the index, which changes: return a copy");
    state_->made_in.require_same();
    if (ThreadInCall::is_reading(state_.get())) {
      return std::forward<Look>(look)(std::as_const(*state_->index));
    }
    require_ready();
    const ThreadInCall mark(state_.get(), true);
    const FairMutex::Reading guard(state_->content);
    return std::forward<Look>(look)(std::as_const(*state_->index));
  }

  /// The LSN of the last mutation that it holds; 0 without a log. Waits for nothing.
  [[nodiscard]] std::uint64_t lsn() const noexcept { return state_->lsn; }

  /// What it has done, and how far it is behind. Waits for no catch_up().
  [[nodiscard]] FollowerStats stats() const {
    state_->made_in.require_same();
    return state_->told();
  }

  /// The settings that it was made with.
  [[nodiscard]] const PersistConfig& config() const noexcept { return state_->config; }

  /// Opens the index for writing: takes its lock, and reads what is there. This object goes on, and follows the index that is
  /// returned, so that both take memory until it is destroyed. Throws as SharedIndex::load does, e.g. PersistError locked
  /// while the writer lives.
  [[nodiscard]] SharedIndex<I, S> promote() requires std::copy_constructible<S> {
    require_ready();
    PersistConfig config = state_->config;
    config.wal_enabled = true;
    config.read_only = false;
    config.on_progress = state_->on_progress;
    return SharedIndex<I, S>::load(std::move(config), state_->storage);
  }

 private:
  // What the thread shares with the object. Its functions are called by one thread at a time, but for told().
  struct State {
    State(PersistConfig given, S store) : config(std::move(given)), storage(std::move(store)) {
      config.wal_enabled = false;
      config.read_only = true;
      if (config.up_to || config.up_to_time) {
        throw_persist_error(
            PersistErrorKind::invalid_config,
            "a follower shows every mutation; leave up_to and up_to_time out, or load the index with read_only",
            {.path = config.path, .code = {}, .offset = {}});
      }
      on_progress = std::exchange(config.on_progress, [this](const Progress& progress) {
        if (is_ending) {
          throw_persist_error(PersistErrorKind::poisoned,
                              "the follower is being destroyed, and loads nothing any more");
        }
        progress::report(on_progress, progress);
      });
      path = naming_file(config.path, [&] { return storage.resolve(config.path); });
      load_anew();
    }

    std::uint64_t catch_up() {
      const ThreadInCall mark(this, false);
      const std::lock_guard one_at_a_time(catching_up_);
      const auto began = Clock::now();
      if (const Followed followed = go_on(); followed != Followed::to_the_end) {
        load_anew();
        const std::lock_guard guard(stats_mutex_);
        ++stats_.reloads;
        stats_.taken_back += followed == Followed::taken_back ? 1 : 0;
      }
      const std::lock_guard guard(stats_mutex_);
      ++stats_.catch_ups;
      stats_.longest_catch_up = std::max(stats_.longest_catch_up, std::chrono::nanoseconds(Clock::now() - began));
      caught_up_ = began;
      return lsn;
    }

    [[nodiscard]] FollowerStats told() const {
      const std::lock_guard guard(stats_mutex_);
      FollowerStats all = stats_;
      all.lsn = lsn;
      all.behind = Clock::now() - caught_up_;
      return all;
    }

    void catch_up_every(std::chrono::milliseconds time) {
      const std::lock_guard guard(thread_mutex_);
      interval_ = time;
      if (!thread_.joinable()) {
        try {
          thread_ = std::thread([this] { run(); });
        } catch (const std::system_error& error) {
          throw_persist_error(PersistErrorKind::io, "cannot start the thread of the follower",
                              {.path = config.path, .code = error.code(), .offset = {}});
        }
      }
      wake_.notify_one();
    }

    // Called once, by the destructor.
    void end() {
      {
        const std::lock_guard guard(thread_mutex_);
        is_ending = true;
      }
      wake_.notify_one();
      if (thread_.joinable()) {
        thread_.join();
      }
    }

    using Clock = std::chrono::steady_clock;

    // Behind the end of a log lie zeros that the writer has prepared: of a large piece most would be read in vain, again and
    // again, from the disk that the writer needs.
    static constexpr std::size_t most_piece_bytes = std::size_t{16} * 1024;

    PersistConfig config;
    S storage;
    std::filesystem::path path;  // config.path with symbolic links resolved
    ProcessMark made_in;
    mutable FairMutex content;  // of what `index` points to
    std::unique_ptr<I> index;
    std::atomic<std::uint64_t> lsn = 0;

    std::function<void(const Progress&)> on_progress;  // the program's
    std::atomic<bool> is_ending = false;

   private:
    // Applies what the files hold. Says whether they must be loaded anew.
    [[nodiscard]] Followed go_on() {
      if (!log_) {
        const bool is_same = snapshot_ == log_guard::fingerprint_at(storage, path) && !storage.open(log_path(path));
        return is_same ? Followed::to_the_end : Followed::lost;
      }
      const Followed followed = naming_file(log_path(path), [&] {
        return log_->go_on(storage, log_path(path), [&](auto&& apply) {
          const FairMutex::Writing guard(content);
          const auto end = Clock::now() + GroupBounds().applying;
          apply(*index, [&] { return Clock::now() >= end; });
        });
      });
      lsn = log_->lsn();
      return followed;
    }

    void load_anew() {
      read_only::ReadFiles<S> read;
      ReadOnlyState<I> loaded =
          read_only::until_they_fit([&] { return read_only::load_once<I>(storage, path, config, &read); });
      auto fresh = std::make_unique<I>(std::move(loaded.index));
      snapshot_ = read.snapshot;
      std::optional<FollowedLog<I, S>> followed;
      if (read.log) {
        followed.emplace(std::move(read), std::min(config.buffer_bytes, most_piece_bytes));
      }
      {
        const FairMutex::Writing guard(content);
        index.swap(fresh);  // the old one is destroyed when readers go on
      }
      log_ = std::move(followed);
      lsn = log_ ? log_->lsn() : 0;
    }

    void run() noexcept {
      std::unique_lock guard(thread_mutex_);
      while (!is_ending) {
        const std::chrono::milliseconds pause = interval_;
        guard.unlock();
        std::string why;
        try {
          catch_up();
        } catch (...) {
          why = message_of_current_exception();
        }
        {
          const std::lock_guard told(stats_mutex_);
          stats_.why_failing.swap(why);
        }
        guard.lock();
        wake_.wait_for(guard, pause, [&] { return is_ending || interval_ != pause; });
      }
    }

    std::mutex thread_mutex_;  // of the three below
    std::condition_variable wake_;
    std::chrono::milliseconds interval_{0};
    std::thread thread_;

    std::mutex catching_up_;  // one at a time
    std::optional<FollowedLog<I, S>> log_;
    Fingerprint snapshot_;  // the one that was loaded
    mutable std::mutex stats_mutex_;
    FollowerStats stats_;
    Clock::time_point caught_up_ = Clock::now();
  };

  Follower(PersistConfig config, S storage) : state_(std::make_unique<State>(std::move(config), std::move(storage))) {}

  void require_ready() const {
    state_->made_in.require_same();
    CallUnderWay::require_none(ThreadInCall::is_in(state_.get()));
  }

  std::unique_ptr<State> state_;  // never null
};

}  // namespace iqdb
