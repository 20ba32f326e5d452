// Reading a log: where it ends and why, what is damage, and where replay starts. Logs are put together by hand.
#include "iqdb/persist/wal/wal_reader.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "iqdb/persist/bytes/helper_threads.hpp"
#include "support/allocations.hpp"
#include "support/bytes.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"
#include "support/memory_storage.hpp"
#include "support/raw_log.hpp"
#include "support/sample_index.hpp"

namespace {

using iqdb::Fingerprint;
using iqdb::LogPosition;
using iqdb::LogScan;
using iqdb::PersistErrorKind;
using iqdb_test::abort_body;
using iqdb_test::batch_body;
using iqdb_test::Bytes;
using iqdb_test::ByteVector;
using iqdb_test::checkpoint_body;
using iqdb_test::close_body;
using iqdb_test::erase_body;
using iqdb_test::insert_body;
using iqdb_test::MemoryFile;
using iqdb_test::raw_frame;
using iqdb_test::RawLog;
using iqdb_test::require_kind;

constexpr std::uint64_t id = 0x1122334455667788;
constexpr std::size_t least_buffer = 4096;

const Fingerprint base{.file_bytes = 100, .header_crc32 = 1, .region_crc32 = 2};
const Fingerprint other{.file_bytes = 100, .header_crc32 = 1, .region_crc32 = 3};

ByteVector bytes_of(const Fingerprint& fingerprint) {
  return Bytes().u64(fingerprint.file_bytes).u32(fingerprint.header_crc32).u32(fingerprint.region_crc32);
}

RawLog new_log(std::uint64_t base_lsn = 0) { return RawLog(id, base_lsn, bytes_of(base)); }

LogScan scan(const ByteVector& bytes, const Fingerprint& snapshot = base, std::size_t buffer = least_buffer) {
  MemoryFile file(bytes);
  return iqdb::scan_log(file, snapshot, buffer);
}

// Requires that the log is refused as damaged at `offset`.
void require_damage(std::size_t offset, const ByteVector& bytes, const Fingerprint& snapshot = base) {
  const auto error = require_kind(PersistErrorKind::log_corrupted, [&] { return scan(bytes, snapshot); });
  CHECK(error.offset() == std::uint64_t{offset});
}

// A log of three erases, 34 bytes each.
// Where the replay begins to read; nothing if it does not.
std::optional<LogPosition> start_of(const LogScan& scan) {
  return scan.replay ? std::optional(scan.replay->from) : std::nullopt;
}

RawLog three_erases() {
  RawLog log = new_log();
  log.frame(erase_body(1), 1).frame(erase_body(2), 1).frame(erase_body(3), 1);
  return log;
}

constexpr std::size_t erase_frame_bytes = 34;

ByteVector version_1(const std::vector<ByteVector>& bodies) {
  Bytes log;
  log.text(iqdb_test::raw_log_magic).u32(1);
  for (const ByteVector& body : bodies) {
    log.append(iqdb_test::raw_frame_1(body));
  }
  return log;
}

}  // namespace

// ---- Where a log ends -----------------------------------------------------------------------------------------------

TEST_CASE("A log of nothing but its header ends behind it", "[wal_reader]") {
  const LogScan seen = scan(new_log(5).bytes());
  CHECK(seen.log.version == 3);
  CHECK(seen.log.header.log_id == id);
  CHECK(seen.end == LogPosition{.offset = 64, .next_lsn = 6});
  CHECK(start_of(seen) == LogPosition{.offset = 64, .next_lsn = 6});
  CHECK(seen.mutations == 0);
  CHECK(seen.dropped_bytes == 0);
}

TEST_CASE("Every mutation has a number and control frames have none", "[wal_reader]") {
  RawLog log = new_log(10);
  log.frame(erase_body(1), 1)
      .frame(batch_body({erase_body(1), erase_body(2), erase_body(3)}), 3)
      .checkpoint(bytes_of(other))
      .frame(insert_body(1, {}), 1)
      .control(close_body());
  const LogScan seen = scan(log.bytes());
  CHECK(seen.end == LogPosition{.offset = log.size(), .next_lsn = 16});
  CHECK(seen.mutations == 5);
}

TEST_CASE("A scan counts frames and aborted mutations, and says whether the log was closed", "[wal_reader]") {
  RawLog log = new_log(10);
  CHECK_FALSE(scan(log.bytes()).closed);
  log.frame(batch_body({erase_body(1), erase_body(2), erase_body(3)}), 3).control(abort_body(12, 13));
  CHECK(scan(log.bytes()).frames == 2);
  CHECK(scan(log.bytes()).aborted == 2);
  CHECK_FALSE(scan(log.bytes()).closed);
  log.control(close_body());
  CHECK(scan(log.bytes()).closed);
  log.frame(erase_body(1), 1);
  const LogScan seen = scan(log.bytes());
  CHECK(seen.frames == 4);
  CHECK(seen.mutations == 2);
  CHECK_FALSE(seen.closed);
}

