#include "iqdb/persist/wal/object_snapshot.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/persist/error.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"
#include "support/object_logs.hpp"

namespace of_object_snapshot {

using iqdb_test::hasty_options;
using iqdb_test::require_kind;
using iqdb_test::ScriptedStore;
using iqdb_test::WayToStore;

using Snapshot = iqdb::ObjectSnapshot<WayToStore>;

[[nodiscard]] ScriptedStore store_with_snapshot() {
  ScriptedStore store;
  store.put("a/snapshot/0-1", std::array{std::byte{1}, std::byte{2}, std::byte{3}});
  return store;
}

TEST_CASE("object_snapshot_key: says the fence, and is in the order of the fences", "[object_snapshot]") {
  const std::string key = iqdb::object_snapshot_key("a", 7, 12);
  CHECK(key == "a/snapshot/00000000000000000007-00000000000000000012");
  CHECK(iqdb::parts_of_object_snapshot("a", key)->fence == 7);
  CHECK(key < iqdb::object_snapshot_key("a", 10, 3));
}

TEST_CASE("parts_of_object_snapshot: finds none in another key", "[object_snapshot]") {
  const std::string key = iqdb::object_snapshot_key("a", 7, 12);
  const std::string prefix = "a/snapshot/";
  for (const std::string& other :
       {iqdb::object_snapshot_key("b", 7, 12), key + "0", key.substr(0, key.size() - 1), prefix,
        prefix + "0000000000000000000x-00000000000000000012", prefix + "00000000000000000007-0000000000000000001x",
        prefix + "00000000000000000007+00000000000000000012", std::string("a/log/00000000000000000007")}) {
    CAPTURE(other);
    CHECK_FALSE(iqdb::parts_of_object_snapshot("a", other));
  }
}

TEST_CASE("ObjectSnapshot: holds little of what it reads, however much is asked for", "[object_snapshot]") {
  constexpr std::size_t bytes = (std::size_t{9} << 20U) + 1;
  ScriptedStore store;
  store.put("a/snapshot/0-1", std::vector<std::byte>(bytes, std::byte{1}));
  Snapshot snapshot(WayToStore(store), "a/snapshot/0-1", bytes, hasty_options());
  std::vector<std::byte> into(bytes);
  CHECK(snapshot.read_at(0, into) == std::size_t{4} << 20U);
  CHECK(snapshot.read_at(bytes - 1, into) == 1);
}

TEST_CASE("ObjectSnapshot: small reads from front to back make few requests", "[object_snapshot]") {
  constexpr std::size_t bytes = (std::size_t{21} << 20U) + 3;
  std::vector<std::byte> content(bytes);
  for (std::size_t at = 0; at < bytes; ++at) {
    content[at] = static_cast<std::byte>((at / 1000) & 0xFFU);
  }
  ScriptedStore store;
  store.put("a/snapshot/0-1", content);
  store.calls.clear();
  Snapshot snapshot(WayToStore(store), "a/snapshot/0-1", bytes, hasty_options());
  std::vector<std::byte> read;
  std::vector<std::byte> into(100001);
  while (read.size() < bytes) {
    const std::size_t count = snapshot.read_at(read.size(), into);
    read.insert(read.end(), into.begin(), into.begin() + static_cast<std::ptrdiff_t>(count));
  }
  CHECK((read == content));
  CHECK(store.calls.size() == 6);
  // Of the blocks the last ones are kept.
  CHECK(snapshot.read_at(bytes - 1, into) == 1);
  CHECK(store.calls.size() == 6);
  std::ignore = snapshot.read_at(0, into);
  CHECK(store.calls.size() == 7);
}

TEST_CASE("ObjectSnapshot: threads that want the same block read it once, and each again if it failed",
          "[object_snapshot]") {
  ScriptedStore store = store_with_snapshot();
  store.calls.clear();
  bool fails = true;
  store.before = [&](const std::string&) {
    if (std::exchange(fails, false)) {
      iqdb::throw_persist_error(iqdb::PersistErrorKind::unsupported, "not now");
    }
  };
  Snapshot snapshot(WayToStore(store), "a/snapshot/0-1", 3, hasty_options());
  std::array<std::byte, 3> into{};
  require_kind(iqdb::PersistErrorKind::unsupported, [&] { return snapshot.read_at(0, into); });
  std::vector<std::thread> threads;
  std::atomic<std::size_t> read = 0;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&] {
      std::array<std::byte, 3> own{};
      read += snapshot.read_at(0, own);
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  CHECK(read == 12);
  CHECK(store.calls.size() == 2);
}

TEST_CASE("ObjectSnapshot: reads ranges, and nothing behind the end", "[object_snapshot]") {
  ScriptedStore store = store_with_snapshot();
  Snapshot snapshot(WayToStore(store), "a/snapshot/0-1", 3, hasty_options());
  CHECK(snapshot.size() == 3);
  std::array<std::byte, 2> into{};
  CHECK(snapshot.read_at(1, into) == 2);
  CHECK(into == std::array{std::byte{2}, std::byte{3}});
  CHECK(snapshot.read_at(2, into) == 1);
  CHECK(snapshot.read_at(3, into) == 0);
  CHECK(snapshot.read_at(9, into) == 0);
}

TEST_CASE("ObjectSnapshot: a snapshot that was swept is named, and what to do", "[object_snapshot]") {
  ScriptedStore store;
  Snapshot snapshot(WayToStore(store), "a/snapshot/0-1", 3, hasty_options());
  std::array<std::byte, 2> into{};
  const auto error =
      require_kind(iqdb::PersistErrorKind::log_mismatch, [&] { std::ignore = snapshot.read_at(0, into); });
  CHECK(std::string(error.what()).find("a/snapshot/0-1") != std::string::npos);
  CHECK(std::string(error.what()).find("load the index again") != std::string::npos);
}

TEST_CASE("ObjectSnapshot: an object that ends early is not the one that was published", "[object_snapshot]") {
  ScriptedStore store = store_with_snapshot();
  Snapshot snapshot(WayToStore(store), "a/snapshot/0-1", 5, hasty_options());
  std::array<std::byte, 2> into{};
  require_kind(iqdb::PersistErrorKind::io, [&] { std::ignore = snapshot.read_at(3, into); });
}

TEST_CASE("ObjectSnapshot: a read that has no answer is made again", "[object_snapshot]") {
  ScriptedStore store = store_with_snapshot();
  int failures = 0;
  store.before = [&](const std::string&) {
    if (++failures < 3) {
      iqdb::throw_persist_error(iqdb::PersistErrorKind::io, "the store does not answer");
    }
  };
  Snapshot snapshot(WayToStore(store), "a/snapshot/0-1", 3, hasty_options());
  std::array<std::byte, 1> into{};
  CHECK(snapshot.read_at(0, into) == 1);
  CHECK(failures == 3);
}

}  // namespace of_object_snapshot
