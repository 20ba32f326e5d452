#include "iqdb/persist/wal/log_tail.hpp"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <tuple>
#include <vector>

#include "iqdb/persist.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"
#include "support/memory_storage.hpp"
#include "support/raw_log.hpp"

namespace {

using iqdb::LsnRange;
using iqdb_test::hex;
using iqdb_test::MemoryStorage;

const std::filesystem::path tail_path = "/index.iqdb.wal";

// A log in memory that is written, and the copy of its tail.
class TailSource {
 public:
  // In a store in which `logs_before` logs have been made.
  explicit TailSource(int logs_before = 0, iqdb::HistoryPolicy history = iqdb::HistoryPolicy::none())
      : lock_(storage_.lock("/index.iqdb")), writer_({.path = "/index.iqdb", .history = history}) {
    for (int log = 0; log < logs_before; ++log) {
      std::ignore = storage_.new_log_id();
    }
    iqdb::NewLog<MemoryStorage> log(storage_, tail_path, lock_, {}, 0, std::nullopt, config_);
    log.finish();
    iqdb::put_in_place(log.file());
    writer_.go_on_with(storage_, log);
  }

  void erase(std::uint64_t id) {
    std::ignore = writer_.append(1, [&](iqdb::Writer& body) { iqdb::write_erase(body, id); });
  }

  [[nodiscard]] iqdb::LogTail<MemoryStorage> tail(const iqdb::LogPosition& from) {
    return tail({.end = from, .clock = writer_.clock()});
  }
  [[nodiscard]] iqdb::LogTail<MemoryStorage> tail(const iqdb::LogMoment& from) {
    return {storage_, tail_path, lock_, writer_.header(), from, base_, config_};
  }

  // Puts the copy in place. Its operations.
  std::string completed(iqdb::LogTail<MemoryStorage>& tail) {
    iqdb::NewLog<MemoryStorage>& log = tail.complete();
    log.finish();
    iqdb::put_in_place(log.file());
    return iqdb_test::ops_of(storage_.files().at(tail_path));
  }

  MemoryStorage& storage() { return storage_; }
  iqdb::LogWriter<MemoryStorage>& writer() { return writer_; }
  [[nodiscard]] const iqdb::Fingerprint& base() const { return base_; }

 private:
  MemoryStorage storage_;
  MemoryStorage::Lock lock_;
  iqdb::PersistConfig config_{.path = "/index.iqdb"};
  iqdb::LogWriter<MemoryStorage> writer_;
  iqdb::Fingerprint base_{.file_bytes = 7, .header_crc32 = 8, .region_crc32 = 9};
};

}  // namespace

TEST_CASE("The tail of a log holds what stands behind the snapshot under the same numbers", "[log_tail]") {
  TailSource source;
  source.erase(1);
  source.erase(2);
  const iqdb::LogPosition from = source.writer().end();
  source.erase(3);
  source.erase(4);
  auto tail = source.tail(from);
  tail.copy_up_to(source.writer().end());
  CHECK(source.completed(tail) == "eex");
  const auto frames = iqdb_test::frames_of(source.storage().files().at(tail_path));
  CHECK(frames.at(0).lsn == 3);
  CHECK(frames.at(1).lsn == 4);
  CHECK(frames.at(1).durable == frames.at(1).offset);
  CHECK(tail.complete().header().base_lsn == 2);
  CHECK(tail.complete().header().base == source.base());
  CHECK(tail.complete().header().history_id == source.writer().header().history_id);
  CHECK(tail.complete().header().log_id != source.writer().header().log_id);
}

TEST_CASE("A tail is copied in parts while the log grows", "[log_tail]") {
  TailSource source;
  const iqdb::LogPosition from = source.writer().end();
  auto tail = source.tail(from);
  tail.copy_up_to(from);
  for (std::uint64_t id = 1; id <= 3; ++id) {
    source.erase(id);
    tail.copy_up_to(source.writer().end());
  }
  CHECK(source.completed(tail) == "eeex");
}

TEST_CASE("A tail without a mutation is an empty log", "[log_tail]") {
  TailSource source;
  source.erase(1);
  auto tail = source.tail(source.writer().end());
  CHECK(source.completed(tail).empty());
}

TEST_CASE("A tail begins with the time that the log had noted before it", "[log_tail]") {
  TailSource source(0, iqdb::HistoryPolicy::keep_last(1));
  source.erase(1);
  const iqdb::LogMoment from{.end = source.writer().end(), .clock = source.writer().clock()};
  const auto first_frame = [&] { return iqdb_test::frames_of(source.storage().files().at(tail_path)).at(0); };
  const auto noted = first_frame().body;
  source.erase(2);
  auto tail = source.tail(from);
  tail.copy_up_to(source.writer().end());
  CHECK(source.completed(tail).starts_with("te"));
  CHECK(hex(first_frame().body) == hex(noted));
}

TEST_CASE("Aborts are copied behind their frames and checkpoints are not copied", "[log_tail]") {
  TailSource source;
  const iqdb::LogPosition from = source.writer().end();
  source.erase(1);
  const LsnRange first{.first = 1, .last = 1};
  REQUIRE(source.writer().abort(std::span(&first, 1), false));
  source.writer().checkpoint(source.base(), 1);
  source.erase(2);
  auto tail = source.tail(from);
  tail.copy_up_to(source.writer().end());
  CHECK(source.completed(tail) == "eaex");
}

TEST_CASE("A log that does not show what was written is not copied", "[log_tail]") {
  TailSource source;
  const iqdb::LogPosition from = source.writer().end();
  source.erase(1);
  source.erase(2);
  const iqdb::LogPosition end = source.writer().end();
  auto& bytes = source.storage().files().at(tail_path);
  auto tail = source.tail(from);
  const auto copy = [&] { tail.copy_up_to(end); };
  SECTION("it is shorter") {
    bytes.resize(bytes.size() - 1);
    CHECK(iqdb_test::mentions(iqdb_test::require_kind(iqdb::PersistErrorKind::io, copy), "no valid record"));
  }
  SECTION("its last record is another one") {
    bytes.back() ^= std::byte{1};
    CHECK(iqdb_test::mentions(iqdb_test::require_kind(iqdb::PersistErrorKind::io, copy), "no valid record"));
  }
  SECTION("the end lies within a record") {
    const iqdb::LogPosition within{.offset = end.offset - 1, .next_lsn = end.next_lsn};
    const auto error = iqdb_test::require_kind(iqdb::PersistErrorKind::io, [&] { tail.copy_up_to(within); });
    CHECK(iqdb_test::mentions(error, "stops at byte " + std::to_string(end.offset)));
  }
  SECTION("the numbers are others") {
    const iqdb::LogPosition numbered{.offset = end.offset, .next_lsn = end.next_lsn + 1};
    std::ignore = iqdb_test::require_kind(iqdb::PersistErrorKind::io, [&] { tail.copy_up_to(numbered); });
  }
  SECTION("another log has its name") {
    TailSource other(1);
    other.erase(1);
    other.erase(2);
    bytes = other.storage().files().at(tail_path);
    std::ignore = iqdb_test::require_kind(iqdb::PersistErrorKind::io, copy);
  }
  SECTION("it is gone") {
    source.storage().files().erase(tail_path);
    CHECK(iqdb_test::mentions(iqdb_test::require_kind(iqdb::PersistErrorKind::io, copy), "not there"));
  }
}
