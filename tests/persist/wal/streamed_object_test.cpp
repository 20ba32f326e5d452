#include "iqdb/persist/wal/streamed_object.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/wal/object_requests.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"
#include "support/object_logs.hpp"

namespace of_streamed_object {

using iqdb::ObjectBytes;
using iqdb::PersistErrorKind;
using iqdb_test::hasty_options;
using iqdb_test::require_kind;
using iqdb_test::ScriptedStore;
using iqdb_test::WayToStore;
using Streamed = iqdb::StreamedObject<WayToStore>;

constexpr std::size_t part_bytes = 100;

[[nodiscard]] iqdb::ObjectLogOptions in_parts() {
  iqdb::ObjectLogOptions options = hasty_options();
  options.part_bytes = part_bytes;
  options.parts_in_flight = 0;
  return options;
}

[[nodiscard]] ObjectBytes some_bytes(std::size_t count) {
  ObjectBytes bytes(count);
  for (std::size_t at = 0; at < count; ++at) {
    bytes[at] = static_cast<std::byte>((at * 7 + at / 251) & 0xFFU);
  }
  return bytes;
}

[[nodiscard]] std::vector<std::string> calls_of(const ScriptedStore& store) {
  std::vector<std::string> calls;
  for (const std::string& call : store.calls) {
    calls.push_back(call.substr(0, call.rfind(' ')));
  }
  return calls;
}

TEST_CASE("StreamedObject: what is no larger than a part is one put", "[streamed_object]") {
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, part_bytes}) {
    ScriptedStore store;
    Streamed object(WayToStore(store), "k", in_parts());
    const ObjectBytes bytes = some_bytes(size);
    object.append(bytes);
    CHECK(store.calls.empty());
    object.finish();
    CHECK(store.calls == std::vector<std::string>{"put k"});
    CHECK(store.objects.at("k") == bytes);
  }
}

TEST_CASE("StreamedObject: what is larger goes in parts, the first of them last", "[streamed_object]") {
  ScriptedStore store;
  Streamed object(WayToStore(store), "k", in_parts());
  const ObjectBytes bytes = some_bytes(3 * part_bytes + 1);
  object.append(bytes);
  CHECK(calls_of(store) == std::vector<std::string>{"begin", "part 2 of", "part 3 of"});
  object.finish();
  CHECK(calls_of(store) ==
        std::vector<std::string>{"begin", "part 2 of", "part 3 of", "part 4 of", "part 1 of", "complete"});
  CHECK(store.objects.at("k") == bytes);
  CHECK(object.size() == bytes.size());
}

TEST_CASE("StreamedObject: bytes come back in their order, in whatever pieces they were appended",
          "[streamed_object]") {
  for (const std::size_t piece : {std::size_t{1}, part_bytes - 1, part_bytes, 3 * part_bytes + 7}) {
    for (const unsigned threads : {0U, 3U}) {
      for (std::size_t size = 2 * part_bytes; size <= 2 * part_bytes + 1; ++size) {
        ScriptedStore store;
        iqdb::ObjectLogOptions options = in_parts();
        const ObjectBytes bytes = some_bytes(size);
        {
          // One thread at a time may use this store.
          options.parts_in_flight = threads == 0 ? 0U : 1U;
          Streamed object(WayToStore(store), "k", options);
          for (std::size_t at = 0; at < size; at += piece) {
            object.append(std::span(bytes).subspan(at, std::min(piece, size - at)));
          }
          object.finish();
        }
        CHECK((store.objects.at("k") == bytes));
        CHECK(store.uploads.empty());
      }
    }
  }
}

TEST_CASE("StreamedObject: the beginning is overwritten before it is stored", "[streamed_object]") {
  ScriptedStore store;
  Streamed object(WayToStore(store), "k", in_parts());
  ObjectBytes bytes = some_bytes(2 * part_bytes + 1);
  object.append(bytes);
  CHECK(object.beginning().size() == part_bytes);
  const ObjectBytes other(10, std::byte{0xAA});
  object.overwrite(3, other);
  std::ranges::copy(other, bytes.begin() + 3);
  object.finish();
  CHECK(store.objects.at("k") == bytes);
}

