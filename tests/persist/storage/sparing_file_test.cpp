#include "iqdb/persist/storage/sparing_file.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "support/bytes.hpp"
#include "support/catch.hpp"

namespace {

using iqdb::SparingFile;
using iqdb_test::numbered_bytes;
using namespace std::chrono_literals;

// A new file in memory, and the size of each piece that it was given.
struct PiecesOfFile {
  void append(std::span<const std::byte> piece) {
    pieces.push_back(piece.size());
    bytes.insert(bytes.end(), piece.begin(), piece.end());
  }
  void overwrite(std::uint64_t offset, std::span<const std::byte> piece) {
    std::copy(piece.begin(), piece.end(), bytes.begin() + static_cast<std::ptrdiff_t>(offset));
  }
  void sync() { done += 's'; }
  void rename() { done += 'r'; }
  [[nodiscard]] bool in_doubt() const noexcept { return is_in_doubt; }
  void sync_directory() { done += 'd'; }

  std::vector<std::size_t> pieces = {};
  std::vector<std::byte> bytes = {};
  std::string done = {};
  bool is_in_doubt = false;
};

}  // namespace

TEST_CASE("A file that spares the disk is appended to in pieces with a pause behind each", "[sparing_file]") {
  PiecesOfFile file;
  std::vector<std::size_t> written_at_pause;
  SparingFile sparing(file, [&](std::chrono::nanoseconds took) {
    CHECK(took >= 0ns);
    written_at_pause.push_back(file.bytes.size());
  });
  const std::size_t piece = decltype(sparing)::piece_bytes;
  const std::vector<std::byte> bytes = numbered_bytes(2 * piece + 5);
  sparing.append(bytes);
  CHECK(file.bytes == bytes);
  CHECK(file.pieces == std::vector<std::size_t>{piece, piece, 5});
  CHECK(written_at_pause == std::vector<std::size_t>{piece, 2 * piece, 2 * piece + 5});
}

TEST_CASE("A file that spares the disk passes everything else on", "[sparing_file]") {
  PiecesOfFile file;
  SparingFile sparing(file, [](std::chrono::nanoseconds) {});
  sparing.append(numbered_bytes(10));
  const std::byte other{0xFF};
  sparing.overwrite(3, std::span(&other, 1));
  CHECK(file.bytes.at(3) == other);
  sparing.sync();
  sparing.rename();
  sparing.sync_directory();
  CHECK(file.done == "srd");
  CHECK(!sparing.in_doubt());
  file.is_in_doubt = true;
  CHECK(sparing.in_doubt());
}

TEST_CASE("The disk is left to others for longer than a piece took but not for ever", "[sparing_file]") {
  CHECK(iqdb::pause_behind(0ns) == 0ns);
  CHECK(iqdb::pause_behind(1ms) == 6ms);
  CHECK(iqdb::pause_behind(1s) == 50ms);
}

TEST_CASE("Work pauses behind each piece for as long as a log is synced meanwhile", "[sparing_file]") {
  constexpr std::uint64_t piece = iqdb::Pace::piece_bytes;
  std::uint64_t syncs = 7;
  PiecesOfFile file;
  std::vector<std::chrono::nanoseconds> pauses;
  iqdb::Pace pace([&] { return syncs; }, [&](std::chrono::nanoseconds duration) { pauses.push_back(duration); });
  pace.advance(file, piece);
  CHECK(pauses.empty());
  ++syncs;
  pace.advance(file, piece - 1);
  CHECK(pauses.empty());
  pace.advance(file, 1);
  CHECK(pauses.size() == 1);
  pace.advance(file, 5 * piece);
  CHECK(pauses.size() == 1);
  ++syncs;
  pace.advance(file, 5 * piece);
  CHECK(pauses.size() == 2);
}

TEST_CASE("A piece is durable before the pause behind it where a log is synced meanwhile and not synced otherwise",
          "[sparing_file]") {
  std::uint64_t syncs = 0;
  PiecesOfFile file;
  iqdb::Pace pace([&] { return syncs; }, [&](std::chrono::nanoseconds) { file.done += 'p'; });
  pace.advance(file, iqdb::Pace::piece_bytes);
  CHECK(file.done.empty());
  ++syncs;
  pace.advance(file, iqdb::Pace::piece_bytes);
  CHECK(file.done == "sp");
}
