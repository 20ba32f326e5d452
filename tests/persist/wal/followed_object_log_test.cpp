// A follower of an index on an object store.
#include "iqdb/persist/wal/followed_object_log.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "iqdb/index_error.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/follower.hpp"
#include "iqdb/persist/persisted_index.hpp"
#include "iqdb/persist/wal/log_object.hpp"
#include "iqdb/persist/wal/object_format.hpp"
#include "iqdb/persist/write_batch.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"
#include "support/late_index.hpp"
#include "support/object_logs.hpp"

namespace of_followed_object_log {

using iqdb::PersistConfig;
using iqdb_test::LateIndex;
using iqdb_test::ScriptedStore;
using iqdb_test::WayToStore;

using Storage = iqdb::ObjectStorage<WayToStore>;
using Database = iqdb::PersistedIndex<LateIndex, Storage>;
using Follower = iqdb::Follower<LateIndex, Storage>;

constexpr std::array<float, 1> some_vector{1.0F};

[[nodiscard]] Storage storage_in(ScriptedStore& store) {
  return Storage(WayToStore(store), iqdb_test::hasty_options());
}

[[nodiscard]] Database opened(ScriptedStore& store, bool take_over = false) {
  return Database::load_or_create({.path = "index", .wal_enabled = true, .helper_threads = 0, .take_over = take_over},
                                  LateIndex(), storage_in(store));
}

[[nodiscard]] Follower following(ScriptedStore& store) {
  return Follower::load({.path = "index", .helper_threads = 0, .take_over = true}, storage_in(store));
}

[[nodiscard]] bool shows(const Follower& follower, std::uint64_t id) {
  return follower.read([&](const LateIndex& index) { return index.contains(id); });
}

TEST_CASE("FollowedLog on an object store: shows what the writer acknowledges", "[followed_object_log]") {
  ScriptedStore store;
  Database writer = opened(store);
  writer.insert(1, some_vector);
  Follower follower = following(store);
  CHECK(shows(follower, 1));
  writer.insert(2, some_vector);
  iqdb::WriteBatch batch;
  batch.insert(3, some_vector);
  batch.erase(1);
  writer.apply(batch);
  CHECK(follower.catch_up() == 4);
  CHECK(shows(follower, 3));
  CHECK_FALSE(shows(follower, 1));
  CHECK(follower.stats().reloads == 0);
}

TEST_CASE("FollowedLog on an object store: goes on over checkpoints, and over the next writer",
          "[followed_object_log]") {
  ScriptedStore store;
  Follower follower = [&] {
    Database writer = opened(store);
    writer.insert(1, some_vector);
    return following(store);
  }();
  Database writer = opened(store);
  writer.insert(2, some_vector);
  writer.checkpoint();
  writer.insert(3, some_vector);
  CHECK(follower.catch_up() == 3);
  CHECK(follower.stats().reloads == 0);
}

TEST_CASE("FollowedLog on an object store: asks for one object by its number, and lists nothing",
          "[followed_object_log]") {
  ScriptedStore store;
  Database writer = opened(store);
  writer.insert(1, some_vector);
  Follower follower = following(store);
  store.calls.clear();
  writer.insert(2, some_vector);
  follower.catch_up();
  for (int look = 0; look < 20; ++look) {
    follower.catch_up();
  }
  CHECK(store.calls_that_begin("list") == 0);
  CHECK(store.calls_that_begin("get ") == 1 + 21);
}

TEST_CASE("FollowedLog on an object store: loads anew when it lags behind a sweep", "[followed_object_log]") {
  ScriptedStore store;
  Database writer = opened(store);
  writer.insert(1, some_vector);
  Follower follower = following(store);
  for (std::uint64_t id = 2; id <= 4; ++id) {
    writer.insert(id, some_vector);
    writer.checkpoint();
  }
  CHECK(follower.catch_up() == 4);
  CHECK(shows(follower, 4));
  CHECK(follower.stats().reloads == 1);
}

TEST_CASE("FollowedLog on an object store: loads anew when it lags behind a sweep, and has read a fence last",
          "[followed_object_log]") {
  ScriptedStore store;
  opened(store).insert(1, some_vector);
  Database writer = opened(store);
  Follower follower = following(store);
  for (std::uint64_t id = 2; id <= 4; ++id) {
    writer.insert(id, some_vector);
    writer.checkpoint();
  }
  CHECK(follower.catch_up() == 4);
  CHECK(follower.stats().reloads == 1);
}

TEST_CASE("FollowedLog on an object store: sees in the end that what it read last has come back to a swept number",
          "[followed_object_log]") {
  ScriptedStore store;
  Database writer = opened(store);
  writer.insert(1, some_vector);
  Follower follower = following(store);
  const auto last = std::prev(store.objects.lower_bound("index/snapshot/"));
  const auto [key, bytes] = *last;
  for (std::uint64_t id = 2; id <= 4; ++id) {
    writer.insert(id, some_vector);
    writer.checkpoint();
  }
  store.objects.emplace(key, bytes);
  for (int look = 0; look < 64; ++look) {
    follower.catch_up();
  }
  CHECK(follower.lsn() == 4);
}

TEST_CASE("FollowedLog on an object store: takes back what its writer rejected", "[followed_object_log]") {
  ScriptedStore store;
  Database writer = opened(store);
  writer.insert(1, some_vector);
  Follower follower = following(store);
  // The follower looks between the mutation and its abort.
  std::size_t puts = 0;
  store.before = [&](const std::string& call) {
    if (call.starts_with("put ") && ++puts == 2) {
      follower.catch_up();
    }
  };
  const std::array<float, 1> other{2.0F};
  CHECK_THROWS_AS(writer.insert(1, other), iqdb::IndexError);
  writer.insert(2, some_vector);
  CHECK(follower.catch_up() == 3);
  CHECK(shows(follower, 2));
  CHECK(follower.read([](const LateIndex& index) { return index.find(1)->vector.front(); }) == 1.0F);
  CHECK(follower.stats().taken_back == 1);
  store.before = [](const std::string&) {};
}

TEST_CASE("FollowedLog on an object store: does not go on in another history", "[followed_object_log]") {
  ScriptedStore store;
  Database writer = opened(store);
  writer.insert(1, some_vector);
  Follower follower = following(store);
  const iqdb::LogObjectHeader stray{
      .nonce = 9, .number = 3, .base_lsn = 1, .fence = 0, .history_id = 99, .kind = iqdb::LogObjectKind::frames};
  store.objects.emplace(iqdb::log_object_key("index", 3), iqdb_test::object_of(stray, {iqdb_test::erase_of_id(1)}));
  iqdb_test::require_kind(iqdb::PersistErrorKind::log_corrupted, [&] { follower.catch_up(); });
  CHECK(shows(follower, 1));
}

TEST_CASE("FollowedLog on an object store: is promoted in place of a writer that lives", "[followed_object_log]") {
  ScriptedStore store;
  Database writer = opened(store);
  writer.insert(1, some_vector);
  Follower follower = following(store);
  auto promoted = follower.promote();
  iqdb_test::require_kind(iqdb::PersistErrorKind::fenced, [&] { writer.insert(2, some_vector); });
  promoted.insert(3, some_vector);
  CHECK(follower.catch_up() == 2);
  CHECK(shows(follower, 3));
}

// The header of the object at a number.
[[nodiscard]] iqdb::LogObjectHeader header_at(const ScriptedStore& store, std::uint64_t number) {
  const std::string key = iqdb::log_object_key("index", number);
  return iqdb::read_log_object_header(store.objects.at(key), key, number);
}

// Makes two checkpoints, of whose sweeps nothing is done but that a fence came late to this number: one opened the log when the
// object was not there yet, and slept since.
void checkpoint_and_put_late_fence(Database& writer, ScriptedStore& store, std::uint64_t number) {
  const auto before = store.objects;
  writer.checkpoint();
  writer.checkpoint();
  store.objects.insert(before.begin(), before.end());
  iqdb::LogObjectHeader header = header_at(store, number);
  header.nonce += 1;
  header.fence = number;
  header.kind = iqdb::LogObjectKind::fence;
  store.objects.insert_or_assign(iqdb::log_object_key("index", number), iqdb_test::object_of(header, {}));
}

[[nodiscard]] std::uint64_t last_number(const ScriptedStore& store) {
  return *iqdb::log_object_number("index", std::prev(store.objects.lower_bound("index/snapshot/"))->first);
}

TEST_CASE("FollowedLog on an object store: loads anew behind a fence that came late to a swept number",
          "[followed_object_log]") {
  ScriptedStore store;
  Database writer = opened(store);
  writer.insert(1, some_vector);
  Follower follower = following(store);
  const std::uint64_t number = last_number(store) + 1;
  writer.checkpoint();
  writer.insert(2, some_vector);
  checkpoint_and_put_late_fence(writer, store, number);  // nothing but the header of what stands behind it tells
  CHECK(follower.catch_up() == 2);
  CHECK(follower.stats().reloads == 1);
}

TEST_CASE("FollowedLog on an object store: loads anew at a fence behind a fence", "[followed_object_log]") {
  ScriptedStore store;
  opened(store).insert(1, some_vector);
  Database writer = opened(store);
  Follower follower = following(store);
  const std::uint64_t number = last_number(store) + 1;
  CHECK(header_at(store, number - 1).kind == iqdb::LogObjectKind::fence);
  writer.checkpoint();
  Database next = opened(store, true);
  next.insert(2, some_vector);
  checkpoint_and_put_late_fence(next, store, number);
  CHECK(follower.catch_up() == 2);
  CHECK(follower.stats().reloads == 1);
}

TEST_CASE("FollowedLog on an object store: shows changes that were not logged once they are saved",
          "[followed_object_log]") {
  for (const bool checkpoints : {false, true}) {
    ScriptedStore store;
    Database writer = opened(store);
    writer.insert(1, some_vector);
    Follower follower = following(store);
    writer.index_mut().insert(2, some_vector, {});
    if (checkpoints) {
      writer.checkpoint();
    } else {
      writer.save();
    }
    writer.insert(3, some_vector);
    CHECK(follower.catch_up() == 2);
    CHECK(shows(follower, 2));
    CHECK(shows(follower, 3));
    writer.close();
    CHECK(opened(store).index().contains(2));
  }
}

}  // namespace of_followed_object_log
