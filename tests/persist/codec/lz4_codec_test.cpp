#include "iqdb/persist/codec/lz4_codec.hpp"

#include <cstddef>
#include <vector>

#include "support/bytes.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"

// What any codec must do is pinned in compression_test.cpp; here is what LZ4 may answer.
#if IQDB_PERSIST_HAS_LZ4

#include <lz4frame.h>

namespace {

using iqdb::PersistErrorKind;
using iqdb_test::Bytes;

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

#endif  // IQDB_PERSIST_HAS_LZ4
