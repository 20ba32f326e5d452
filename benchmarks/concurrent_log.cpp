// Durable inserts from many threads: this library's, and the least that a group commit must do.
#include <fcntl.h>

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

#include "benchmarks.hpp"
#include "concurrent_inserts.hpp"
#include "iqdb/persist/shared_index.hpp"

namespace iqdb_benchmarks {

namespace {

// A mutex, one leader, and bare system calls into space that was zeroed before the clock started: whoever finds nobody
// writing writes and syncs what all have put into the buffer, in one piece.
class RawGroupCommit {
 public:
  explicit RawGroupCommit(const InsertPlan& plan)
      : plan_(plan), file_(plan.directory / "log", O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC) {
    const std::vector<std::byte> zeros(static_cast<std::size_t>(plan.bytes()));
    file_.write_at(0, zeros);
    file_.sync();
  }

  void commit(std::uint64_t key) {
    std::unique_lock guard(mutex_);
    const std::span<const std::byte> record = records_.records(key, 1);
    waiting_.insert(waiting_.end(), record.begin(), record.end());
    const std::uint64_t number = ++submitted_;
    while (durable_ < number) {
      if (writing_) {
        done_.wait(guard);
        continue;
      }
      writing_ = true;
      written_.clear();
      std::swap(waiting_, written_);
      const std::uint64_t last = submitted_;
      guard.unlock();
      file_.write_at(end_, written_);
      end_ += written_.size();
      file_.sync_data();
      guard.lock();
      durable_ = last;
      writing_ = false;
      done_.notify_all();
    }
  }

  void finish(std::uint64_t count) const {
    if (end_ != count * Records::record_bytes) {
      throw std::runtime_error("the log does not hold what was written to it");
    }
  }

 private:
  InsertPlan plan_;
  Records records_;
  File file_;
  std::mutex mutex_;
  std::condition_variable done_;
  std::vector<std::byte> waiting_;
  std::vector<std::byte> written_;
  std::uint64_t submitted_ = 0;
  std::uint64_t durable_ = 0;
  bool writing_ = false;
  std::uint64_t end_ = 0;
};

template <class Database>
class Iqdb {
 public:
  Iqdb(const InsertPlan& plan, iqdb::FsyncPolicy policy)
      : plan_(plan), database_(Database::open_with(NullIndex(), config(policy))) {}

  void commit(std::uint64_t key) { database_.insert(key, records_.vector(key)); }

  void finish(std::uint64_t count) {
    database_.close();
    const auto loaded = iqdb::PersistedIndex<NullIndex>::load(config(iqdb::FsyncPolicy::always()));
    if (loaded.index().size() != count) {
      throw std::runtime_error("the index does not hold what was inserted");
    }
  }

 private:
  [[nodiscard]] iqdb::PersistConfig config(iqdb::FsyncPolicy policy) const {
    return {.path = plan_.directory / "index.iqdb", .wal_enabled = true, .fsync_policy = policy};
  }

  InsertPlan plan_;
  Records records_;
  Database database_;
};

template <class Database>
class Synced : public Iqdb<Database> {
 public:
  explicit Synced(const InsertPlan& plan) : Iqdb<Database>(plan, iqdb::FsyncPolicy::always()) {}
};

template <class Database>
class Unsynced : public Iqdb<Database> {
 public:
  explicit Unsynced(const InsertPlan& plan) : Iqdb<Database>(plan, iqdb::FsyncPolicy::never()) {}
};

using Shared = iqdb::SharedIndex<NullIndex>;
using Persisted = iqdb::PersistedIndex<NullIndex>;

}  // namespace

void add_concurrent_log(const Options& options) {
  add_concurrent_durable_inserts<RawGroupCommit>("raw_group_commit", options);
  add_concurrent_durable_inserts<Synced<Shared>>("iqdb-persist", options);
  add_concurrent_inserts<Synced<Persisted>>("concurrent_insert/1/iqdb-persist_one_thread", options, 1, options.commits);
  add_concurrent_inserts<Unsynced<Persisted>>("concurrent_unsynced_insert/1/iqdb-persist_one_thread", options, 1,
                                              options.unsynced_records);
  for (const std::size_t threads : {1U, 2U}) {
    add_concurrent_inserts<Unsynced<Shared>>("concurrent_unsynced_insert/" + std::to_string(threads) + "/iqdb-persist",
                                             options, threads, options.unsynced_records);
  }
}

}  // namespace iqdb_benchmarks
