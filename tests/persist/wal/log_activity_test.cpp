// Whether a log is written by another process, seen from its bytes.
#include "iqdb/persist/wal/log_activity.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "iqdb/persist/wal/wal_format.hpp"
#include "support/catch.hpp"

namespace {

using iqdb::FrameHeader;
using iqdb::LogActivity;

// A log of another process: what is there is seen once the file is refreshed.
class LogOfOthers {
 public:
  void append_frame(std::uint32_t body_bytes) {
    const auto header = encoded(FrameHeader{.body_bytes = body_bytes});
    written_.insert(written_.end(), header.begin(), header.end());
    written_.resize(written_.size() + body_bytes, std::byte{1});
  }
  // A header whose body was lost.
  void append_torn_frame() {
    const auto header = encoded(FrameHeader{.body_bytes = 0xFFFF'FFFF});
    written_.insert(written_.end(), header.begin(), header.end());
  }
  void append_zeros(std::size_t count) { written_.resize(written_.size() + count); }

  void refresh() { seen_ = written_; }
  [[nodiscard]] std::uint64_t size() const noexcept { return seen_.size(); }
  [[nodiscard]] std::size_t read_at(std::uint64_t offset, std::span<std::byte> into) const {
    const std::size_t from = std::min(static_cast<std::size_t>(offset), seen_.size());
    const std::size_t count = std::min({into.size(), seen_.size() - from, most_at_once});
    std::copy_n(seen_.begin() + static_cast<std::ptrdiff_t>(from), count, into.begin());
    return count;
  }

 private:
  static constexpr std::size_t most_at_once = 7;

  std::vector<std::byte> written_;
  std::vector<std::byte> seen_;
};

}  // namespace

TEST_CASE("A log that gets frames is written and one that gets none is not", "[log_activity]") {
  LogOfOthers log;
  log.append_frame(10);
  LogActivity activity(log, FrameHeader::bytes + 10);
  CHECK(activity() == 0);
  log.append_frame(300);
  CHECK(activity() == 1);
  CHECK(activity() == 1);
  log.append_frame(20);
  log.append_frame(20);
  CHECK(activity() == 2);
  CHECK(activity() == 3);
  CHECK(activity() == 3);
}

TEST_CASE("Space that is prepared behind a log is no frame", "[log_activity]") {
  LogOfOthers log;
  log.append_frame(10);
  log.append_zeros(500);
  LogActivity activity(log, FrameHeader::bytes + 10);
  CHECK(activity() == 0);
}

TEST_CASE("A torn tail is not taken for a writer for long", "[log_activity]") {
  LogOfOthers log;
  log.append_frame(10);
  log.append_torn_frame();
  LogActivity activity(log, FrameHeader::bytes + 10);
  const std::uint64_t found = activity();
  CHECK(found <= 1);
  CHECK(activity() == found);
}
