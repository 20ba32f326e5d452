// Finding the end of a log without reading it whole. Logs are put together by hand.
#include "iqdb/persist/wal/log_end.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "support/bytes.hpp"
#include "support/catch.hpp"
#include "support/memory_storage.hpp"
#include "support/raw_log.hpp"

namespace {

using iqdb::LogEnd;
using iqdb_test::Bytes;
using iqdb_test::ByteVector;
using iqdb_test::close_body;
using iqdb_test::erase_body;
using iqdb_test::insert_body;
using iqdb_test::RawLog;

constexpr std::uint64_t end_log_id = 0x5566778899AABBCC;

RawLog log_to_end(std::uint64_t base_lsn = 0, std::uint32_t version = 3) {
  return RawLog(end_log_id, base_lsn, ByteVector(16), version);
}

// A file that counts how many bytes of it are read.
class CountingFile {
 public:
  explicit CountingFile(ByteVector bytes) : file_(std::move(bytes)) {}

  [[nodiscard]] std::uint64_t size() const noexcept { return file_.size(); }

  [[nodiscard]] std::size_t read_at(std::uint64_t offset, std::span<std::byte> into) {
    const std::size_t count = file_.read_at(offset, into);
    read_ += count;
    return count;
  }

  [[nodiscard]] std::uint64_t read() const noexcept { return read_; }

 private:
  iqdb_test::MemoryFile file_;
  std::uint64_t read_ = 0;
};

std::optional<LogEnd> end_of(const ByteVector& bytes) {
  iqdb_test::MemoryFile file(bytes);
  return iqdb::find_log_end(file, iqdb::identify_log(file));
}

LogEnd ends_at(std::size_t offset, std::uint64_t next_lsn, bool closed = false) {
  return {.position = {.offset = offset, .next_lsn = next_lsn}, .closed = closed};
}

// Frames of about a kibibyte, `count` of them.
RawLog long_log(std::size_t count, std::uint64_t base_lsn = 0) {
  RawLog log = log_to_end(base_lsn);
  const std::vector<float> vector(256, 1.5F);
  for (std::size_t at = 0; at < count; ++at) {
    log.frame(insert_body(at, vector), 1);
  }
  return log;
}

}  // namespace

TEST_CASE("The end of a log of a header is behind it", "[log_end]") {
  CHECK(end_of(log_to_end(7).bytes()) == ends_at(64, 8));
  CHECK(end_of(log_to_end(7).raw(ByteVector(200'000)).bytes()) == ends_at(64, 8));
}

TEST_CASE("The end of a log is found whatever its length", "[log_end]") {
  for (const std::size_t frames : {1U, 2U, 63U, 64U, 65U, 500U, 1000U}) {
    CAPTURE(frames);
    RawLog log = long_log(frames, 40);
    CHECK(end_of(log.bytes()) == ends_at(log.size(), 41 + frames));
    log.raw(ByteVector(300'000));
    CHECK(end_of(log.bytes()) == ends_at(log.size() - 300'000, 41 + frames));
  }
}

TEST_CASE("The end of a log says whether it was closed", "[log_end]") {
  RawLog log = long_log(100);
  log.control(close_body());
  CHECK(end_of(log.bytes()) == ends_at(log.size(), 101, true));
  log.frame(erase_body(1), 1);
  CHECK(end_of(log.bytes()) == ends_at(log.size(), 102, false));
}

TEST_CASE("A torn record is not the end of a log", "[log_end]") {
  RawLog log = long_log(100);
  const std::size_t end = log.size();
  const ByteVector next =
      iqdb_test::raw_frame(end_log_id, 101, end, insert_body(5, std::vector<float>(300, 2.0F)).get());
  for (const std::size_t cut : {std::size_t{1}, std::size_t{24}, next.size() / 2, next.size() - 1}) {
    CAPTURE(cut);
    RawLog torn = log;
    torn.raw(std::span(next).first(cut));
    CHECK(end_of(torn.bytes()) == ends_at(end, 101));
  }
}

TEST_CASE("A frame that ends in zeros is the end of a log", "[log_end]") {
  RawLog log = log_to_end();
  log.frame(insert_body(0, std::vector<float>(40'000, 0.0F)), 1);  // more zeros than a piece
  CHECK(end_of(log.bytes()) == ends_at(log.size(), 2));
}

TEST_CASE("A last frame larger than a piece is the end of a log", "[log_end]") {
  RawLog log = long_log(10);
  log.frame(insert_body(10, std::vector<float>(500'000, 3.0F)), 1);
  CHECK(end_of(log.bytes()) == ends_at(log.size(), 12));
}

TEST_CASE("A frame of another log in a vector is not the end of a log", "[log_end]") {
  const ByteVector foreign = iqdb_test::raw_frame(end_log_id + 1, 900, 70, erase_body(1).get());
  RawLog log = log_to_end();
  log.frame(Bytes().append(insert_body(1, {}, "x")).get(), 1);
  RawLog holding = log;
  holding.frame(iqdb_test::batch_body({insert_body(1, {}).get(), insert_body(2, {}).get()}).get(), 2);
  holding.raw(foreign);
  CHECK(end_of(holding.bytes()) == ends_at(holding.size() - foreign.size(), 4));
}

TEST_CASE("A frame of another log in the last part, before the frames of this one, is passed over", "[log_end]") {
  const ByteVector foreign = iqdb_test::raw_frame(end_log_id + 1, 900, 70, erase_body(1).get());
  RawLog log = log_to_end();
  // A record that begins before the last part and ends in it: the search meets its contents first.
  log.frame(Bytes().append(insert_body(1, std::vector<float>(60'000, 2.0F))).append(foreign).get(), 1);
  log.frame(erase_body(1), 1);
  CHECK(end_of(log.bytes()) == ends_at(log.size(), 3));
}

TEST_CASE("Only the last part of a long log is read", "[log_end]") {
  CountingFile file(long_log(20'000).bytes());
  const auto log = iqdb::identify_log(file);
  CHECK(iqdb::find_log_end(file, log)->position.next_lsn == 20'001);
  CHECK(file.read() < 400'000);
  CHECK(file.size() > 20'000'000);
}

TEST_CASE("No end is found in version 1 and where no frame is valid", "[log_end]") {
  CHECK(
      end_of(Bytes().text(iqdb_test::raw_log_magic).u32(1).append(iqdb_test::raw_frame_1(erase_body(1).get())).get()) ==
      std::nullopt);
  CHECK(end_of(log_to_end().raw(ByteVector(5000, std::byte{0x33})).bytes()) == std::nullopt);
}

TEST_CASE("A damaged byte before the last part does not keep the end from being found", "[log_end]") {
  ByteVector bytes = long_log(1000).bytes();
  bytes[70'000] ^= std::byte{1};
  CHECK(end_of(bytes) == ends_at(bytes.size(), 1001));
}