TEST_CASE("The end of the file ends the log", "[wal_reader]") {
  const ByteVector whole = three_erases().bytes();
  for (std::size_t size = 64; size <= whole.size(); ++size) {
    CAPTURE(size);
    const LogScan seen = scan(ByteVector(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)));
    const std::size_t frames = (size - 64) / erase_frame_bytes;
    CHECK(seen.end == LogPosition{.offset = 64 + frames * erase_frame_bytes, .next_lsn = 1 + frames});
    CHECK(seen.mutations == frames);
  }
}

TEST_CASE("A length of zero ends the log also with bytes behind it", "[wal_reader]") {
  RawLog log = three_erases();
  const std::size_t end = log.size();
  log.raw(ByteVector(30));
  CHECK(scan(log.bytes()).end.offset == end);
  CHECK(scan(log.bytes()).dropped_bytes == 0);
  log.raw(ByteVector(1, std::byte{1})).raw(ByteVector(20));
  CHECK(scan(log.bytes()).end.offset == end);
  CHECK(scan(log.bytes()).dropped_bytes == 31);
}

TEST_CASE("A frame without a body ends the log though its checksum is right", "[wal_reader]") {
  RawLog log = three_erases();
  const std::size_t end = log.size();
  CHECK(scan(log.frame(ByteVector(), 0).bytes()).end.offset == end);
}

TEST_CASE("A length over 256 MiB ends the log", "[wal_reader]") {
  for (const std::uint32_t length : {256U * 1024 * 1024 + 1, ~0U}) {
    RawLog log = three_erases();
    const std::size_t end = log.size();
    log.raw(Bytes().u32(length).u32(7).u64(4).u64(end).append(ByteVector(50, std::byte{9})));
    const LogScan seen = scan(log.bytes());
    CHECK(seen.end.offset == end);
    CHECK(seen.dropped_bytes == 74);
  }
}

TEST_CASE("A wrong checksum ends the log", "[wal_reader]") {
  RawLog log = three_erases();
  const std::size_t end = log.size();
  ByteVector frame = raw_frame(id, 4, end, erase_body(4));
  frame[4] ^= std::byte{1};
  const LogScan seen = scan(log.raw(frame).bytes());
  CHECK(seen.end == LogPosition{.offset = end, .next_lsn = 4});
}

TEST_CASE("A frame of another log ends the log", "[wal_reader]") {
  RawLog log = three_erases();
  const std::size_t end = log.size();
  CHECK(scan(log.raw(raw_frame(id + 1, 4, end, erase_body(4))).bytes()).end.offset == end);
}

TEST_CASE("A wrong number ends the log", "[wal_reader]") {
  for (const std::uint64_t lsn : {std::uint64_t{0}, std::uint64_t{3}, std::uint64_t{5}, ~std::uint64_t{0}}) {
    CAPTURE(lsn);
    RawLog log = three_erases();
    const std::size_t end = log.size();
    CHECK(scan(log.frame_as(erase_body(4), 1, lsn, 0).bytes()).end.offset == end);
  }
}

TEST_CASE("A durable field over the frame's own offset ends the log and one at it does not", "[wal_reader]") {
  const std::size_t end = three_erases().size();
  RawLog right = three_erases();
  right.frame_as(erase_body(4), 1, 4, end);
  CHECK(scan(right.bytes()).end.offset == right.size());
  RawLog wrong = three_erases();
  CHECK(scan(wrong.frame_as(erase_body(4), 1, 4, end + 1).bytes()).end.offset == end);
}

TEST_CASE("Nothing behind the end is replayed though it is valid", "[wal_reader]") {
  RawLog log = three_erases();
  const std::size_t end = log.size();
  log.raw(ByteVector(40));
  log.frame_as(erase_body(4), 1, 4, 64);
  const LogScan seen = scan(log.bytes());
  CHECK(seen.end == LogPosition{.offset = end, .next_lsn = 4});
  CHECK(seen.mutations == 3);
  // The identifier's last bytes are zeros.
  CHECK(seen.dropped_bytes == log.size() - end - 7);
}

// ---- Torn or damaged ------------------------------------------------------------------------------------------------

