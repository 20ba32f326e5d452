// This library's log, in front of an index that does nothing.
#include "benchmarks.hpp"
#include "inserts.hpp"

namespace iqdb_benchmarks {

namespace {

using Database = iqdb::PersistedIndex<NullIndex>;

class Iqdb {
 public:
  Iqdb(const InsertPlan& plan, iqdb::FsyncPolicy policy)
      : plan_(plan),
        database_(Database::open_with(
            NullIndex(), {.path = plan.directory / "index.iqdb", .wal_enabled = true, .fsync_policy = policy})) {}

  void finish(std::uint64_t next_key) {
    database_.close();
    const auto loaded = Database::load({.path = plan_.directory / "index.iqdb", .wal_enabled = true});
    if (loaded.index().size() != next_key) {
      throw std::runtime_error("the index does not hold what was inserted");
    }
  }

 protected:
  void insert(std::uint64_t key) { database_.insert(key, records_.vector(key)); }

  void gather(iqdb::WriteBatch& batch, std::uint64_t first_key) {
    for (std::uint64_t key = first_key; key < first_key + plan_.batch; ++key) {
      batch.insert(key, records_.vector(key));
    }
  }

  InsertPlan plan_;
  Records records_;
  Database database_;
};

class Synced : public Iqdb {
 public:
  explicit Synced(const InsertPlan& plan) : Iqdb(plan, iqdb::FsyncPolicy::always()) {}
  void commit(std::uint64_t first_key) {
    if (plan_.batch == 1) {
      insert(first_key);
      return;
    }
    batch_.clear();
    gather(batch_, first_key);
    database_.apply(batch_);
  }

 private:
  iqdb::WriteBatch batch_;
};

// The batch is there when the clock starts, as the raw loops' bytes are.
class SyncedReady : public Iqdb {
 public:
  explicit SyncedReady(const InsertPlan& plan) : Iqdb(plan, iqdb::FsyncPolicy::always()) { gather(batch_, 0); }
  void commit(std::uint64_t /*first_key*/) { database_.apply(batch_); }

 private:
  iqdb::WriteBatch batch_;
};

class Unsynced : public Iqdb {
 public:
  explicit Unsynced(const InsertPlan& plan) : Iqdb(plan, iqdb::FsyncPolicy::never()) {}
  void commit(std::uint64_t first_key) { insert(first_key); }
};

}  // namespace

void add_iqdb_inserts(const Options& options) {
  add_durable_inserts<Synced>("iqdb-persist", options);
  for (const std::size_t batch : batch_sizes) {
    if (batch > 1) {
      add_durable_inserts<SyncedReady>("iqdb-persist_ready_batch", options, batch);
    }
  }
  add_inserts<Unsynced>("unsynced_insert/1/iqdb-persist", options, 1, options.unsynced_records);
}

}  // namespace iqdb_benchmarks
