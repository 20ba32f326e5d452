// Inserts into LevelDB, and into RocksDB, which began as LevelDB and has kept its interface: with their settings as
// they come, but for the sync at each commit.
#pragma once

#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "benchmarks.hpp"
#include "concurrent_inserts.hpp"
#include "inserts.hpp"
#include "key_text.hpp"

namespace iqdb_benchmarks {

/// A store of either. `Api` names it and its types: name, DB, Options, WriteOptions, WriteBatch, Status.
template <class Api>
class LevelDbStore {
 public:
  explicit LevelDbStore(const InsertPlan& plan) : plan_(plan) {
    typename Api::Options options;
    options.create_if_missing = true;
    options.error_if_exists = true;
    typename Api::DB* opened = nullptr;
    check(Api::DB::Open(options, plan.directory / Api::name, &opened));
    database_.reset(opened);
    synced_.sync = true;
  }

  void commit(std::uint64_t first_key) {
    batch_.Clear();
    gather(first_key);
    write();
  }

  /// Adds one record. Any thread may call it.
  void commit_alone(std::uint64_t key) {
    const KeyText text(key);
    const auto value = records_.value(key);
    check(database_->Put(synced_, {text.data(), text.size()}, {characters(value), value.size()}));
  }

  void finish(std::uint64_t next_key) {
    for (const std::uint64_t key : {std::uint64_t{0}, next_key - 1}) {
      const KeyText text(key);
      std::string found;
      check(database_->Get({}, {text.data(), text.size()}, &found));
      if (found.size() != Records::value_bytes) {
        throw std::runtime_error(std::string(Api::name) + " does not hold what was inserted");
      }
    }
  }

 protected:
  void gather(std::uint64_t first_key) {
    for (std::uint64_t key = first_key; key < first_key + plan_.batch; ++key) {
      const KeyText text(key);
      const auto value = records_.value(key);
      const auto put = [&] { return batch_.Put({text.data(), text.size()}, {characters(value), value.size()}); };
      if constexpr (std::is_void_v<decltype(put())>) {
        put();
      } else {
        check(put());
      }
    }
  }

  void write() { check(database_->Write(synced_, &batch_)); }

 private:
  static void check(const typename Api::Status& status) {
    if (!status.ok()) {
      throw std::runtime_error(std::string(Api::name) + ": " + status.ToString());
    }
  }

  InsertPlan plan_;
  Records records_;
  std::unique_ptr<typename Api::DB> database_;
  typename Api::WriteOptions synced_;
  typename Api::WriteBatch batch_;
};

/// The same, with the batch there when the clock starts, as the raw loops' bytes are; its keys are therefore always the
/// same.
template <class Api>
class ReadyLevelDbStore : public LevelDbStore<Api> {
 public:
  explicit ReadyLevelDbStore(const InsertPlan& plan) : LevelDbStore<Api>(plan) { this->gather(0); }
  void commit(std::uint64_t /*first_key*/) { this->write(); }
  void finish(std::uint64_t /*next_key*/) { LevelDbStore<Api>::finish(1); }
};

/// The same, shared by threads that commit one record at a time.
template <class Api>
class SharedLevelDbStore {
 public:
  explicit SharedLevelDbStore(const InsertPlan& plan) : store_(plan) {}
  void commit(std::uint64_t key) { store_.commit_alone(key); }
  void finish(std::uint64_t count) { store_.finish(count); }

 private:
  LevelDbStore<Api> store_;
};

/// Adds all that is measured of one of them.
template <class Api>
void add_leveldb_store(const Options& options, const std::string& version) {
  const std::string name = Api::name;
  benchmark::AddCustomContext("peer " + name, version);
  add_durable_inserts<LevelDbStore<Api>>(name, options);
  add_concurrent_durable_inserts<SharedLevelDbStore<Api>>(name, options);
  for (const std::size_t batch : batch_sizes) {
    if (batch > 1) {
      add_durable_inserts<ReadyLevelDbStore<Api>>(name + "_ready_batch", options, batch);
    }
  }
}

}  // namespace iqdb_benchmarks
