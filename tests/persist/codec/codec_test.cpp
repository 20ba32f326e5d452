// What a stream of frames may look like to its decoder. What every codec must do is pinned in compression_test.cpp.
#include "iqdb/persist/codec/codec.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "support/bytes.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"
#include "support/streams.hpp"

namespace {

using iqdb::PersistErrorKind;
using iqdb_test::Bytes;
using iqdb_test::MemorySource;

// A codec whose data is its payload. A frame ends where a '.' was decoded; a codec may notice only when it is asked
// once more, with nothing left to decode.
class LateFrames {
 public:
  static constexpr std::string_view name = "late";

  bool decode(std::span<const std::byte>& input, std::span<std::byte>& output) {
    if (ends_) {
      ends_ = false;
      return true;
    }
    const std::size_t count = std::min(input.size(), output.size());
    std::ranges::copy(input.first(count), output.begin());
    ends_ = count > 0 && input[count - 1] == std::byte{'.'};
    input = input.subspan(count);
    output = output.subspan(count);
    return false;
  }

 private:
  bool ends_ = false;
};

std::vector<std::byte> decoded(const std::vector<std::byte>& data, std::uint64_t payload_bytes) {
  MemorySource source(data);
  iqdb::coding::FrameDecoder<LateFrames> decoder(source, payload_bytes, 4);
  std::vector<std::byte> payload(static_cast<std::size_t>(payload_bytes));
  std::size_t read = 0;
  while (read < payload.size()) {
    read += decoder.read(std::span(payload).subspan(read));
  }
  decoder.finish();
  return payload;
}

}  // namespace

TEST_CASE("FrameDecoder: a frame may end only when all data was read", "[codec]") {
  const std::vector<std::byte> whole = Bytes().text("123456.");
  CHECK(decoded(whole, whole.size()) == whole);
}

TEST_CASE("FrameDecoder: a frame that has no end where the data has is refused", "[codec]") {
  const std::vector<std::byte> cut = Bytes().text("123456");
  iqdb_test::require_kind(PersistErrorKind::compression, [&] { return decoded(cut, cut.size()); });
}