TEST_CASE("A frame behind the end that knew it durable makes it damage", "[wal_reader]") {
  const std::size_t end = three_erases().size();
  struct Witness {
    const char* what;
    std::uint64_t lsn;
    std::uint64_t durable;
    bool tells;
  };
  const std::size_t gap = 50;
  const std::size_t own = end + gap;
  for (const Witness& witness : std::vector<Witness>{
           {"durable at its own offset", 4, own, true},
           {"durable just over the end", 4, end + 1, true},
           {"a later number", 1000, own, true},
           {"durable up to the end", 4, end, false},
           {"durable before the end", 4, 64, false},
           {"nothing durable", 4, 0, false},
           {"a number under the expected one", 3, own, false},
           {"durable over its own offset", 4, own + 1, false},
       }) {
    CAPTURE(witness.what);
    for (const unsigned filling : {0U, 0x77U}) {
      RawLog log = three_erases();
      log.raw(ByteVector(gap, static_cast<std::byte>(filling)));
      REQUIRE(log.size() == own);
      log.frame_as(erase_body(4), 1, witness.lsn, witness.durable);
      if (witness.tells) {
        require_damage(end, log.bytes());
      } else {
        CHECK(scan(log.bytes()).end.offset == end);
      }
    }
  }
}

TEST_CASE("A witness is found at every distance from the end", "[wal_reader]") {
  const std::size_t end = three_erases().size();
  for (std::size_t gap = 1; gap < 9000; gap += gap < 40 || (gap > 4050 && gap < 4140) ? 1 : 97) {
    CAPTURE(gap);
    RawLog log = three_erases();
    log.raw(ByteVector(gap, std::byte{0x55}));
    log.frame_as(close_body(), 0, 4, log.size());
    require_damage(end, log.bytes());
  }
}

TEST_CASE("A witness of another log or with a wrong checksum tells nothing", "[wal_reader]") {
  const std::size_t end = three_erases().size();
  RawLog log = three_erases();
  log.raw(ByteVector(40, std::byte{1}));
  ByteVector damaged = raw_frame(id, 4, log.size(), erase_body(4));
  damaged.back() ^= std::byte{1};
  CHECK(scan(RawLog(log).raw(damaged).bytes()).end.offset == end);
  CHECK(scan(RawLog(log).raw(raw_frame(id + 1, 4, log.size(), erase_body(4))).bytes()).end.offset == end);
}

TEST_CASE("A witness that goes on behind the end of the file tells nothing", "[wal_reader]") {
  const std::size_t end = three_erases().size();
  const Bytes body = erase_body(4);
  for (const std::uint32_t missing : {1U, 300U, 1'000'000U}) {
    CAPTURE(missing);
    RawLog log = three_erases();
    log.raw(ByteVector(40, std::byte{1}));
    // With the checksum of what is there, which nothing but the length gives away.
    const auto length = static_cast<std::uint32_t>(body.get().size()) + missing;
    const std::uint64_t durable = log.size();
    const std::uint32_t crc32 = iqdb_test::crc32_of(Bytes().u64(id).u32(length).u64(4).u64(durable).append(body));
    log.raw(Bytes().u32(length).u32(crc32).u64(4).u64(durable).append(body));
    CHECK(scan(log.bytes()).end.offset == end);
  }
}

TEST_CASE("A witness of more than a buffer is read whole", "[wal_reader]") {
  const std::size_t end = three_erases().size();
  RawLog log = three_erases();
  log.raw(ByteVector(40, std::byte{1}));
  const std::vector<float> vector(5000, 1.0F);
  log.frame_as(insert_body(1, vector), 1, 4, log.size());
  require_damage(end, log.bytes());
}

// ---- Valid frames that no writer makes ------------------------------------------------------------------------------

TEST_CASE("A frame whose checksum is right but whose body does not parse is damage at its offset", "[wal_reader]") {
  const std::vector<ByteVector> bodies = {
      Bytes().u8(0),
      Bytes().u8(7),
      Bytes().u8(12),
      Bytes().u8(9).u32(1),
      Bytes().u8(4).u32(0),
      Bytes().u8(2).u8(9).u64(1),
      Bytes().append(erase_body(1)).u8(0),
      Bytes().append(close_body()).u8(0),
      Bytes().append(abort_body(3)).u8(0),
      Bytes().u8(4).u32(1),
      Bytes().u8(5).u64(1),
      Bytes().u8(5).append(bytes_of(base)).u64(3).u8(0),
      Bytes().u8(3).u32(0),
      Bytes().u8(3).u32(2).append(erase_body(1)),
      batch_body({erase_body(1), close_body()}),
      Bytes().u8(1).u8(0).u64(1).u32(5).u8(0),
  };
  for (const ByteVector& body : bodies) {
    CAPTURE(iqdb_test::hex(body));
    RawLog log = three_erases();
    const std::size_t end = log.size();
    log.frame(body, 1);
    require_damage(end, log.bytes());
    // It is damage also where nothing of it would be replayed.
    log.checkpoint(bytes_of(base));
    require_damage(end, log.bytes());
  }
}

