#include "iqdb/persist/testing/simulated_object_store.hpp"

#include <cstddef>
#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "iqdb/persist/error.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"

namespace of_simulated_object_store {

using iqdb::PutOutcome;
using iqdb::testing::ObjectFaults;
using iqdb::testing::SimulatedObjects;
using iqdb::testing::SimulatedObjectStore;

constexpr ObjectFaults no_faults = {.reply_lost = 0, .request_lost = 0, .delayed = 0, .repeated = 0, .client_dies = 0};

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

std::size_t size_of(SimulatedObjectStore& store, const std::string& key) { return store.get(key).value().size(); }

TEST_CASE("SimulatedObjectStore: without faults it does what a store does", "[simulated_object_store]") {
  SimulatedObjects objects(1, no_faults);
  SimulatedObjectStore store(objects);
  CHECK(store.put_if_absent("a/1", bytes_of("x")) == PutOutcome::stored);
  CHECK(store.put_if_absent("a/1", bytes_of("other")) == PutOutcome::was_there);
  CHECK(size_of(store, "a/1") == 1);
  store.put("a/1", bytes_of("abc"));
  store.put("b", bytes_of("x"));
  store.put("a/2", bytes_of("x"));
  CHECK(store.head("a/1") == 3U);
  CHECK(store.get("a/1", 1, 10).value().size() == 2);
  CHECK(store.get("a/1", 7, 10).value().empty());
  CHECK(store.list("a/", "", 10) == std::vector<std::string>{"a/1", "a/2"});
  CHECK(store.list("a/", "a/1", 10) == std::vector<std::string>{"a/2"});
  CHECK(store.list("", "", 2) == std::vector<std::string>{"a/1", "a/2"});
  store.remove("a/1");
  store.remove("a/1");
  CHECK_FALSE(store.get("a/1"));
  CHECK_FALSE(store.head("a/1"));
  iqdb_test::require_kind(iqdb::PersistErrorKind::invalid_config, [&] { return store.get("../a"); });
}

TEST_CASE("SimulatedObjectStore: a put whose end is unknown was made, is made later, or never",
          "[simulated_object_store]") {
  std::set<std::string> fates;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    SimulatedObjects objects(seed, {.reply_lost = 3, .request_lost = 3, .delayed = 3, .repeated = 3, .client_dies = 0});
    SimulatedObjectStore store(objects);
    const PutOutcome outcome = store.put_if_absent("a", bytes_of("x"));
    const bool is_there = objects.objects().contains("a");
    objects.settle();
    const bool is_there_later = objects.objects().contains("a");
    const std::string told = outcome == PutOutcome::stored    ? "stored"
                             : outcome == PutOutcome::unknown ? "unknown"
                                                              : "was there";
    fates.insert(told + (is_there ? ", there" : is_there_later ? ", there later" : ", not there"));
  }
  CHECK(fates == std::set<std::string>{"stored, there", "unknown, there", "unknown, there later", "unknown, not there",
                                       "was there, there"});
}

TEST_CASE("SimulatedObjectStore: a client dies before or behind its request, and others go on",
          "[simulated_object_store]") {
  std::set<bool> is_there;
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    SimulatedObjects objects(seed, {.reply_lost = 0, .request_lost = 2, .delayed = 0, .repeated = 0, .client_dies = 1});
    SimulatedObjectStore store(objects);
    CHECK_THROWS_AS(store.put_if_absent("a", bytes_of("x")), iqdb::testing::ClientDied);
    is_there.insert(objects.objects().contains("a"));
    objects.calm();
    CHECK(store.put_if_absent("b", bytes_of("x")) == PutOutcome::stored);
  }
  CHECK(is_there.size() == 2);
}

TEST_CASE("SimulatedObjectStore: what is asked and has no answer is an error of the store",
          "[simulated_object_store]") {
  SimulatedObjects objects(1, {.reply_lost = 1, .request_lost = 0, .delayed = 0, .repeated = 0, .client_dies = 0});
  SimulatedObjectStore store(objects);
  std::size_t failures = 0;
  for (int at = 0; at < 100; ++at) {
    try {
      const auto found = store.get("a");
      CHECK_FALSE(found);
    } catch (const iqdb::PersistError& error) {
      CHECK(error.kind() == iqdb::PersistErrorKind::io);
      ++failures;
    }
  }
  CHECK(failures > 10);
  CHECK(failures < 90);
}

TEST_CASE("SimulatedObjectStore: an upload that nobody was told of is pending all the same",
          "[simulated_object_store]") {
  SimulatedObjects objects(1, {.reply_lost = 1, .request_lost = 0, .delayed = 0, .repeated = 0, .client_dies = 0});
  SimulatedObjectStore store(objects);
  iqdb_test::require_kind(iqdb::PersistErrorKind::io, [&] { return store.begin_upload("a"); });
  CHECK(objects.pending_uploads() == 1);
  objects.calm();
  const auto uploads = store.list_uploads("", {}, 10);
  REQUIRE(uploads.size() == 1);
  store.abort_upload(uploads.front());
  CHECK(objects.pending_uploads() == 0);
  CHECK(objects.aborted_uploads() == 1);
}

TEST_CASE(
    "SimulatedObjectStore: a completion is told, or it is unknown and was made, is made later, or never; or it was "
    "made "
    "before",
    "[simulated_object_store]") {
  std::set<std::string> fates;
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    SimulatedObjects objects(seed, no_faults);
    SimulatedObjectStore store(objects);
    const iqdb::ObjectUpload upload{.key = "a", .id = store.begin_upload("a")};
    const std::vector<iqdb::UploadedPart> parts = {
        {.number = 1, .tag = store.put_part(upload, 1, bytes_of("x")).value()}};
    objects.meet({.reply_lost = 3, .request_lost = 3, .delayed = 3, .repeated = 3, .client_dies = 0});
    std::string told = "unknown";
    try {
      told = store.complete_upload(upload, parts) == iqdb::UploadOutcome::completed ? "completed" : "absent";
    } catch (const iqdb::PersistError& error) {
      CHECK(error.kind() == iqdb::PersistErrorKind::io);
    }
    const bool is_there = objects.objects().contains("a");
    objects.settle();
    fates.insert(told + (is_there ? ", there" : objects.objects().contains("a") ? ", there later" : ", not there"));
  }
  CHECK(fates == std::set<std::string>{"completed, there", "absent, there", "unknown, there", "unknown, there later",
                                       "unknown, not there"});
}

}  // namespace of_simulated_object_store
