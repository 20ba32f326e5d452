#include "iqdb/persist/wal/object_log_image.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/wal/frame_body.hpp"
#include "iqdb/persist/wal/frame_reader.hpp"
#include "iqdb/persist/wal/log_identity.hpp"
#include "iqdb/persist/wal/object_log.hpp"
#include "iqdb/persist/wal/object_run.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"
#include "support/object_logs.hpp"

namespace of_object_log_image {

using iqdb::FrameOp;
using iqdb_test::batch_of_erases;
using iqdb_test::erase_of_id;
using iqdb_test::hasty_options;
using iqdb_test::ScriptedStore;

constexpr std::uint64_t log_id = 77;
constexpr iqdb::Fingerprint base{.file_bytes = 5, .header_crc32 = 6, .region_crc32 = 7};

struct WrittenObjects {
  ScriptedStore store = {};
  iqdb::ObjectLogWriter<ScriptedStore> writer = iqdb::open_object_log(store, "a", false, hasty_options()).writer;

  void append(const std::vector<std::byte>& body) {
    const std::span<const std::byte> bodies[] = {body};
    writer.append(bodies);
  }

  void abort(std::uint64_t lsn) {
    append(iqdb::bytes_of([&](iqdb::Writer& to) {
      const iqdb::LsnRange range{.first = lsn, .last = lsn};
      iqdb::write_abort(to, std::span(&range, 1));
    }));
  }

  void publish(std::uint64_t lsn) { writer.publish({.key = "a/snapshot/0-1", .fingerprint = base, .lsn = lsn}); }

  void take_over() { writer = iqdb::open_object_log(store, "a", true, hasty_options()).writer; }

  std::optional<iqdb::ObjectLogImage> image() {
    return iqdb::image_of_object_log(iqdb::read_object_run(store, "a", hasty_options()), "a", log_id);
  }
};

struct ReadFrame {
  FrameOp op;
  std::uint64_t lsn;