TEST_CASE("StreamedObject: what lies behind the first part cannot be overwritten", "[streamed_object]") {
  ScriptedStore store;
  Streamed object(WayToStore(store), "k", in_parts());
  object.append(some_bytes(2 * part_bytes));
  require_kind(PersistErrorKind::invalid_config, [&] { object.overwrite(part_bytes - 1, some_bytes(2)); });
  require_kind(PersistErrorKind::invalid_config, [&] { object.overwrite(part_bytes + 1, {}); });
}

TEST_CASE("StreamedObject: one that is not finished is aborted, and nothing is there", "[streamed_object]") {
  ScriptedStore store;
  {
    Streamed object(WayToStore(store), "k", in_parts());
    object.append(some_bytes(5 * part_bytes));
    CHECK(store.uploads.size() == 1);
  }
  CHECK(store.uploads.empty());
  CHECK(store.objects.empty());
}

TEST_CASE("StreamedObject: where the store does not even answer an abort, its destructor throws nothing",
          "[streamed_object]") {
  ScriptedStore store;
  {
    Streamed object(WayToStore(store), "k", in_parts());
    object.append(some_bytes(3 * part_bytes));
    store.before = [](const std::string& call) {
      if (call == "abort k") {
        iqdb::throw_persist_error(PersistErrorKind::io, "the store does not answer");
      }
    };
  }
  CHECK(store.uploads.size() == 1);
}

TEST_CASE("StreamedObject: one that others have ended is not published", "[streamed_object]") {
  for (const char* before : {"part 3 of k", "part 1 of k", "complete k"}) {
    CAPTURE(before);
    ScriptedStore store;
    store.before = [&](const std::string& call) {
      if (call == before) {
        store.uploads.clear();
      }
    };
    Streamed object(WayToStore(store), "k", in_parts());
    const auto error = require_kind(PersistErrorKind::io, [&] {
      object.append(some_bytes(3 * part_bytes));
      object.finish();
    });
    CHECK(iqdb_test::mentions(error, "has ended before it was whole"));
    CHECK(store.objects.empty());
  }
}

TEST_CASE("StreamedObject: a completion whose answer was lost counts if the object is there", "[streamed_object]") {
  ScriptedStore store;
  bool is_lost = false;
  Streamed object(WayToStore(store), "k", in_parts());
  const ObjectBytes bytes = some_bytes(3 * part_bytes);
  object.append(bytes);
  store.before = [&](const std::string& call) {
    if (call == "complete k" && !std::exchange(is_lost, true)) {
      // It is carried out, and its answer lost. The second one finds no upload.
      store.objects["k"] = bytes;
      store.uploads.clear();
      iqdb::throw_persist_error(PersistErrorKind::io, "the store does not answer");
    }
  };
  CHECK_NOTHROW(object.finish());
  CHECK(calls_of(store).back() == "head");
}

TEST_CASE("StreamedObject: what failed is sent again", "[streamed_object]") {
  ScriptedStore store;
  unsigned number = 0;
  store.before = [&](const std::string&) {
    if (++number % 2 == 1) {
      iqdb::throw_persist_error(PersistErrorKind::io, "the store does not answer");
    }
  };
  Streamed object(WayToStore(store), "k", in_parts());
  const ObjectBytes bytes = some_bytes(4 * part_bytes + 5);
  object.append(bytes);
  object.finish();
  CHECK(store.objects.at("k") == bytes);
}

// A store without uploads.
struct WithoutUploads {
  ScriptedStore* store;

  iqdb::PutOutcome put_if_absent(std::string_view key, std::span<const std::byte> bytes) {
    return store->put_if_absent(key, bytes);
  }
  void put(std::string_view key, std::span<const std::byte> bytes) { store->put(key, bytes); }
  std::optional<ObjectBytes> get(std::string_view key) { return store->get(key); }
  std::optional<ObjectBytes> get(std::string_view key, std::uint64_t offset, std::size_t count) {
    return store->get(key, offset, count);
  }
  std::optional<std::uint64_t> head(std::string_view key) { return store->head(key); }
  std::vector<std::string> list(std::string_view prefix, std::string_view behind, std::size_t most) {
    return store->list(prefix, behind, most);
  }
  void remove(std::string_view key) { store->remove(key); }
};

