// Logs that are forged to make the search for damage slow (docs/format.md, "Reading it", rule 3): fields that look like
// those of a frame every few bytes, each before a body of megabytes.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/wal/wal_reader.hpp"
#include "support/bytes.hpp"
#include "support/catch.hpp"
#include "support/memory_storage.hpp"
#include "support/raw_log.hpp"

namespace {

using iqdb_test::Bytes;
using iqdb_test::ByteVector;

constexpr std::uint64_t log_id = 7;
constexpr std::size_t some_bytes = std::size_t{4} * 1024 * 1024;

// A log of about `bytes` that holds no frame and `pattern` again and again.
ByteVector forged(const ByteVector& pattern, std::size_t bytes) {
  ByteVector log = iqdb_test::raw_header(log_id, 0, ByteVector(16));
  log.reserve(bytes + pattern.size());
  while (log.size() < bytes) {
    log.insert(log.end(), pattern.begin(), pattern.end());
  }
  return log;
}

// Every 12 bytes a header that shares its bytes with the next two; in a log of `bytes`, a power of two.
ByteVector overlapping_headers(std::size_t bytes) {
  return forged(Bytes().u32(static_cast<std::uint32_t>(bytes / 2 - 1)).u64(std::uint64_t{1} << 16U), bytes);
}

// Each is half as long as the log:
std::vector<ByteVector> forged_logs(std::size_t bytes) {
  const auto half = static_cast<std::uint32_t>(bytes / 2);
  return {
      // every 24 bytes a whole header, of a length with many bits;
      forged(Bytes().u32(half - 1).u32(0x12345678).u64(std::uint64_t{1} << 40U).u64(65), bytes),
      overlapping_headers(bytes),
      // and as many as there can be: at three of eight places one, whose length is also its number and its durable
      // field.
      forged(Bytes().u64(half), bytes),
  };
}

iqdb::LogScan scan(const ByteVector& log) {
  iqdb_test::MemoryFile file(log);
  return iqdb::scan_log(file, iqdb::Fingerprint{}, std::size_t{256} * 1024);
}

// The shortest of some, since others use the machine too.
std::chrono::steady_clock::duration shortest_scan(const ByteVector& log) {
  auto shortest = std::chrono::steady_clock::duration::max();
  for (int times = 0; times < 3; ++times) {
    const auto started = std::chrono::steady_clock::now();
    CHECK(scan(log).end.offset == iqdb_test::raw_header_bytes);
    shortest = std::min(shortest, std::chrono::steady_clock::now() - started);
  }
  return shortest;
}

std::uint64_t offset_of_damage(const ByteVector& log) {
  try {
    static_cast<void>(scan(log));
  } catch (const iqdb::PersistError& error) {
    CHECK(error.kind() == iqdb::PersistErrorKind::log_corrupted);
    return error.offset().value_or(0);
  }
  return 0;
}

}  // namespace

TEST_CASE("hostile log: the search for damage takes a time in proportion to the log") {
  constexpr int times_as_long = 4;
  const std::vector<ByteVector> logs = forged_logs(some_bytes / times_as_long);
  const std::vector<ByteVector> long_logs = forged_logs(some_bytes);
  for (std::size_t each = 0; each < logs.size(); ++each) {
    CAPTURE(each);
    // In proportion to its square it would take sixteen times as long.
    CHECK(shortest_scan(long_logs[each]) < 10 * shortest_scan(logs[each]));
  }
}

TEST_CASE("hostile log: a frame that proves damage is found behind any number that only look like one") {
  for (ByteVector& log : forged_logs(some_bytes)) {
    const std::size_t place = log.size();
    const ByteVector body(1000, std::byte{2});
    const ByteVector frame = iqdb_test::raw_frame(log_id, 5, place, body);
    log.insert(log.end(), frame.begin(), frame.end());
    log.insert(log.end(), 100, std::byte{0xFF});
    CHECK(offset_of_damage(log) == iqdb_test::raw_header_bytes);

    log[place + 500] ^= std::byte{1};
    CHECK(offset_of_damage(log) == 0);
  }
}

TEST_CASE("hostile log: the proof may be a frame whose body holds what only looks like frames") {
  ByteVector log = iqdb_test::raw_header(log_id, 0, ByteVector(16));
  log.resize(log.size() + 40, std::byte{0xFF});  // the damage
  const ByteVector decoys = overlapping_headers(some_bytes);
  const ByteVector frame = iqdb_test::raw_frame(log_id, 5, log.size(), decoys);
  for (int times = 0; times < 2; ++times) {  // first as a decoy itself, with a wrong checksum
    log.insert(log.end(), frame.begin(), frame.end());
  }
  log[iqdb_test::raw_header_bytes + 40 + 4] ^= std::byte{1};
  CHECK(offset_of_damage(log) == iqdb_test::raw_header_bytes);
}