TEST_CASE("An abort stands directly behind the frame that it speaks of", "[wal_reader]") {
  const auto with = [](const std::function<void(RawLog&)>& more) {
    RawLog log = new_log();
    log.frame(erase_body(1), 1).frame(batch_body({erase_body(2), erase_body(3), erase_body(4)}), 3);
    more(log);
    return log;
  };
  const std::size_t end = with([](RawLog&) {}).size();
  for (const std::uint64_t lsn : {2U, 3U, 4U}) {
    CAPTURE(lsn);
    const LogScan seen = scan(with([&](RawLog& log) { log.control(abort_body(lsn)); }).bytes());
    // Exactly that mutation is no part of the state.
    CHECK(seen.mutations == 3);
    CHECK(scan(with([&](RawLog& log) { log.control(abort_body(lsn, 4)); }).bytes()).mutations == lsn - 1);
  }
  for (const std::uint64_t lsn : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{5}, ~std::uint64_t{0}}) {
    CAPTURE(lsn);
    require_damage(end, with([&](RawLog& log) { log.control(abort_body(lsn)); }).bytes());
  }
  // Nor is there a second one, or one behind a control frame, or at the beginning.
  require_damage(end + 45, with([](RawLog& log) { log.control(abort_body(3)).control(abort_body(2)); }).bytes());
  require_damage(end, with([](RawLog& log) { log.control(abort_body(4, 5)); }).bytes());
  require_damage(end, with([](RawLog& log) { log.control(abort_body(1, 2)); }).bytes());
  require_damage(end + 25, with([](RawLog& log) { log.control(close_body()).control(abort_body(4)); }).bytes());
  require_damage(64, new_log().control(abort_body(0)).bytes());
  require_damage(64, new_log().control(abort_body(1)).bytes());
}

TEST_CASE("A checkpoint names a mutation from the base to the one before it", "[wal_reader]") {
  const auto with = [](std::uint64_t lsn) {
    RawLog log(id, 4, bytes_of(base));
    log.frame(erase_body(1), 1).frame(erase_body(2), 1);
    return log.control(iqdb_test::checkpoint_body(bytes_of(other), lsn));
  };
  const std::size_t end = RawLog(id, 4, bytes_of(base)).frame(erase_body(1), 1).frame(erase_body(2), 1).size();
  for (const std::uint64_t right : {4U, 5U, 6U}) {
    CHECK_NOTHROW(scan(with(right).bytes()));
  }
  for (const std::uint64_t wrong : {std::uint64_t{3}, std::uint64_t{7}, ~std::uint64_t{0}}) {
    require_damage(end, with(wrong).bytes());
  }
  const auto error = require_kind(PersistErrorKind::log_corrupted, [&] { return scan(with(7).bytes()); });
  CHECK(iqdb_test::mentions(error, "names the mutation 7; expected one of 4 to 6"));
}

TEST_CASE("Aborts and checkpoints of version 2 mean what they meant", "[wal_reader]") {
  RawLog log(id, 0, bytes_of(base), 2);
  log.frame(batch_body({erase_body(2), erase_body(3), erase_body(4)}), 3).control(iqdb_test::abort_body_2(2));
  CHECK(scan(log.bytes()).mutations == 1);
  log.control(iqdb_test::checkpoint_body_2(bytes_of(other))).frame(erase_body(9), 1);
  const LogScan seen = scan(log.bytes(), other);
  REQUIRE(seen.replay.has_value());
  CHECK(seen.replay->covered_lsn == 3);
  CHECK(seen.mutations == 1);
  CHECK(scan(log.bytes(), base).mutations == 2);
}

// ---- Where replay starts --------------------------------------------------------------------------------------------

TEST_CASE("Replay starts at the first frame where the snapshot is the base", "[wal_reader]") {
  const LogScan seen = scan(three_erases().bytes());
  CHECK(start_of(seen) == LogPosition{.offset = 64, .next_lsn = 1});
  CHECK(seen.mutations == 3);
}

