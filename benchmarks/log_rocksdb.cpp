// RocksDB with its settings as they come, but for the sync at each commit.
#include <rocksdb/db.h>
#include <rocksdb/version.h>
#include <rocksdb/write_batch.h>

#include <memory>
#include <stdexcept>
#include <string>

#include "benchmarks.hpp"
#include "inserts.hpp"
#include "key_text.hpp"

namespace iqdb_benchmarks {

namespace {

class Rocks {
 public:
  explicit Rocks(const InsertPlan& plan) : plan_(plan) {
    rocksdb::Options options;
    options.create_if_missing = true;
    options.error_if_exists = true;
    rocksdb::DB* opened = nullptr;
    check(rocksdb::DB::Open(options, plan.directory / "rocksdb", &opened));
    database_.reset(opened);
    synced_.sync = true;
  }

  void commit(std::uint64_t first_key) {
    batch_.Clear();
    gather(first_key);
    write();
  }

  void finish(std::uint64_t next_key) {
    for (const std::uint64_t key : {std::uint64_t{0}, next_key - 1}) {
      const KeyText text(key);
      std::string found;
      check(database_->Get({}, {text.data(), text.size()}, &found));
      if (found.size() != Records::value_bytes) {
        throw std::runtime_error("RocksDB does not hold what was inserted");
      }
    }
  }

 protected:
  static void check(const rocksdb::Status& status) {
    if (!status.ok()) {
      throw std::runtime_error("RocksDB: " + status.ToString());
    }
  }

  void gather(std::uint64_t first_key) {
    for (std::uint64_t key = first_key; key < first_key + plan_.batch; ++key) {
      const KeyText text(key);
      const auto value = records_.value(key);
      check(batch_.Put({text.data(), text.size()}, {characters(value), value.size()}));
    }
  }

  void write() { check(database_->Write(synced_, &batch_)); }

 private:
  InsertPlan plan_;
  Records records_;
  std::unique_ptr<rocksdb::DB> database_;
  rocksdb::WriteOptions synced_;
  rocksdb::WriteBatch batch_;
};

// The batch is there when the clock starts, as the raw loops' bytes are; its keys are therefore always the same.
class RocksReady : public Rocks {
 public:
  explicit RocksReady(const InsertPlan& plan) : Rocks(plan) { gather(0); }
  void commit(std::uint64_t /*first_key*/) { write(); }
  void finish(std::uint64_t /*next_key*/) { Rocks::finish(1); }
};

}  // namespace

void add_rocksdb(const Options& options) {
  benchmark::AddCustomContext("peer RocksDB", rocksdb::GetRocksVersionAsString(false));
  add_durable_inserts<Rocks>("RocksDB", options);
  for (const std::size_t batch : batch_sizes) {
    if (batch > 1) {
      add_durable_inserts<RocksReady>("RocksDB_ready_batch", options, batch);
    }
  }
}

}  // namespace iqdb_benchmarks
