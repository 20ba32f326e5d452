#include "iqdb/persist/progress.hpp"

#include <cstdint>
#include <functional>
#include <stdexcept>
#include <vector>

#include "support/catch.hpp"

namespace {

using iqdb::Progress;
using iqdb::ProgressMeter;
using Callback = std::function<void(const Progress&)>;

constexpr std::uint64_t step = std::uint64_t{16} * 1024 * 1024;
static_assert(ProgressMeter::step == step);

struct Seen {
  std::vector<Progress> reports;
  Callback callback = [this](const Progress& progress) { reports.push_back(progress); };
};

}  // namespace

TEST_CASE("ProgressMeter: reports each time that another step is done", "[progress]") {
  Seen seen;
  ProgressMeter meter(seen.callback, Progress::Phase::load, 100 * step);
  meter.advance(step - 1);
  CHECK(seen.reports.empty());
  meter.advance(1);
  REQUIRE(seen.reports.size() == 1);
  CHECK(seen.reports[0].done == step);
  meter.advance(step - 1);
  CHECK(seen.reports.size() == 1);
  meter.advance(3 * step);
  REQUIRE(seen.reports.size() == 2);
  CHECK(seen.reports[1].done == 5 * step - 1);
}

TEST_CASE("ProgressMeter: passes on phase and total", "[progress]") {
  Seen seen;
  ProgressMeter meter(seen.callback, Progress::Phase::verify, 3 * step);
  meter.advance(step);
  REQUIRE(seen.reports.size() == 1);
  CHECK(seen.reports[0].phase == Progress::Phase::verify);
  CHECK(seen.reports[0].total == 3 * step);
}

TEST_CASE("ProgressMeter: at the end what is done is all", "[progress]") {
  Seen seen;
  ProgressMeter meter(seen.callback, Progress::Phase::replay, 12345);
  meter.advance(123);
  meter.finish();
  REQUIRE(seen.reports.size() == 1);
  CHECK(seen.reports[0].total == 123);
  CHECK(seen.reports[0].done == 123);
}

TEST_CASE("ProgressMeter: a total that was not known is not known at the end either", "[progress]") {
  Seen seen;
  ProgressMeter meter(seen.callback, Progress::Phase::save, 0);
  meter.advance(123);
  meter.finish();
  REQUIRE(seen.reports.size() == 1);
  CHECK(seen.reports[0].total == 0);
}

TEST_CASE("ProgressMeter: the end is reported whatever was reported before", "[progress]") {
  Seen seen;
  ProgressMeter meter(seen.callback, Progress::Phase::save, 0);
  meter.advance(step);
  meter.advance(5);
  meter.finish();
  REQUIRE(seen.reports.size() == 2);
  CHECK(seen.reports[1].done == step + 5);
}

TEST_CASE("ProgressMeter: does without a callback", "[progress]") {
  const Callback none;
  ProgressMeter meter(none, Progress::Phase::save, 0);
  CHECK_NOTHROW(meter.advance(5 * step));
  CHECK_NOTHROW(meter.finish());
  CHECK_FALSE(meter.cancelled());
}

TEST_CASE("ProgressMeter: an exception of the callback passes through and cancels", "[progress]") {
  const Callback refuse = [](const Progress&) { throw std::out_of_range("stop"); };
  ProgressMeter meter(refuse, Progress::Phase::save, 0);
  CHECK_FALSE(meter.cancelled());
  CHECK_THROWS_AS(meter.advance(step), std::out_of_range);
  CHECK(meter.cancelled());
}

TEST_CASE("ProgressMeter: a callback that returns cancels nothing", "[progress]") {
  Seen seen;
  ProgressMeter meter(seen.callback, Progress::Phase::save, 0);
  meter.advance(step);
  meter.finish();
  CHECK_FALSE(meter.cancelled());
}
