#include "iqdb/persist/wal/held_object_log.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/wal/frame_encoder.hpp"
#include "iqdb/persist/wal/object_run.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"
#include "support/object_logs.hpp"

namespace of_held_object_log {

using iqdb::PersistErrorKind;
using iqdb_test::hasty_options;
using iqdb_test::require_kind;
using iqdb_test::ScriptedStore;
using iqdb_test::WayToStore;

using Held = iqdb::HeldObjectLog<WayToStore>;

[[nodiscard]] std::vector<std::byte> erase_frame(std::uint64_t lsn) {
  iqdb::FrameEncoder encoder;
  encoder.begin().write(iqdb_test::erase_of_id(1));
  const auto frame = encoder.finish(1, lsn, 0);
  return {frame.begin(), frame.end()};
}

[[nodiscard]] std::vector<std::byte> checkpoint_frame(const iqdb::Fingerprint& snapshot, std::uint64_t lsn) {
  iqdb::FrameEncoder encoder;
  iqdb::write_checkpoint(encoder.begin(), snapshot, lsn);
  const auto frame = encoder.finish(1, lsn + 1, 0);
  return {frame.begin(), frame.end()};
}

[[nodiscard]] iqdb::ObjectRun run_in(ScriptedStore& store) {
  return iqdb::read_object_run(store, "a", hasty_options());
}

TEST_CASE("HeldObjectLog: what was appended is put as one object, in its order", "[held_object_log]") {
  ScriptedStore store;
  Held held(WayToStore(store), "a", false, hasty_options());
  held.append(erase_frame(1));
  held.append(erase_frame(2));
  CHECK(run_in(store).objects.size() == 1);
  held.flush();
  const auto run = run_in(store);
  REQUIRE(run.objects.size() == 2);
  CHECK(run.objects.back().frames.size() == 2);
  CHECK(held.last_lsn() == 2);
}

TEST_CASE("HeldObjectLog: a snapshot is published behind what was appended before", "[held_object_log]") {
  ScriptedStore store;
  Held held(WayToStore(store), "a", false, hasty_options());
  held.append(erase_frame(1));
  held.append(erase_frame(2));
  const iqdb::Fingerprint snapshot{.file_bytes = 1, .header_crc32 = 2, .region_crc32 = 3};
  held.append(checkpoint_frame(snapshot, 1));
  held.publish("a/snapshot/0-1", snapshot);
  const auto run = run_in(store);
  CHECK(run.next_lsn() == 3);
  CHECK(run.snapshot_lsn() == 1);
  CHECK(held.snapshot() == iqdb::PublishedSnapshot{.key = "a/snapshot/0-1", .fingerprint = snapshot, .lsn = 1});
}

TEST_CASE("HeldObjectLog: a snapshot of which no checkpoint frame speaks holds everything", "[held_object_log]") {
  ScriptedStore store;
  Held held(WayToStore(store), "a", false, hasty_options());
  held.append(erase_frame(1));
  held.append(checkpoint_frame({.file_bytes = 9}, 0));
  held.publish("a/snapshot/0-1", {.file_bytes = 1});
  CHECK(run_in(store).snapshot_lsn() == 1);
}

TEST_CASE("HeldObjectLog: nothing can be put behind what may be missing", "[held_object_log]") {
  ScriptedStore store;
  Held held(WayToStore(store), "a", false, hasty_options());
  store.answer_put = [](std::string_view, std::span<const std::byte>) { return iqdb::PutOutcome::unknown; };
  held.append(erase_frame(1));
  require_kind(PersistErrorKind::io, [&] { held.flush(); });
  store.answer_put = {};
  CHECK_FALSE(held.usable());
  held.append(erase_frame(2));
  require_kind(PersistErrorKind::poisoned, [&] { held.flush(); });
}

TEST_CASE("HeldObjectLog: memory that runs out while frames are taken loses none of them unnoticed",
          "[held_object_log]") {
  ScriptedStore store;
  Held held(WayToStore(store), "a", false, hasty_options());
  for (std::uint64_t lsn = 1; lsn <= 5; ++lsn) {
    held.append(erase_frame(lsn));
  }
  bool failed = false;
  iqdb_test::refusing_allocation(1, [&] {
    try {
      held.flush();
    } catch (const std::bad_alloc&) {
      failed = true;
    }
  });
  REQUIRE(failed);
  CHECK_FALSE(held.usable());
  require_kind(PersistErrorKind::poisoned, [&] { held.flush(); });
}

TEST_CASE("HeldObjectLog: frames that do not go on with the log's numbers are refused", "[held_object_log]") {
  ScriptedStore store;
  Held held(WayToStore(store), "a", false, hasty_options());
  held.append(erase_frame(2));
  require_kind(PersistErrorKind::invalid_payload, [&] { held.flush(); });
  CHECK_FALSE(held.usable());
  CHECK(run_in(store).objects.size() == 1);
}

TEST_CASE("HeldObjectLog: a log that was closed, and to which nothing was appended, is given up as closed",
          "[held_object_log]") {
  ScriptedStore store;
  Held(WayToStore(store), "a", false, hasty_options()).give_up();
  CHECK(run_in(store).is_closed());
  {
    Held held(WayToStore(store), "a", false, hasty_options());
    held.append(erase_frame(1));
    held.flush();
    held.give_up();
  }
  CHECK_FALSE(run_in(store).is_closed());
  Held(WayToStore(store), "a", true, hasty_options()).give_up();
  CHECK_FALSE(run_in(store).is_closed());
}

}  // namespace of_held_object_log
