// Logs that are forged to make the search for damage slow (docs/format.md, "Reading it", rule 3): fields that look like
// those of a frame every few bytes, each before a body of megabytes.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <zlib.h>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/wal/wal_reader.hpp"
#include "support/bytes.hpp"
#include "support/catch.hpp"
#include "support/memory_storage.hpp"
#include "support/raw_log.hpp"

// What the library has summed up with a checksum: its calls of zlib and ISA-L come here first (the linker's --wrap).
namespace {

struct SummedUp {
  std::uint64_t calls = 0;
  std::uint64_t bytes = 0;
};
SummedUp summed_up;  // NOLINT(*-avoid-non-const-global-variables)

}  // namespace

// NOLINTBEGIN(bugprone-reserved-identifier): the linker gives them these names.
extern "C" {
uLong __real_crc32_z(uLong crc, const Bytef* bytes, z_size_t count);
uLong __wrap_crc32_z(uLong crc, const Bytef* bytes, z_size_t count);
uLong __wrap_crc32_z(uLong crc, const Bytef* bytes, z_size_t count) {
  ++summed_up.calls;
  summed_up.bytes += count;
  return __real_crc32_z(crc, bytes, count);
}
#if IQDB_PERSIST_HAS_ISAL
std::uint32_t __real_crc32_gzip_refl(std::uint32_t crc, const unsigned char* bytes, std::uint64_t count);
std::uint32_t __wrap_crc32_gzip_refl(std::uint32_t crc, const unsigned char* bytes, std::uint64_t count);
std::uint32_t __wrap_crc32_gzip_refl(std::uint32_t crc, const unsigned char* bytes, std::uint64_t count) {
  ++summed_up.calls;
  summed_up.bytes += count;
  return __real_crc32_gzip_refl(crc, bytes, count);
}
#endif
}
// NOLINTEND(bugprone-reserved-identifier)

namespace {

using iqdb_test::Bytes;
using iqdb_test::ByteVector;

constexpr std::uint64_t log_id = 7;
constexpr std::size_t some_bytes = std::size_t{4} * 1024 * 1024;
constexpr std::size_t piece_bytes = std::size_t{256} * 1024;

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
  return iqdb::scan_log(file, iqdb::Fingerprint{}, piece_bytes);
}

// A log that counts what is read of it.
class CountingFile {
 public:
  explicit CountingFile(const ByteVector& log) : log_(log) {}
  [[nodiscard]] std::uint64_t size() const noexcept { return log_.size(); }
  [[nodiscard]] std::size_t read_at(std::uint64_t offset, std::span<std::byte> into) const {
    const std::size_t count = log_.read_at(offset, into);
    ++reads_;
    bytes_ += count;
    return count;
  }
  [[nodiscard]] std::uint64_t reads() const noexcept { return reads_; }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }

 private:
  iqdb_test::MemoryFile log_;
  mutable std::uint64_t reads_ = 0;
  mutable std::uint64_t bytes_ = 0;
};

// What a scan does that grows with the log.
struct Work {
  std::uint64_t reads = 0;
  std::uint64_t bytes_read = 0;
  std::uint64_t sums = 0;
  std::uint64_t bytes_summed_up = 0;
};

Work work_of_scan(const ByteVector& log) {
  CountingFile file(log);
  summed_up = {};
  CHECK(iqdb::scan_log(file, iqdb::Fingerprint{}, piece_bytes).end.offset == iqdb_test::raw_header_bytes);
  return {
      .reads = file.reads(), .bytes_read = file.bytes(), .sums = summed_up.calls, .bytes_summed_up = summed_up.bytes};
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

TEST_CASE("hostile log: the search for damage reads and sums up in proportion to the log") {
  constexpr int times_as_long = 4;
  // The short ones too are larger than what is held of a log.
  const std::vector<ByteVector> logs = forged_logs(some_bytes / times_as_long);
  const std::vector<ByteVector> long_logs = forged_logs(some_bytes);
  for (std::size_t each = 0; each < logs.size(); ++each) {
    CAPTURE(each);
    // In proportion to the square it would be sixteen times as much.
    const std::uint64_t most = times_as_long + 1;
    const Work work = work_of_scan(logs[each]);
    const Work work_of_long = work_of_scan(long_logs[each]);
    REQUIRE(work.bytes_read >= logs[each].size());
    REQUIRE(work.bytes_summed_up > 0);
    CHECK(work_of_long.reads < most * work.reads);
    CHECK(work_of_long.bytes_read < most * work.bytes_read);
    CHECK(work_of_long.sums < most * work.sums);
    CHECK(work_of_long.bytes_summed_up < most * work.bytes_summed_up);
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
