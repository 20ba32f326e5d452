#include "iqdb/persist/wal/log_object.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/error.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"
#include "support/object_logs.hpp"

namespace of_log_object {

using iqdb::LogObject;
using iqdb::LogObjectFrame;
using iqdb::LogObjectHeader;
using iqdb::LogObjectKind;
using iqdb::ObjectBytes;
using iqdb::PersistErrorKind;
using iqdb_test::batch_of_erases;
using iqdb_test::erase_of_id;
using iqdb_test::error_of;
using iqdb_test::object_of;
using iqdb_test::require_kind;

LogObjectHeader header_of(LogObjectKind kind) {
  return {.nonce = 5,
          .number = 3,
          .base_lsn = 10,
          .fence = kind == LogObjectKind::fence ? 3U : 1U,
          .history_id = 6,
          .kind = kind};
}

LogObject read(ObjectBytes bytes) { return iqdb::read_log_object(std::move(bytes), "key", 3); }

std::string refused(const ObjectBytes& bytes) {
  return require_kind(PersistErrorKind::log_corrupted, [&] { return read(bytes); }).what();
}

std::vector<std::byte> close_body() {
  return iqdb::bytes_of([](iqdb::Writer& to) { iqdb::write_close(to); });
}

std::vector<std::byte> checkpoint_body(std::uint64_t lsn) {
  return iqdb::bytes_of([&](iqdb::Writer& to) { iqdb::write_checkpoint(to, {}, lsn); });
}

std::vector<std::byte> abort_body() {
  const iqdb::LsnRange range{.first = 9, .last = 10};
  return iqdb::bytes_of([&](iqdb::Writer& to) { iqdb::write_abort(to, std::span(&range, 1)); });
}

iqdb::PublishedSnapshot any_snapshot() {
  return {
      .key = "index/snapshot/1-2", .fingerprint = {.file_bytes = 1, .header_crc32 = 2, .region_crc32 = 3}, .lsn = 8};
}

TEST_CASE("LogObject: frames carry the numbers of their mutations and control frames take none", "[log_object]") {
  const std::vector<std::vector<std::byte>> bodies = {abort_body(), erase_of_id(1), batch_of_erases(3), erase_of_id(2)};
  const LogObject object = read(object_of(header_of(LogObjectKind::frames), bodies));
  CHECK(object.header == header_of(LogObjectKind::frames));
  REQUIRE(object.frames.size() == bodies.size());
  std::vector<std::uint64_t> lsns;
  std::vector<std::uint64_t> mutations;
  for (std::size_t at = 0; at < bodies.size(); ++at) {
    lsns.push_back(object.frames[at].lsn);
    mutations.push_back(object.frames[at].mutations);
    CHECK(std::ranges::equal(object.body(object.frames[at]), bodies[at]));
  }
  CHECK(lsns == std::vector<std::uint64_t>{11, 11, 12, 15});
  CHECK(mutations == std::vector<std::uint64_t>{0, 1, 3, 1});
  CHECK(object.last_lsn() == 15);
}

TEST_CASE("LogObject: a fence holds nothing and a close one frame", "[log_object]") {
  const LogObject fence = read(object_of(header_of(LogObjectKind::fence), {}));
  CHECK(fence.bytes.size() == iqdb::log_object_header_bytes);
  CHECK(fence.frames.empty());
  CHECK(fence.last_lsn() == 10);
  const LogObject close = read(iqdb::encode_log_close(header_of(LogObjectKind::close)));
  REQUIRE(close.frames.size() == 1);
  CHECK(std::ranges::equal(close.body(close.frames.front()), close_body()));
  CHECK(close.last_lsn() == 10);
}

TEST_CASE("LogObject: a checkpoint names its snapshot", "[log_object]") {
  const LogObject object = read(iqdb::encode_log_checkpoint(header_of(LogObjectKind::checkpoint), any_snapshot()));
  CHECK(object.snapshot == any_snapshot());
  CHECK(object.last_lsn() == 10);
}

TEST_CASE("LogObject: a checkpoint of mutations that the log does not have yet is refused", "[log_object]") {
  auto snapshot = any_snapshot();
  snapshot.lsn = 11;
  CHECK(refused(iqdb::encode_log_checkpoint(header_of(LogObjectKind::checkpoint), snapshot)).find("up to 11") !=
        std::string::npos);
}

TEST_CASE("LogObject: every flipped bit, every missing byte and one byte more is found", "[log_object]") {
  for (const ObjectBytes& right :
       {object_of(header_of(LogObjectKind::frames), {erase_of_id(1), batch_of_erases(2)}),
        iqdb::encode_log_checkpoint(header_of(LogObjectKind::checkpoint), any_snapshot()),
        iqdb::encode_log_close(header_of(LogObjectKind::close)), object_of(header_of(LogObjectKind::fence), {})}) {
    // The key of a snapshot has no checksum of its own: a wrong one leads to no snapshot.
    const bool has_key = static_cast<LogObjectKind>(right[56]) == LogObjectKind::checkpoint;
    const std::size_t key_begin = iqdb::log_object_header_bytes + 4;
    const std::size_t key_end = has_key ? key_begin + any_snapshot().key.size() : key_begin;
    for (std::size_t bit = 0; bit < 8 * right.size(); ++bit) {
      if (bit / 8 >= key_begin && bit / 8 < key_end) {
        continue;
      }
      ObjectBytes bytes = right;
      bytes[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
      const auto kind = error_of([&] { return read(bytes); }).kind();
      CHECK((kind == PersistErrorKind::log_corrupted || kind == PersistErrorKind::unsupported_version));
    }
    const std::size_t shortest_whole = static_cast<LogObjectKind>(right[56]) == LogObjectKind::frames
                                           ? iqdb::log_object_header_bytes + 24 + 10
                                           : right.size();
    for (std::size_t size = 0; size < right.size(); ++size) {
      if (size != shortest_whole) {  // one whole frame is what a writer could have made
        std::ignore = refused({right.begin(), right.begin() + static_cast<std::ptrdiff_t>(size)});
      }
    }
    ObjectBytes longer = right;
    longer.push_back(std::byte{0});
    std::ignore = refused(longer);
  }
}

TEST_CASE("LogObject: a frame of another object does not validate", "[log_object]") {
  auto header = header_of(LogObjectKind::frames);
  const ObjectBytes object = object_of(header, {erase_of_id(1)});
  header.nonce = 6;
  ObjectBytes mixed = object_of(header, {erase_of_id(1)});
  std::copy(object.begin() + iqdb::log_object_header_bytes, object.end(),
            mixed.begin() + iqdb::log_object_header_bytes);
  CHECK(refused(mixed).find("checksum of a frame") != std::string::npos);
}

TEST_CASE("LogObject: a frame with another number, or of a file, is refused", "[log_object]") {
  const auto header = header_of(LogObjectKind::frames);
  const auto with_frame = [&](std::uint64_t lsn, std::uint64_t durable, const std::vector<std::byte>& body) {
    ObjectBytes object = object_of(header, {erase_of_id(1)});
    object.resize(iqdb::log_object_header_bytes);
    iqdb::FrameEncoder encoder;
    encoder.begin().write(body);
    const auto frame = encoder.finish(header.nonce, lsn, durable);
    object.insert(object.end(), frame.begin(), frame.end());
    return object;
  };
  CHECK(read(with_frame(11, 0, erase_of_id(1))).frames.size() == 1);
  std::ignore = refused(with_frame(12, 0, erase_of_id(1)));
  std::ignore = refused(with_frame(11, 1, erase_of_id(1)));
  std::ignore = refused(with_frame(11, 0, {std::byte{99}}));
}

TEST_CASE("LogObject: frames that do not belong into an object of its kind are refused", "[log_object]") {
  std::ignore = refused(object_of(header_of(LogObjectKind::frames), {}));
  std::ignore = refused(object_of(header_of(LogObjectKind::frames), {close_body()}));
  std::ignore = refused(object_of(header_of(LogObjectKind::frames), {checkpoint_body(3)}));
  std::ignore = refused(object_of(header_of(LogObjectKind::fence), {erase_of_id(1)}));
  std::ignore = refused(object_of(header_of(LogObjectKind::close), {erase_of_id(1)}));
  std::ignore = refused(object_of(header_of(LogObjectKind::close), {close_body(), close_body()}));
}

TEST_CASE("encode_log_object: a body that is none is not written", "[log_object]") {
  require_kind(PersistErrorKind::invalid_payload,
               [] { return object_of(header_of(LogObjectKind::frames), {{std::byte{99}}}); });
}

}  // namespace of_log_object
