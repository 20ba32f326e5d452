// A log in a file: appends that are whole or undone, and what a failure leaves.
#include "iqdb/persist/storage/file_log.hpp"

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <utility>

#include "iqdb/persist/storage/file_storage.hpp"
#include "iqdb/persist/testing/crash_states.hpp"
#include "iqdb/persist/testing/simulated_file_system.hpp"
#include "support/bytes.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"

namespace {

using iqdb::LogOptions;
using iqdb::LogSync;
using iqdb::PersistErrorKind;
using iqdb::testing::Fault;
using iqdb::testing::FileCall;
using iqdb::testing::FileCallRecord;
using iqdb::testing::SimulatedFileSystem;
using iqdb::testing::system_error;
using iqdb_test::Bytes;
using iqdb_test::require_kind;
using Storage = iqdb::BasicFileStorage<SimulatedFileSystem>;

// A log that begins with "head", and the machine that it lies on.
struct OpenedLog {
  explicit OpenedLog(LogOptions options = {.synced = LogSync::every_write, .extent_bytes = 0})
      : log([&] {
          Storage storage(machine, {.direct_io = false});
          const auto lock = storage.lock("/index", std::chrono::milliseconds::zero());
          Storage::Replacement file = storage.replace(path, lock);
          file.append(Bytes().text("head").get());
          iqdb::put_in_place(file);
          return storage.open_log(std::move(file), options);
        }()) {}

  void append(const std::string& text) { log.append(Bytes().text(text).get()); }
  void finish(const std::string& text) { log.finish(Bytes().text(text).get()); }

  [[nodiscard]] std::string text() const {
    std::string all;
    for (const std::byte each : *machine.visible().at(path.native())) {
      all += static_cast<char>(each);
    }
    return all;
  }

  const std::filesystem::path path = "/index.wal";
  SimulatedFileSystem machine;
  Storage::Log log;
};

// Writes are cut short by a byte, and calls of the other kind fail.
iqdb::testing::FaultPlan short_writes_and(FileCall failing) {
  return [failing, writes = 0](const FileCallRecord& call) mutable {
    if (call.call == FileCall::write) {
      return ++writes == 1 ? Fault{.error = {}, .most_bytes = call.bytes - 1} : Fault{.error = system_error(EIO)};
    }
    return Fault{.error = system_error(call.call == failing ? EIO : 0)};
  };
}

}  // namespace

TEST_CASE("What is appended stands behind everything appended before", "[file_log]") {
  OpenedLog opened;
  opened.append("one");
  opened.append("two");
  CHECK(opened.text() == "headonetwo");
  CHECK(opened.log.usable());
}

TEST_CASE("A failed append leaves nothing and the next one stands at its place", "[file_log]") {
  OpenedLog opened;
  opened.append("one");
  opened.machine.plan(short_writes_and(FileCall::read));
  require_kind(PersistErrorKind::io, [&] { opened.append("two"); });
  opened.machine.plan({});
  CHECK(opened.text() == "headone");
  CHECK(opened.log.usable());
  opened.append("three");
  CHECK(opened.text() == "headonethree");
}

TEST_CASE("What a failed append left is gone for good with the next sync", "[file_log]") {
  OpenedLog opened;
  opened.machine.plan(short_writes_and(FileCall::read));
  require_kind(PersistErrorKind::io, [&] { opened.append("two"); });
  opened.machine.plan({});
  CHECK(iqdb::testing::CrashStates(opened.machine, 1).count() > 1);
  opened.log.sync();
  const iqdb::testing::CrashStates states(opened.machine, 1);
  REQUIRE(states.count() == 1);
  CHECK(states.at(0).at(opened.path.native())->size() == 4);
}

TEST_CASE("A log whose failed append cannot be cut off is not usable any more", "[file_log]") {
  OpenedLog opened;
  opened.machine.plan(short_writes_and(FileCall::truncate));
  const auto thrown = require_kind(PersistErrorKind::io, [&] { opened.append("two"); });
  CHECK(std::string(thrown.what()).find("write the log") != std::string::npos);
  CHECK_FALSE(opened.log.usable());
}

TEST_CASE("Zeros stand ahead of a log that is synced with every write and of no other", "[file_log]") {
  OpenedLog ahead({.synced = LogSync::every_write, .extent_bytes = 100});
  ahead.append("one");
  CHECK(ahead.text() == "headone" + std::string(100, '\0'));
  OpenedLog none({.synced = LogSync::now_and_then, .extent_bytes = 100});
  none.append("one");
  CHECK(none.text() == "headone");
}

TEST_CASE("finish appends and gives back the space ahead and syncs", "[file_log]") {
  OpenedLog opened({.synced = LogSync::every_write, .extent_bytes = 100});
  opened.append("one");
  opened.finish("end");
  CHECK(opened.text() == "headoneend");
  CHECK(iqdb::testing::CrashStates(opened.machine, 1).count() == 1);
}

TEST_CASE("A finish that cannot be synced cuts its bytes off again", "[file_log]") {
  OpenedLog opened;
  opened.append("one");
  opened.machine.plan([](const FileCallRecord& call) {
    return Fault{.error = system_error(call.call == FileCall::sync_data ? EIO : 0),
                 .failed_sync = iqdb::testing::FailedSync::kept_clean};
  });
  require_kind(PersistErrorKind::io, [&] { opened.finish("end"); });
  opened.machine.plan({});
  CHECK(opened.text() == "headone");
}