TEST_CASE("Replay starts behind the last checkpoint of the snapshot", "[wal_reader]") {
  RawLog log = three_erases();
  log.checkpoint(bytes_of(other)).frame(erase_body(4), 1);
  log.checkpoint(bytes_of(other));
  const LogPosition last{.offset = log.size(), .next_lsn = 5};
  log.frame(erase_body(5), 1);
  const LogScan seen = scan(log.bytes(), other);
  CHECK(start_of(seen) == last);
  CHECK(seen.mutations == 1);
  // The base has no checkpoint behind it.
  CHECK(start_of(scan(log.bytes(), base)) == LogPosition{.offset = 64, .next_lsn = 1});
  CHECK(scan(log.bytes(), base).mutations == 5);
}

TEST_CASE("Mutations over the number of a checkpoint count though they stand before its frame", "[wal_reader]") {
  RawLog log = new_log();
  log.frame(erase_body(1), 1).control(iqdb_test::time_body(5)).frame(batch_body({erase_body(2), erase_body(3)}), 2);
  log.control(abort_body(3)).frame(erase_body(4), 1);
  log.control(iqdb_test::checkpoint_body(bytes_of(other), 1)).frame(erase_body(5), 1);
  const LogScan seen = scan(log.bytes(), other);
  REQUIRE(seen.replay.has_value());
  CHECK(start_of(seen) == LogPosition{.offset = 64, .next_lsn = 1});
  CHECK(seen.replay->covered_lsn == 1);
  CHECK(seen.mutations == 3);
  // The last checkpoint of the snapshot is the one that counts.
  log.checkpoint(bytes_of(other));
  CHECK(scan(log.bytes(), other).mutations == 0);
  CHECK(scan(log.bytes(), other).replay->covered_lsn == 5);
  CHECK(scan(log.bytes(), other).replay->time_before == 5);
}

TEST_CASE("A checkpoint of the snapshot that names a mutation within a frame is damage of that frame", "[wal_reader]") {
  RawLog log = new_log();
  log.frame(erase_body(1), 1);
  const std::size_t offset = log.size();
  log.frame(batch_body({erase_body(2), erase_body(3)}), 2);
  log.control(iqdb_test::checkpoint_body(bytes_of(other), 2));
  try {
    static_cast<void>(scan(log.bytes(), other));
    FAIL("it was taken");
  } catch (const iqdb::PersistError& error) {
    CHECK(error.kind() == PersistErrorKind::log_corrupted);
    CHECK(error.offset() == offset);
  }
}

TEST_CASE("A scan that ignores what stands behind the end ends at the first damage", "[wal_reader]") {
  RawLog log = three_erases();
  log.frame(erase_body(4), 1);
  ByteVector bytes = log.bytes();
  bytes[bytes.size() - 40] ^= std::byte{1};  // in the third erase, which the fourth says was durable
  MemoryFile file(bytes);
  require_kind(PersistErrorKind::log_corrupted, [&] { return iqdb::scan_log(file, base, least_buffer); });
  const LogScan seen = iqdb::scan_log(file, base, least_buffer, nullptr, iqdb::BehindTheEnd::ignored);
  CHECK(seen.mutations == 2);
  CHECK(seen.end.next_lsn == 3);
}

