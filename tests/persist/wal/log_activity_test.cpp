// Whether a log is written by another process, seen from its bytes.
#include "iqdb/persist/wal/log_activity.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <vector>

#include "iqdb/persist/storage/file_storage.hpp"
#include "iqdb/persist/wal/wal_format.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/raw_log.hpp"
#include "support/temporary_directory.hpp"

namespace {

using iqdb::FrameHeader;

// A log that another process writes, and who looks at it.
class WatchedLog {
 public:
  WatchedLog() { begin(1); }

  // Puts a new log in place, as a checkpoint does.
  void begin(std::uint64_t log_id) {
    const std::vector<std::byte> fingerprint(16);
    const std::filesystem::path name = directory_ / "new";
    iqdb_test::write_bytes(name, iqdb_test::raw_header(log_id, 0, fingerprint));
    std::filesystem::rename(name, path_);
  }

  void append_frame(std::uint32_t body_bytes) { append(body_bytes, body_bytes); }
  void append(std::uint32_t stated_bytes, std::size_t body_bytes) {
    const auto header = encoded(FrameHeader{.body_bytes = stated_bytes, .lsn = ++lsn_});
    std::vector<std::byte> bytes(header.begin(), header.end());
    bytes.resize(bytes.size() + body_bytes, std::byte{1});
    append_bytes(bytes);
  }
  void append_bytes(const std::vector<std::byte>& bytes) {
    std::ofstream file(path_, std::ios::binary | std::ios::app);
    for (const std::byte each : bytes) {
      file.put(static_cast<char>(each));
    }
  }

  // The number of looks that found more, from the first call on.
  std::uint64_t look() {
    if (!activity_) {
      log_ = storage_.open(path_);
      activity_.emplace(storage_, path_, *log_, iqdb::log_header_bytes);
    }
    return (*activity_)();
  }

 private:
  iqdb_test::TemporaryDirectory directory_{iqdb_test::memory_directory()};
  std::filesystem::path path_ = directory_ / "index.iqdb.wal";
  std::uint64_t lsn_ = 0;
  iqdb::FileStorage storage_;
  std::optional<iqdb::FileStorage::File> log_;
  std::optional<iqdb::LogActivity<iqdb::FileStorage>> activity_;
};

}  // namespace

TEST_CASE("A log that gets frames is written and one that gets none is not", "[log_activity]") {
  WatchedLog log;
  log.append_frame(10);
  CHECK(log.look() == 0);
  log.append_frame(300);
  CHECK(log.look() == 1);
  CHECK(log.look() == 1);
  log.append_frame(20);
  log.append_frame(20);
  CHECK(log.look() == 2);
  CHECK(log.look() == 2);
}

TEST_CASE("Space that is prepared behind a log is no frame", "[log_activity]") {
  WatchedLog log;
  log.append_frame(10);
  CHECK(log.look() == 0);
  log.append_bytes(std::vector<std::byte>(500));
  CHECK(log.look() == 0);
}

TEST_CASE("Behind a torn tail nothing is looked for", "[log_activity]") {
  WatchedLog log;
  CHECK(log.look() == 0);
  log.append(0x3F80'0000, 30);
  CHECK(log.look() == 0);
}

TEST_CASE("The log that takes the place of another one is watched in its turn", "[log_activity]") {
  WatchedLog log;
  CHECK(log.look() == 0);
  log.append_frame(10);
  CHECK(log.look() == 1);
  log.begin(2);
  CHECK(log.look() == 2);
  CHECK(log.look() == 2);
  log.append_frame(10);
  CHECK(log.look() == 3);
}

TEST_CASE("What is wrong with a log that is watched is nobody's failure", "[log_activity]") {
  WatchedLog log;
  CHECK(log.look() == 0);
  log.append_frame(10);
  CHECK(log.look() == 1);
  log.begin(2);
  log.append_bytes({std::byte{1}});
  CHECK(log.look() == 2);
}
