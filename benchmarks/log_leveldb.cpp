// LevelDB.
#include <leveldb/db.h>
#include <leveldb/write_batch.h>

#include <string>

#include "benchmarks.hpp"
#include "leveldb_store.hpp"

namespace iqdb_benchmarks {

namespace {

struct Level {
  static constexpr const char* name = "LevelDB";
  using DB = leveldb::DB;
  using Options = leveldb::Options;
  using Status = leveldb::Status;
  using WriteBatch = leveldb::WriteBatch;
  using WriteOptions = leveldb::WriteOptions;
};

}  // namespace

void add_leveldb(const Options& options) {
  add_leveldb_store<Level>(options,
                           std::to_string(leveldb::kMajorVersion) + "." + std::to_string(leveldb::kMinorVersion));
}

}  // namespace iqdb_benchmarks
