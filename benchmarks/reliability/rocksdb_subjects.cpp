// RocksDB.
#include <rocksdb/db.h>
#include <rocksdb/version.h>
#include <rocksdb/write_batch.h>

#include "leveldb_subject.hpp"

namespace iqdb_reliability {

namespace {

struct Rocks {
  static constexpr const char* name = "RocksDB";
  static std::string version() { return rocksdb::GetRocksVersionAsString(true); }
  using DB = rocksdb::DB;
  using Iterator = rocksdb::Iterator;
  using Options = rocksdb::Options;
  using ReadOptions = rocksdb::ReadOptions;
  using Status = rocksdb::Status;
  using WriteBatch = rocksdb::WriteBatch;
  using WriteOptions = rocksdb::WriteOptions;

  // Its paranoid_checks are on as it comes.
  static constexpr const char* strict_settings = "kAbsoluteConsistency";
  static void strict(Options& options) { options.wal_recovery_mode = rocksdb::WALRecoveryMode::kAbsoluteConsistency; }
};

}  // namespace

void add_rocksdb(Subjects& subjects) { add_leveldb_logs<Rocks>(subjects); }

}  // namespace iqdb_reliability
