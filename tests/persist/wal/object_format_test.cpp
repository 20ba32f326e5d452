#include "iqdb/persist/wal/object_format.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "iqdb/persist/error.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"

namespace of_object_format {

using iqdb::LogObjectHeader;
using iqdb::LogObjectKind;
using iqdb::PersistErrorKind;
using iqdb_test::error_of;
using iqdb_test::require_kind;

constexpr LogObjectHeader any_header{.nonce = 0x0807060504030201,
                                     .number = 9,
                                     .base_lsn = 300,
                                     .fence = 7,
                                     .history_id = 0x1817161514131211,
                                     .kind = LogObjectKind::frames};

LogObjectHeader with(void (*change)(LogObjectHeader&)) {
  LogObjectHeader header = any_header;
  change(header);
  return header;
}

std::string refused(const LogObjectHeader& header, std::uint64_t number = 9) {
  return require_kind(PersistErrorKind::log_corrupted,
                      [&] { return iqdb::read_log_object_header(encoded(header), "index/log/9", number); })
      .what();
}

TEST_CASE("LogObjectHeader: its fields stand where the format says", "[object_format]") {
  const auto bytes = encoded(any_header);
  const auto at = [&](std::size_t begin, std::size_t count) {
    std::vector<int> values;
    for (const std::byte each : std::span(bytes).subspan(begin, count)) {
      values.push_back(static_cast<int>(each));
    }
    return values;
  };
  CHECK(at(0, 8) == std::vector<int>{'I', 'Q', 'D', 'B', 'S', 'E', 'G', 0});
  CHECK(at(8, 4) == std::vector<int>{1, 0, 0, 0});
  CHECK(at(16, 8) == std::vector<int>{1, 2, 3, 4, 5, 6, 7, 8});
  CHECK(at(24, 8) == std::vector<int>{9, 0, 0, 0, 0, 0, 0, 0});
  CHECK(at(32, 8) == std::vector<int>{44, 1, 0, 0, 0, 0, 0, 0});
  CHECK(at(40, 8) == std::vector<int>{7, 0, 0, 0, 0, 0, 0, 0});
  CHECK(at(48, 8) == std::vector<int>{0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18});
  CHECK(at(56, 8) == std::vector<int>{2, 0, 0, 0, 0, 0, 0, 0});
  auto without_checksum = bytes;
  std::fill_n(without_checksum.begin() + 12, 4, std::byte{0});
  const auto crc32 = iqdb::to_little_endian(iqdb::Crc32(without_checksum).value());
  CHECK(std::equal(crc32.begin(), crc32.end(), bytes.begin() + 12));
}

TEST_CASE("LogObjectHeader: is read as it was written, and from the beginning of a whole object", "[object_format]") {
  const auto fence = with([](LogObjectHeader& header) {
    header.kind = LogObjectKind::fence;
    header.fence = 9;
  });
  for (const LogObjectHeader& header : {any_header, fence}) {
    const auto bytes = encoded(header);
    std::vector<std::byte> whole(bytes.begin(), bytes.end());
    whole.resize(100);
    CHECK(iqdb::read_log_object_header(bytes, "key", 9) == header);
    CHECK(iqdb::read_log_object_header(whole, "key", 9) == header);
  }
}

TEST_CASE("LogObjectHeader: every flipped bit and every missing byte is found", "[object_format]") {
  const auto right = encoded(any_header);
  for (std::size_t bit = 0; bit < 8 * right.size(); ++bit) {
    auto bytes = right;
    bytes[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    const bool is_version = bit / 8 >= 8 && bit / 8 < 12;
    CHECK(error_of([&] { return iqdb::read_log_object_header(bytes, "key", 9); }).kind() ==
          (is_version ? PersistErrorKind::unsupported_version : PersistErrorKind::log_corrupted));
  }
  for (std::size_t size = 0; size < right.size(); ++size) {
    require_kind(PersistErrorKind::log_corrupted,
                 [&] { return iqdb::read_log_object_header(std::span(right).first(size), "key", 9); });
  }
}

TEST_CASE("LogObjectHeader: one of another number is refused, as of an object that was copied", "[object_format]") {
  const std::string message = refused(any_header, 10);
  CHECK(message.find("index/log/9") != std::string::npos);
  CHECK(message.find("number 9, expected 10") != std::string::npos);
}

TEST_CASE("LogObjectHeader: what no writer makes is refused though its checksum is right", "[object_format]") {
  CHECK(refused(with([](LogObjectHeader& header) { header.kind = static_cast<LogObjectKind>(0); })).find("kind is 0") !=
        std::string::npos);
  CHECK(refused(with([](LogObjectHeader& header) { header.kind = static_cast<LogObjectKind>(5); })).find("kind is 5") !=
        std::string::npos);
  std::ignore = refused(with([](LogObjectHeader& header) { header.fence = 10; }));
  std::ignore = refused(with([](LogObjectHeader& header) { header.fence = 9; }));
  std::ignore = refused(with([](LogObjectHeader& header) { header.kind = LogObjectKind::fence; }));
  std::ignore = refused(with([](LogObjectHeader& header) { header.base_lsn = iqdb::largest_lsn + 1; }));
}

TEST_CASE("log_object_key: has 20 digits, so that keys are in the order of numbers", "[object_format]") {
  CHECK(iqdb::log_object_key("a/b", 0) == "a/b/log/00000000000000000000");
  CHECK(iqdb::log_object_key("a", 9) < iqdb::log_object_key("a", 10));
  CHECK(iqdb::log_object_key("a", 99'999) < iqdb::log_object_key("a", iqdb::largest_log_object));
  for (const std::uint64_t number : {std::uint64_t{0}, std::uint64_t{7}, iqdb::largest_log_object}) {
    CHECK(iqdb::log_object_number("a", iqdb::log_object_key("a", number)) == number);
  }
}

TEST_CASE("log_object_number: passes over keys that are none of the log", "[object_format]") {
  for (const char* key : {"a/log/", "a/log/1", "a/log/0000000000000000000x", "a/log/000000000000000000001",
                          "a/log/0000000000000000000", "b/log/00000000000000000001", "a/log/+0000000000000000001",
                          "a/log/04611686018427387905", "a/log/99999999999999999999", "a", ""}) {
    CHECK_FALSE(iqdb::log_object_number("a", key));
  }
}

}  // namespace of_object_format