  friend bool operator==(const ReadFrame&, const ReadFrame&) = default;
};

[[nodiscard]] std::vector<ReadFrame> frames_of(iqdb::ObjectLogImage& image) {
  const iqdb::LogIdentity identity = iqdb::identify_log(image);
  iqdb::FrameReader<iqdb::ObjectLogImage> reader(image, identity, identity.first_frame(), 4096);
  std::vector<ReadFrame> frames;
  while (const auto frame = reader.next()) {
    const iqdb::FrameBody body(frame->body, identity.version);
    frames.push_back({.op = body.op(), .lsn = frame->position.next_lsn});
    reader.advance(body.mutations());
  }
  CHECK(reader.torn_bytes() == 0);
  return frames;
}

TEST_CASE("image_of_object_log: is a log that continues the snapshot of the last checkpoint", "[object_log_image]") {
  WrittenObjects log;
  log.append(erase_of_id(1));
  log.publish(1);
  log.append(erase_of_id(2));
  log.take_over();
  log.append(batch_of_erases(3));
  auto image = log.image();
  REQUIRE(image);
  const auto header = iqdb::identify_log(*image).header;
  CHECK(header.base == base);
  CHECK(header.base_lsn == 1);
  CHECK(header.log_id == log_id);
  CHECK(header.history_id == log.writer.position().history_id);
  CHECK(frames_of(*image) == std::vector<ReadFrame>{{FrameOp::erase, 2}, {FrameOp::batch, 3}});
}

TEST_CASE("image_of_object_log: has the mutations that were made while the snapshot was written",
          "[object_log_image]") {
  WrittenObjects log;
  log.append(erase_of_id(1));
  log.append(erase_of_id(2));
  log.publish(1);
  log.append(erase_of_id(3));
  auto image = log.image();
  REQUIRE(image);
  CHECK(frames_of(*image) == std::vector<ReadFrame>{{FrameOp::erase, 2}, {FrameOp::erase, 3}});
}

TEST_CASE("image_of_object_log: has nothing of an object that the snapshot holds", "[object_log_image]") {
  WrittenObjects log;
  const auto abort = iqdb::bytes_of([](iqdb::Writer& to) {
    const iqdb::LsnRange range{.first = 1, .last = 1};
    iqdb::write_abort(to, std::span(&range, 1));
  });
  const std::vector<std::vector<std::byte>> bodies{erase_of_id(1), abort, erase_of_id(2)};
  log.writer.append(iqdb_test::spans_of(bodies));
  log.publish(1);
  log.append(erase_of_id(3));
  auto image = log.image();
  REQUIRE(image);
  CHECK(frames_of(*image) == std::vector<ReadFrame>{{FrameOp::erase, 2}, {FrameOp::erase, 3}});
}

TEST_CASE("image_of_object_log: has an abort behind its frame", "[object_log_image]") {
  WrittenObjects log;
  log.append(erase_of_id(1));
  log.abort(1);
  log.append(erase_of_id(2));
  log.take_over();
  log.abort(2);
  log.publish(1);
  log.append(erase_of_id(3));
  auto image = log.image();
  REQUIRE(image);
  CHECK(frames_of(*image) == std::vector<ReadFrame>{{FrameOp::erase, 2}, {FrameOp::abort, 3}, {FrameOp::erase, 3}});
}

TEST_CASE("image_of_object_log: ends with a close where nothing can settle the last frame any more",
          "[object_log_image]") {
  WrittenObjects log;
  log.append(erase_of_id(1));
  const auto ends_with_close = [&] {
    auto image = log.image();
    REQUIRE(image);
    return frames_of(*image).back().op == FrameOp::close;
  };
  CHECK_FALSE(ends_with_close());
  log.take_over();
  CHECK_FALSE(ends_with_close());
  log.writer.close();
  CHECK(ends_with_close());
  log.take_over();
  CHECK(ends_with_close());
  log.append(erase_of_id(2));
  CHECK_FALSE(ends_with_close());
  log.publish(1);
  CHECK(ends_with_close());
}

TEST_CASE("image_of_object_log: reads the same bytes from any offset in any pieces", "[object_log_image]") {
  WrittenObjects log;
  for (std::uint64_t id = 1; id <= 4; ++id) {
    const std::vector<std::vector<std::byte>> bodies{erase_of_id(id), batch_of_erases(id)};
    log.writer.append(iqdb_test::spans_of(bodies));
  }
  auto image = log.image();
  REQUIRE(image);
  const auto read = [&](std::uint64_t offset, std::size_t count) {
    std::vector<std::byte> bytes(count);
    bytes.resize(image->read_at(offset, bytes));
    return bytes;
  };
  const std::vector<std::byte> all = read(0, 10000);
  CHECK(all.size() == image->size());
  for (std::size_t offset = 0; offset <= all.size(); ++offset) {
    for (const std::size_t count : {std::size_t{1}, std::size_t{30}, all.size()}) {
      const auto end = all.begin() + static_cast<std::ptrdiff_t>(std::min(offset + count, all.size()));
      const std::vector<std::byte> expected(all.begin() + static_cast<std::ptrdiff_t>(offset), end);
      if (read(offset, count) != expected) {
        FAIL("at " << offset << ", of " << count);
      }
    }
  }
  CHECK(read(all.size() + 5, 10).empty());
}

TEST_CASE("image_of_object_log: holds no second copy of what it is made of", "[object_log_image]") {
  WrittenObjects log;
  log.append(batch_of_erases(1000));
  auto run = iqdb::read_object_run(log.store, "a", hasty_options());
  const std::byte* const bytes = run.objects.back().bytes.data();
  const auto image = iqdb::image_of_object_log(std::move(run), "a", log_id);
  REQUIRE(image);
  CHECK(image->run().objects.back().bytes.data() == bytes);
}

TEST_CASE("image_of_object_log: shows mutations that no snapshot is in front of", "[object_log_image]") {
  WrittenObjects log;
  CHECK_FALSE(log.image());
  log.append(erase_of_id(1));
  auto image = log.image();
  REQUIRE(image);
  CHECK(iqdb::identify_log(*image).header.base_lsn == 0);
  CHECK(frames_of(*image) == std::vector<ReadFrame>{{FrameOp::erase, 1}});
}

TEST_CASE("image_of_object_log: a snapshot that ends within a frame is damage", "[object_log_image]") {
  WrittenObjects log;
  log.append(batch_of_erases(3));
  log.publish(2);
  iqdb_test::require_kind(iqdb::PersistErrorKind::log_corrupted, [&] { std::ignore = log.image(); });
}

}  // namespace of_object_log_image
