#include "iqdb/persist/wal/object_requests.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "iqdb/persist/error.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"
#include "support/object_logs.hpp"

namespace of_object_requests {

using iqdb::ObjectBytes;
using iqdb::ObjectOwner;
using iqdb::PersistErrorKind;
using iqdb::PutOutcome;
using iqdb_test::hasty_options;
using iqdb_test::require_kind;
using iqdb_test::ScriptedStore;

const std::string settled_key = iqdb::log_object_key("a", 3);

ObjectBytes fence_of(std::uint64_t nonce) {
  return iqdb::encode_log_object(
      {.nonce = nonce, .number = 3, .base_lsn = 0, .fence = 3, .history_id = 1, .kind = iqdb::LogObjectKind::fence},
      {});
}

ObjectOwner settle(ScriptedStore& store, const iqdb::ObjectLogOptions& options = hasty_options()) {
  return iqdb::settle_put(store, settled_key, 3, fence_of(1), options);
}

TEST_CASE("settle_put: a first answer that something is there may be the caller's own object", "[object_requests]") {
  ScriptedStore store;
  store.answer_put = [&](std::string_view key, std::span<const std::byte> bytes) {
    store.objects.emplace(key, ObjectBytes(bytes.begin(), bytes.end()));  // a client library that repeats by itself
    return std::optional(PutOutcome::was_there);
  };
  CHECK(settle(store) == ObjectOwner::self);
}

TEST_CASE("settle_put: another's object is another's", "[object_requests]") {
  ScriptedStore store;
  store.objects.emplace(settled_key, fence_of(2));
  CHECK(settle(store) == ObjectOwner::other);
  CHECK(store.objects.at(settled_key) == fence_of(2));
}

TEST_CASE("settle_put: an unknown end is asked again with the same bytes until it is known", "[object_requests]") {
  ScriptedStore store;
  std::vector<ObjectBytes> tried;
  std::vector<unsigned> pauses;
  store.answer_put = [&](std::string_view, std::span<const std::byte> bytes) {
    tried.emplace_back(bytes.begin(), bytes.end());
    return tried.size() < 3 ? std::optional(PutOutcome::unknown) : std::nullopt;
  };
  auto options = hasty_options();
  options.pause = [&](unsigned failures) { pauses.push_back(failures); };
  CHECK(settle(store, options) == ObjectOwner::self);
  CHECK(tried == std::vector<ObjectBytes>(3, fence_of(1)));
  CHECK(pauses == std::vector<unsigned>{1, 2});
}

TEST_CASE("settle_put: was there and a read that finds nothing conclude nothing", "[object_requests]") {
  ScriptedStore store;
  int puts = 0;
  store.answer_put = [&](std::string_view, std::span<const std::byte>) {
    return ++puts < 3 ? std::optional(PutOutcome::was_there) : std::nullopt;
  };
  CHECK(settle(store) == ObjectOwner::self);
  CHECK(puts == 3);
}

TEST_CASE("settle_put: gives up in words after so many attempts", "[object_requests]") {
  ScriptedStore store;
  int puts = 0;
  store.answer_put = [&](std::string_view, std::span<const std::byte>) {
    ++puts;
    return std::optional(PutOutcome::unknown);
  };
  const auto error = require_kind(PersistErrorKind::io, [&] { return settle(store); });
  CHECK(puts == 4);
  CHECK(std::string(error.what()).find("after 4 attempts it is not known") != std::string::npos);
  CHECK(std::string(error.what()).find(settled_key) != std::string::npos);
}

TEST_CASE("settle_put: what is there must be an object of the log", "[object_requests]") {
  ScriptedStore store;
  store.objects.emplace(settled_key, ObjectBytes(64));
  require_kind(PersistErrorKind::log_corrupted, [&] { return settle(store); });
}

TEST_CASE("asked_again: repeats what has no answer and nothing else", "[object_requests]") {
  int calls = 0;
  CHECK(iqdb::asked_again(hasty_options(), [&] {
          if (++calls < 4) {
            iqdb::throw_persist_error(PersistErrorKind::io, "no answer");
          }
          return calls;
        }) == 4);
  calls = 0;
  const auto never = [&]() -> int {
    ++calls;
    iqdb::throw_persist_error(PersistErrorKind::io, "no answer");
  };
  require_kind(PersistErrorKind::io, [&] { return iqdb::asked_again(hasty_options(), never); });
  CHECK(calls == 4);
  calls = 0;
  const auto refuses = [&]() -> int {
    ++calls;
    iqdb::throw_persist_error(PersistErrorKind::invalid_config, "no");
  };
  require_kind(PersistErrorKind::invalid_config, [&] { return iqdb::asked_again(hasty_options(), refuses); });
  CHECK(calls == 1);
}

TEST_CASE("random_nonce: does not repeat itself", "[object_requests]") {
  std::set<std::uint64_t> seen;
  for (int at = 0; at < 100; ++at) {
    seen.insert(iqdb::random_nonce());
  }
  CHECK(seen.size() == 100);
}

}  // namespace of_object_requests