TEST_CASE("An abort that claims to be large does not make the window large", "[wal_reader]") {
  // Behind the last erase stands what looks like an abort of 200 MB.
  RawLog log = new_log();
  for (std::uint64_t each = 0; each < 300; ++each) {
    log.frame(erase_body(each), 1);
  }
  ByteVector forged = Bytes().u32(200'000'000).u32(0).u64(log.next_lsn()).u64(0).u8(4);
  forged.resize(2'000'000);
  log.raw(forged);
  MemoryFile file(log.bytes());
  const auto seen = iqdb_test::allocated_by([&] {
    iqdb::FrameReader reader(file, iqdb::identify_log(file), {.offset = 64, .next_lsn = 1}, least_buffer);
    for (std::uint64_t each = 0; each < 300; ++each) {
      CHECK(reader.abort_behind(*reader.next(), 1).empty());
      reader.advance(1);
    }
  });
  CHECK(seen.largest < 200'000);
}

TEST_CASE("A checkpoint of the snapshot comes before the base", "[wal_reader]") {
  RawLog log = three_erases();
  log.checkpoint(bytes_of(base));
  const LogPosition behind{.offset = log.size(), .next_lsn = 4};
  log.control(close_body());
  CHECK(start_of(scan(log.bytes(), base)) == behind);
  CHECK(scan(log.bytes(), base).mutations == 0);
}

TEST_CASE("Replay starts nowhere in a log that continues another snapshot", "[wal_reader]") {
  RawLog log = three_erases();
  log.checkpoint(bytes_of(base)).control(close_body());
  const LogScan seen = scan(log.bytes(), other);
  CHECK_FALSE(seen.replay.has_value());
  CHECK(seen.mutations == 3);
  CHECK_FALSE(scan(new_log().bytes(), other).replay.has_value());
  CHECK(scan(new_log().bytes(), other).mutations == 0);
}

TEST_CASE("Each field of the fingerprint counts", "[wal_reader]") {
  for (const Fingerprint& wrong : {Fingerprint{.file_bytes = 101, .header_crc32 = 1, .region_crc32 = 2},
                                   Fingerprint{.file_bytes = 100, .header_crc32 = 0, .region_crc32 = 2},
                                   Fingerprint{.file_bytes = 100, .header_crc32 = 1, .region_crc32 = 0}}) {
    CHECK_FALSE(scan(three_erases().bytes(), wrong).replay.has_value());
  }
}

TEST_CASE("An aborted mutation is not held", "[wal_reader]") {
  RawLog log = new_log();
  log.frame(erase_body(1), 1).control(abort_body(1));
  CHECK(scan(log.bytes(), other).mutations == 0);
  CHECK(scan(log.bytes(), other).end.next_lsn == 2);
}

// ---- Version 1 ------------------------------------------------------------------------------------------------------

TEST_CASE("A file shorter than a version-1 header holds nothing", "[wal_reader]") {
  const ByteVector whole = version_1({});
  for (std::size_t size = 0; size < 12; ++size) {
    CAPTURE(size);
    const LogScan seen = scan(ByteVector(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)));
    CHECK(seen.log.version == 1);
    CHECK(seen.mutations == 0);
    CHECK(start_of(seen) == seen.end);
  }
}

TEST_CASE("A version-1 log is replayed from its beginning whatever the snapshot", "[wal_reader]") {
  const LogScan seen = scan(version_1({erase_body(1), insert_body(2, {})}), other);
  CHECK(seen.log.version == 1);
  CHECK(start_of(seen) == LogPosition{.offset = 12, .next_lsn = 1});
  CHECK(seen.mutations == 2);
}

TEST_CASE("The first invalid frame ends a version-1 log", "[wal_reader]") {
  const ByteVector two = version_1({erase_body(1), erase_body(2)});
  ByteVector tail = iqdb_test::raw_frame_1(erase_body(3));
  tail[4] ^= std::byte{1};
  ByteVector bytes = two;
  bytes.insert(bytes.end(), tail.begin(), tail.end());
  // A valid one behind it is not searched for: version 1 has no field that could tell.
  const ByteVector valid = iqdb_test::raw_frame_1(erase_body(4));
  bytes.insert(bytes.end(), valid.begin(), valid.end());
  const LogScan seen = scan(bytes);
  CHECK(seen.end.offset == two.size());
  CHECK(seen.mutations == 2);
}

TEST_CASE("A length of zero ends a version-1 log", "[wal_reader]") {
  const ByteVector two = version_1({erase_body(1), erase_body(2)});
  // The checksum of nothing is 0.
  const LogScan seen = scan(Bytes().append(two).append(ByteVector(100)));
  CHECK(seen.end.offset == two.size());
  CHECK(seen.mutations == 2);
}

TEST_CASE("A frame that goes on behind the end of the file ends a version-1 log", "[wal_reader]") {
  const ByteVector two = version_1({erase_body(1), erase_body(2)});
  const ByteVector body = erase_body(3);
  for (const std::uint32_t missing : {1U, 300U}) {
    CAPTURE(missing);
    // With the checksum of what is there, which nothing but the length gives away.
    const auto length = static_cast<std::uint32_t>(body.size()) + missing;
    const LogScan seen = scan(Bytes().append(two).u32(length).u32(iqdb_test::crc32_of(body)).append(body));
    CHECK(seen.end.offset == two.size());
    CHECK(seen.mutations == 2);
  }
}

TEST_CASE("A frame over the limit ends a version-1 log", "[wal_reader]") {
  const ByteVector one = version_1({erase_body(1)});
  const ByteVector too_long(iqdb::largest_frame_body + 1);
  const LogScan seen = scan(Bytes()
                                .append(one)
                                .u32(static_cast<std::uint32_t>(too_long.size()))
                                .u32(iqdb_test::crc32_of(too_long))
                                .append(too_long));
  CHECK(seen.end.offset == one.size());
  CHECK(seen.mutations == 1);
}

TEST_CASE("A version-1 frame that does not parse is damage at its offset", "[wal_reader]") {
  for (const ByteVector& body :
       {ByteVector(close_body()), ByteVector(abort_body(1)), ByteVector(Bytes().append(erase_body(1)).u8(0))}) {
    require_damage(12 + 18, version_1({erase_body(1), body}));
  }
}

