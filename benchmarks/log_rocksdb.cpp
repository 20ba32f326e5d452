// RocksDB.
#include <rocksdb/db.h>
#include <rocksdb/version.h>
#include <rocksdb/write_batch.h>

#include "benchmarks.hpp"
#include "leveldb_store.hpp"

namespace iqdb_benchmarks {

namespace {

struct Rocks {
  static constexpr const char* name = "RocksDB";
  using DB = rocksdb::DB;
  using Options = rocksdb::Options;
  using Status = rocksdb::Status;
  using WriteBatch = rocksdb::WriteBatch;
  using WriteOptions = rocksdb::WriteOptions;
};

}  // namespace

void add_rocksdb(const Options& options) { add_leveldb_store<Rocks>(options, rocksdb::GetRocksVersionAsString(false)); }

}  // namespace iqdb_benchmarks
