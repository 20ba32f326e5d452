#include "iqdb/persist/lz4_codec.hpp"

#include <sys/resource.h>

#include <cstddef>
#include <new>
#include <tuple>
#include <vector>

#include "support/bytes.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"
#include "support/sanitized.hpp"

// What any codec must do is pinned in compression_test.cpp; here is what LZ4 may answer.
#if IQDB_PERSIST_HAS_LZ4

#include <lz4frame.h>

namespace {

using iqdb::PersistErrorKind;
using iqdb_test::Bytes;

// As long as there is one, no block of memory can be had that the heap does not hold already.
class NoMoreMemory {
 public:
  NoMoreMemory() {
    REQUIRE(::getrlimit(RLIMIT_AS, &before_) == 0);
    const rlimit none{.rlim_cur = 0, .rlim_max = before_.rlim_max};
    std::ignore = ::setrlimit(RLIMIT_AS, &none);  // no REQUIRE: it would need memory
  }
  NoMoreMemory(const NoMoreMemory&) = delete;
  NoMoreMemory& operator=(const NoMoreMemory&) = delete;
  ~NoMoreMemory() { ::setrlimit(RLIMIT_AS, &before_); }

 private:
  rlimit before_{};
};

}  // namespace

TEST_CASE("lz4_checked: gives what LZ4 answered and throws compression with the call where that is an error",
          "[lz4_codec]") {
  CHECK(iqdb::coding::lz4_checked(17, "LZ4F_compressFrame") == 17);
  const std::vector<std::byte> payload = Bytes().text("payload");
  std::byte room{};
  const std::size_t refused = LZ4F_compressFrame(&room, 1, payload.data(), payload.size(), nullptr);
  const auto error = iqdb_test::require_kind(PersistErrorKind::compression,
                                             [&] { return iqdb::coding::lz4_checked(refused, "LZ4F_compressFrame"); });
  CHECK(iqdb_test::mentions(error, "LZ4F_compressFrame"));
  CHECK(iqdb_test::mentions(error, LZ4F_getErrorName(refused)));
}

TEST_CASE("GrowingBuffer: memory that runs out is bad_alloc and keeps what was appended", "[lz4_codec]") {
  if (iqdb_test::sanitized) {
    return;  // a sanitizer ends the program where the system has no memory for it
  }
  iqdb::coding::GrowingBuffer buffer;
  const std::vector<std::byte> some = Bytes().text("kept");
  const std::vector<std::byte> large(std::size_t{64} * 1024 * 1024);
  buffer.append(some);
  bool refused = false;
  try {
    const NoMoreMemory none;
    buffer.append(large);
  } catch (const std::bad_alloc&) {
    refused = true;
  }
  CHECK(refused);
  CHECK(std::vector(buffer.bytes().begin(), buffer.bytes().end()) == some);
}

#endif  // IQDB_PERSIST_HAS_LZ4