TEST_CASE("Only what is wrong with a body becomes damage of its frame", "[wal_reader]") {
  const iqdb::LogFrame frame{
      .position = {.offset = 64, .next_lsn = 1}, .end = 98, .body = {}, .crc32 = 0, .fields = {}};
  for (const auto kind : {PersistErrorKind::invalid_payload, PersistErrorKind::truncated_payload}) {
    const auto error = require_kind(PersistErrorKind::log_corrupted, [&] {
      frame.decoded([&] { iqdb::throw_persist_error(kind, "as a decoder says it"); });
    });
    CHECK(error.offset() == std::uint64_t{64});
    CHECK(iqdb_test::mentions(error, "as a decoder says it"));
  }
  require_kind(PersistErrorKind::io,
               [&] { frame.decoded([] { iqdb::throw_persist_error(PersistErrorKind::io, "the disk is broken"); }); });
}

TEST_CASE("A frame that has only the length of an abort aborts nothing", "[wal_reader]") {
  // A close frame that is too long, and one of an op that there is not: what is wrong with them is told when they are read.
  for (const unsigned op : {6U, 99U}) {
    CAPTURE(op);
    RawLog log = new_log();
    log.frame(erase_body(1), 1).control(Bytes().u8(op).u32(1).u64(1).u64(1));
    MemoryFile file(log.bytes());
    iqdb::FrameReader reader(file, {.version = 3, .header = {.log_id = id, .base_lsn = 0, .base = base}},
                             {.offset = 64, .next_lsn = 1}, least_buffer);
    const auto frame = reader.next();
    REQUIRE(frame.has_value());
    CHECK(reader.abort_behind(*frame, 1).empty());
  }
}

TEST_CASE("An abort is one only where it is a valid frame and speaks of the frame before it", "[wal_reader]") {
  const ByteVector body = batch_body({erase_body(1), erase_body(2)});
  // The LSN and the durable field of the frame behind, and of which mutation it speaks.
  const auto behind = [&](std::uint64_t lsn, std::uint64_t durable, std::uint64_t aborted, bool whole = true) {
    RawLog log(id, 4, bytes_of(base));
    log.frame(body, 2);
    log.frame_as(abort_body(aborted), 0, lsn, durable);
    ByteVector bytes = log.bytes();
    if (!whole) {
      bytes[bytes.size() - 16] ^= std::byte{5 ^ 6};  // it then aborts both mutations
    }
    MemoryFile file(bytes);
    iqdb::FrameReader reader(file, iqdb::identify_log(file), {.offset = 64, .next_lsn = 5}, least_buffer);
    const auto frame = reader.next();
    REQUIRE(frame.has_value());
    return reader.abort_behind(*frame, 2);
  };
  using Ranges = std::vector<iqdb::LsnRange>;
  const std::uint64_t end = 64 + 24 + body.size();
  CHECK(behind(7, end, 5) == Ranges{{.first = 5, .last = 5}});
  CHECK(behind(7, end, 6) == Ranges{{.first = 6, .last = 6}});
  CHECK(behind(7, 64, 6) == Ranges{{.first = 6, .last = 6}});
  CHECK(behind(7, end, 4).empty());
  CHECK(behind(7, end, 7).empty());
  CHECK(behind(6, end, 6).empty());
  CHECK(behind(8, end, 6).empty());
  CHECK(behind(7, end + 1, 6).empty());
  CHECK(behind(7, end, 6, false).empty());
}

// ---- Reading in pieces ----------------------------------------------------------------------------------------------

TEST_CASE("A log reads the same whatever the buffer", "[wal_reader]") {
  const std::uint64_t seed = 3;
  iqdb_test::Random random(seed);
  CAPTURE(seed);
  for (int round = 0; round < 30; ++round) {
    RawLog log = new_log();
    for (int frame = 0; frame < 60; ++frame) {
      switch (random.below(4)) {
        case 0:
          log.frame(erase_body(random.next()), 1).control(abort_body(log.next_lsn() - 1));
          break;
        case 1:
          log.frame(insert_body(random.next(), random.vector(random.below(700))), 1);
          break;
        case 2:
          log.frame(batch_body({erase_body(1), insert_body(2, random.vector(random.below(3000)))}), 2);
          break;
        default:
          log.checkpoint(bytes_of(other));
      }
    }
    const LogScan whole = scan(log.bytes(), base, std::size_t{1} << 24U);
    REQUIRE(whole.end.offset == log.size());
    for (const std::size_t buffer : {std::size_t{64}, std::size_t{100}, std::size_t{4096}, std::size_t{5000}}) {
      const LogScan seen = scan(log.bytes(), base, buffer);
      CHECK(seen.end == whole.end);
      CHECK(seen.mutations == whole.mutations);
      CHECK(seen.replay == whole.replay);
    }
  }
}