static_assert(iqdb::ObjectStore<WithoutUploads> && !iqdb::UploadsObjects<WithoutUploads>);

TEST_CASE("StreamedObject: in a store without uploads it is one put, whatever its size", "[streamed_object]") {
  ScriptedStore store;
  iqdb::StreamedObject<WithoutUploads> object({&store}, "k", in_parts());
  const ObjectBytes bytes = some_bytes(10 * part_bytes);
  object.append(bytes);
  object.finish();
  CHECK(store.calls == std::vector<std::string>{"put k"});
  CHECK(store.objects.at("k") == bytes);
}

// What a store takes, and the largest part, of an object that has so many bytes.
struct Plan {
  std::uint64_t bytes = 0;
  std::uint64_t largest = 0;
  std::uint32_t parts = 0;
};

[[nodiscard]] Plan plan_of(std::uint64_t bytes, const iqdb::PartLimits& limits) {
  const std::uint64_t usual = iqdb::ObjectLogOptions().part_bytes;
  Plan plan;
  while (plan.bytes < bytes && plan.parts < limits.most_parts) {
    const std::uint64_t part = iqdb::streamed_objects::part_bytes(++plan.parts, plan.bytes, usual, limits);
    CHECK(part >= plan.largest);
    plan.largest = part;
    plan.bytes += part;
  }
  return plan;
}

TEST_CASE("StreamedObject: parts grow so slowly that memory stays bounded, and so fast that there are enough of them",
          "[streamed_object]") {
  constexpr std::uint64_t gibibyte = std::uint64_t{1} << 30U;
  constexpr std::uint64_t mebibyte = std::uint64_t{1} << 20U;
  const iqdb::PartLimits limits{.least_bytes = 5 * mebibyte, .most_bytes = 5 * gibibyte, .most_parts = 10000};
  CHECK(plan_of(34 * gibibyte, limits).largest == 7 * mebibyte);
  // Two of these and the first one are as much as six of the usual ones.
  CHECK(plan_of(102 * gibibyte, limits).largest == 35 * mebibyte / 2);
  const Plan large = plan_of(1024 * gibibyte, limits);
  CHECK(large.bytes >= 1024 * gibibyte);
  CHECK(large.largest <= large.bytes / 200);
  CHECK(plan_of(3 * 1024 * gibibyte, limits).bytes >= 3 * 1024 * gibibyte);
}

TEST_CASE("StreamedObject: parts are as small and as large as the store takes", "[streamed_object]") {
  const iqdb::PartLimits limits{.least_bytes = 10, .most_bytes = 30, .most_parts = 10};
  using iqdb::streamed_objects::part_bytes;
  CHECK(part_bytes(1, 0, 1, limits) == 10);
  CHECK(part_bytes(1, 0, 20, limits) == 20);
  CHECK(part_bytes(1, 0, 40, limits) == 30);
  CHECK(part_bytes(6, 100, 20, limits) == 30);
  CHECK(part_bytes(10, 1000, 10, limits) == 30);
}

// A store that takes few parts.
struct FewParts : WayToStore {
  using WayToStore::WayToStore;
  [[nodiscard]] iqdb::PartLimits part_limits() const { return {.least_bytes = 1, .most_bytes = 10, .most_parts = 4}; }
};

TEST_CASE("StreamedObject: one that is larger than the store takes is refused, and aborted", "[streamed_object]") {
  ScriptedStore store;
  {
    iqdb::StreamedObject<FewParts> object(FewParts(store), "k", in_parts());
    object.append(some_bytes(40));
    require_kind(PersistErrorKind::invalid_config, [&] { object.append(some_bytes(1)); });
  }
  CHECK(store.uploads.empty());
}

}  // namespace of_streamed_object
