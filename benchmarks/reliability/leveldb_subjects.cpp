// LevelDB.
#include <leveldb/db.h>
#include <leveldb/write_batch.h>

#include "leveldb_subject.hpp"

namespace iqdb_reliability {

namespace {

struct Level {
  static constexpr const char* name = "LevelDB";
  static std::string version() {
    return std::to_string(leveldb::kMajorVersion) + "." + std::to_string(leveldb::kMinorVersion);
  }
  using DB = leveldb::DB;
  using Iterator = leveldb::Iterator;
  using Options = leveldb::Options;
  using ReadOptions = leveldb::ReadOptions;
  using Status = leveldb::Status;
  using WriteBatch = leveldb::WriteBatch;
  using WriteOptions = leveldb::WriteOptions;

  static constexpr const char* strict_settings = "paranoid_checks";
  static void strict(Options& options) { options.paranoid_checks = true; }
};

}  // namespace

void add_leveldb(Subjects& subjects) { add_leveldb_logs<Level>(subjects); }

}  // namespace iqdb_reliability