TEST_CASE("The body of a frame stays valid while the abort behind it is looked for", "[wal_reader]") {
  // Frames that end at every distance from the end of the window, in both versions.
  for (std::size_t components = 980; components < 1010; ++components) {
    CAPTURE(components);
    const std::vector<float> vector(components, 2.0F);
    const ByteVector body = insert_body(1, vector);
    for (const bool first_version : {true, false}) {
      RawLog log = new_log();
      log.frame(body, 1).frame(erase_body(1), 1).frame(erase_body(2), 1);
      const ByteVector bytes = first_version ? version_1({body, erase_body(1), erase_body(2)}) : log.bytes();
      MemoryFile file(bytes);
      const LogScan seen = scan(bytes);
      iqdb::FrameReader reader(file, seen.log, seen.replay->from, least_buffer);
      const auto frame = reader.next();
      REQUIRE(frame.has_value());
      CHECK(reader.abort_behind(*frame, 1).empty());
      CHECK(std::ranges::equal(frame->body, body));
    }
  }
}

TEST_CASE("Zeros behind the frames end what helpers sum up and cost no memory", "[wal_reader]") {
  constexpr std::size_t prepared = std::size_t{4} * 1024 * 1024;
  constexpr std::size_t window = 8 * 640 * 1024;  // eight pieces: all of the file
  RawLog log = three_erases();
  const std::size_t end = log.size();
  log.raw(ByteVector(prepared));
  MemoryFile file(log.bytes());
  iqdb::HelperThreads helpers(2);
  LogScan seen;
  const auto allocated = iqdb_test::allocated_by([&] { seen = iqdb::scan_log(file, base, window / 8, &helpers); });
  CHECK(seen.end == LogPosition{.offset = end, .next_lsn = 4});
  CHECK(seen.mutations == 3);
  CHECK(seen.dropped_bytes == 0);
  CHECK(allocated.largest <= window);
}

TEST_CASE("A length that the file does not have allocates nothing", "[wal_reader]") {
  RawLog log = three_erases();
  log.raw(Bytes().u32(256U * 1024 * 1024).u32(0).u64(4).u64(log.size()).append(ByteVector(100, std::byte{1})));
  MemoryFile file(log.bytes());
  const auto seen = iqdb_test::allocated_by([&] { static_cast<void>(iqdb::scan_log(file, base, least_buffer)); });
  CHECK(seen.largest < 100'000);
}

TEST_CASE("Memory does not grow with the log", "[wal_reader]") {
  RawLog log = new_log();
  const std::vector<float> vector(100, 1.0F);
  for (std::uint64_t each = 0; each < 5000; ++each) {
    log.frame(insert_body(each, vector), 1);
  }
  REQUIRE(log.size() > 2'000'000);
  MemoryFile file(log.bytes());
  const auto seen = iqdb_test::allocated_by([&] { static_cast<void>(iqdb::scan_log(file, base, least_buffer)); });
  CHECK(seen.largest < 100'000);
}

TEST_CASE("Random damage of a log is an error or a prefix and never undefined", "[wal_reader]") {
  const std::uint64_t seed = 99;
  iqdb_test::Random random(seed);
  CAPTURE(seed);
  RawLog log = new_log();
  log.frame(insert_body(1, std::vector<float>(20, 1.0F), "text"), 1)
      .frame(batch_body({erase_body(1), insert_body(2, std::vector<float>(5, 2.0F))}), 2)
      .frame(erase_body(7), 1)
      .control(abort_body(4))
      .checkpoint(bytes_of(other))
      .control(close_body());
  int errors = 0;
  for (int round = 0; round < 5000; ++round) {
    ByteVector bytes = log.bytes();
    for (std::uint64_t change = 0; change <= random.below(8); ++change) {
      bytes[random.below(bytes.size())] = static_cast<std::byte>(random.below(256));
    }
    if (random.below(3) == 0) {
      bytes.erase(bytes.begin() + static_cast<std::ptrdiff_t>(random.below(bytes.size())), bytes.end());
    }
    try {
      const LogScan seen = scan(bytes);
      CHECK(seen.end.offset <= bytes.size());
      CHECK(seen.mutations <= 4);
    } catch (const iqdb::PersistError&) {
      ++errors;
    }
  }
  CHECK(errors > 0);
}
