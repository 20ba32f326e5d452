#include "iqdb/persist/wal/object_log.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <new>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/storage/directory_object_store.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"
#include "support/object_logs.hpp"
#include "support/temporary_directory.hpp"

namespace of_object_log {

using iqdb::log_object_key;
using iqdb::LogObjectKind;
using iqdb::LsnRange;
using iqdb::ObjectBytes;
using iqdb::PersistErrorKind;
using iqdb::PutOutcome;
using iqdb_test::batch_of_erases;
using iqdb_test::erase_of_id;
using iqdb_test::hasty_options;
using iqdb_test::object_of;
using iqdb_test::require_kind;
using iqdb_test::ScriptedStore;

constexpr bool take_over = true;

template <class S>
auto open(S& store, bool takes_over = false) {
  return iqdb::open_object_log(store, "a", takes_over, hasty_options());
}

template <class W>
LsnRange append(W& writer, const std::vector<std::vector<std::byte>>& bodies) {
  return writer.append(iqdb_test::spans_of(bodies));
}

template <class W>
LsnRange append_one(W& writer) {
  return append(writer, {erase_of_id(1)});
}

iqdb::LogObjectHeader header_at(ScriptedStore& store, std::uint64_t number) {
  const std::string key = log_object_key("a", number);
  return iqdb::read_log_object_header(store.objects.at(key), key, number);
}

std::vector<LogObjectKind> kinds(ScriptedStore& store) {
  std::vector<LogObjectKind> all;
  for (std::uint64_t number = 0; number < store.objects.size(); ++number) {
    all.push_back(header_at(store, number).kind);
  }
  return all;
}

ObjectBytes late_fence(std::uint64_t number, std::uint64_t base_lsn, std::uint64_t history_id) {
  return object_of({.nonce = 99,
                    .number = number,
                    .base_lsn = base_lsn,
                    .fence = number,
                    .history_id = history_id,
                    .kind = LogObjectKind::fence},
                   {});
}

TEST_CASE("ObjectLogWriter: what it appends is read again, in order, in another process", "[object_log]") {
  const iqdb_test::TemporaryDirectory directory(iqdb_test::memory_directory());
  {
    iqdb::DirectoryObjectStore store(directory.path());
    auto opened = open(store);
    CHECK(opened.run.objects.empty());
    CHECK(append(opened.writer, {erase_of_id(1), batch_of_erases(3)}) == LsnRange{.first = 1, .last = 4});
    CHECK(append_one(opened.writer) == LsnRange{.first = 5, .last = 5});
    opened.writer.close();
  }
  iqdb::DirectoryObjectStore store(directory.path());
  const auto opened = open(store);
  REQUIRE(opened.run.objects.size() == 4);
  CHECK(opened.run.objects[1].frames.size() == 2);
  CHECK(opened.run.next_lsn() == 6);
  CHECK(opened.writer.position().fence == 4);
  CHECK(opened.writer.position().next_number == 5);
  CHECK(opened.writer.position().next_lsn == 6);
  CHECK(opened.writer.position().history_id == opened.run.objects[0].header.history_id);
}

TEST_CASE("ObjectLogWriter: each object has a number, the fence of its writer and a nonce of its own", "[object_log]") {
  ScriptedStore store;
  auto opened = open(store);
  append_one(opened.writer);
  append_one(opened.writer);
  opened.writer.publish({.key = "a/snapshot/0-1", .fingerprint = {}, .lsn = 1});
  opened.writer.close();
  auto next = open(store);
  append_one(next.writer);
  CHECK(kinds(store) == std::vector{LogObjectKind::fence, LogObjectKind::frames, LogObjectKind::frames,
                                    LogObjectKind::checkpoint, LogObjectKind::close, LogObjectKind::fence,
                                    LogObjectKind::frames});
  std::set<std::uint64_t> nonces;
  for (std::uint64_t number = 0; number < store.objects.size(); ++number) {
    nonces.insert(header_at(store, number).nonce);
    CHECK(header_at(store, number).fence == (number < 5 ? 0U : 5U));
    CHECK(header_at(store, number).history_id == header_at(store, 0).history_id);
  }
  CHECK(nonces.size() == store.objects.size());
  CHECK(header_at(store, 6).base_lsn == 2);
}

TEST_CASE("open_object_log: a log that was not closed is left as it is unless it may be taken over", "[object_log]") {
  ScriptedStore store;
  auto first = open(store);
  const auto refused_at = [&](std::uint64_t objects) {
    const auto error = require_kind(PersistErrorKind::locked, [&] { return open(store); });
    CHECK(std::string(error.what()).find("take_over") != std::string::npos);
    CHECK(store.objects.size() == objects);
  };
  refused_at(1);
  append_one(first.writer);
  refused_at(2);
  const auto second = open(store, take_over);
  CHECK(second.run.next_lsn() == 2);
  refused_at(3);
}

TEST_CASE("ObjectLogWriter: whose log was taken over is told once that it is fenced and then that it is poisoned",
          "[object_log]") {
  ScriptedStore store;
  auto first = open(store);
  append_one(first.writer);
  auto second = open(store, take_over);
  const auto error = require_kind(PersistErrorKind::fenced, [&] { return append_one(first.writer); });
  CHECK(std::string(error.what()).find("at number 2") != std::string::npos);
  CHECK_FALSE(first.writer.usable());
  require_kind(PersistErrorKind::poisoned, [&] { return append_one(first.writer); });
  require_kind(PersistErrorKind::poisoned, [&] { first.writer.close(); });
  require_kind(PersistErrorKind::poisoned, [&] { first.writer.publish({.key = "a/b", .fingerprint = {}, .lsn = 1}); });
  CHECK(append_one(second.writer) == LsnRange{.first = 2, .last = 2});
  CHECK(kinds(store).size() == 4);
}

TEST_CASE("open_object_log: a fence that was put at a swept number is none, and the opening begins anew",
          "[object_log]") {
  ScriptedStore store;
  auto first = open(store);
  append_one(first.writer);
  bool has_gone_on = false;
  store.before = [&](const std::string& call) {
    if (call == "put " + log_object_key("a", 2) && !std::exchange(has_gone_on, true)) {
      // While the opener sleeps, the writer goes on and sweeps what the opener has listed, and the number behind.
      append_one(first.writer);
      first.writer.publish({.key = "a/snapshot/0-1", .fingerprint = {}, .lsn = 2});
      store.objects.erase(log_object_key("a", 1));
      store.objects.erase(log_object_key("a", 2));
    }
  };
  const auto second = open(store, take_over);
  CHECK(has_gone_on);
  CHECK(second.writer.position().fence == 4);
  CHECK(second.writer.position().next_lsn == 3);
  require_kind(PersistErrorKind::fenced, [&] { return append_one(first.writer); });
}

TEST_CASE("open_object_log: who loses the race for the fence begins anew, the condition of opening included",
          "[object_log]") {
  for (const bool takes_over : {false, true}) {
    ScriptedStore store;
    open(store).writer.close();
    bool has_raced = false;
    store.before = [&](const std::string& call) {
      if (call == "put " + log_object_key("a", 2) && !std::exchange(has_raced, true)) {
        store.objects.emplace(log_object_key("a", 2), late_fence(2, 0, header_at(store, 0).history_id));
      }
    };
    if (takes_over) {
      CHECK(open(store, take_over).writer.position().fence == 3);
    } else {
      require_kind(PersistErrorKind::locked, [&] { return open(store); });
      CHECK(store.objects.size() == 3);
    }
    CHECK(has_raced);
  }
}

TEST_CASE("open_object_log: gives up in words if others are always faster", "[object_log]") {
  ScriptedStore store;
  std::uint64_t races = 0;
  store.before = [&](const std::string& call) {
    if (call == "put " + log_object_key("a", races)) {
      store.objects.emplace(log_object_key("a", races), late_fence(races, 0, 1));
      ++races;
    }
  };
  const auto error = require_kind(PersistErrorKind::locked, [&] { return open(store, take_over); });
  CHECK(races == 5);
  CHECK(std::string(error.what()).find("another one was faster") != std::string::npos);
}

TEST_CASE("open_object_log: a store that ignores the condition of a put is refused", "[object_log]") {
  ScriptedStore store;
  store.answer_put = [&](std::string_view key, std::span<const std::byte> bytes) {
    store.objects.insert_or_assign(std::string(key), ObjectBytes(bytes.begin(), bytes.end()));
    return std::optional(PutOutcome::stored);
  };
  const auto error = require_kind(PersistErrorKind::unsupported, [&] { return open(store); });
  CHECK(std::string(error.what()).find("overwrite one another") != std::string::npos);
}

TEST_CASE("open_object_log: a store that does not say whether it honours the condition is asked again",
          "[object_log]") {
  for (const int unknown : {3, 4}) {
    ScriptedStore store;
    int puts = 0;
    store.answer_put = [&](std::string_view, std::span<const std::byte>) {
      ++puts;  // the first one stores the fence
      return puts > 1 && puts <= 1 + unknown ? std::optional(PutOutcome::unknown) : std::nullopt;
    };
    if (unknown < 4) {
      CHECK(open(store).writer.usable());
      CHECK(puts == 5);
    } else {
      require_kind(PersistErrorKind::io, [&] { return open(store); });
      CHECK(puts == 6);  // the log is closed again
      CHECK(open(store).run.is_closed());
    }
  }
}

TEST_CASE("open_object_log: a name that makes no valid key is refused", "[object_log]") {
  ScriptedStore store;
  for (const char* name : {"", "../a", "a/", "/a"}) {
    require_kind(PersistErrorKind::invalid_config,
                 [&] { return iqdb::open_object_log(store, name, false, hasty_options()); });
  }
  CHECK(store.calls.empty());
}

TEST_CASE("ObjectLogWriter: who does not know what became of an object writes nothing more", "[object_log]") {
  ScriptedStore store;
  auto opened = open(store);
  append_one(opened.writer);
  int puts = 0;
  store.answer_put = [&](std::string_view, std::span<const std::byte>) {
    ++puts;
    return std::optional(PutOutcome::unknown);
  };
  require_kind(PersistErrorKind::io, [&] { return append_one(opened.writer); });
  CHECK(puts == 4);
  store.answer_put = {};
  CHECK_FALSE(opened.writer.usable());
  const auto error = require_kind(PersistErrorKind::poisoned, [&] { return append_one(opened.writer); });
  CHECK(std::string(error.what()).find("object 2 was stored") != std::string::npos);
  CHECK(store.objects.size() == 2);
}

TEST_CASE("ObjectLogWriter: an exception of the store leaves it unusable too", "[object_log]") {
  ScriptedStore store;
  auto opened = open(store);
  store.answer_put = [](std::string_view, std::span<const std::byte>) -> std::optional<PutOutcome> {
    throw std::bad_alloc();
  };
  CHECK_THROWS_AS(append_one(opened.writer), std::bad_alloc);
  store.answer_put = {};
  require_kind(PersistErrorKind::poisoned, [&] { return append_one(opened.writer); });
}

TEST_CASE("ObjectLogWriter: what is wrong with a call is told before anything is written", "[object_log]") {
  ScriptedStore store;
  auto opened = open(store);
  append_one(opened.writer);
  const std::size_t calls = store.calls.size();
  require_kind(PersistErrorKind::invalid_payload, [&] { return append(opened.writer, {{std::byte{99}}}); });
  require_kind(PersistErrorKind::invalid_payload, [&] { return append(opened.writer, {}); });
  const auto close_body = iqdb::bytes_of([](iqdb::Writer& to) { iqdb::write_close(to); });
  require_kind(PersistErrorKind::invalid_payload, [&] { return append(opened.writer, {erase_of_id(1), close_body}); });
  const auto checkpoint_body = iqdb::bytes_of([](iqdb::Writer& to) { iqdb::write_checkpoint(to, {}, 1); });
  require_kind(PersistErrorKind::invalid_payload, [&] { return append(opened.writer, {checkpoint_body}); });
  require_kind(PersistErrorKind::invalid_config,
               [&] { opened.writer.publish({.key = "../b", .fingerprint = {}, .lsn = 1}); });
  require_kind(PersistErrorKind::invalid_config,
               [&] { opened.writer.publish({.key = "a/b", .fingerprint = {}, .lsn = 2}); });
  CHECK(store.calls.size() == calls);
  CHECK(opened.writer.usable());
  CHECK(append_one(opened.writer) == LsnRange{.first = 2, .last = 2});
}

TEST_CASE("ObjectLogWriter: a log in which no number is left takes no mutation", "[object_log]") {
  ScriptedStore store;
  iqdb::ObjectLogWriter<ScriptedStore> writer(
      store, "a", {.fence = 0, .next_number = 1, .next_lsn = iqdb::largest_lsn, .history_id = 1}, hasty_options());
  require_kind(PersistErrorKind::record_too_large, [&] { return append(writer, {batch_of_erases(2)}); });
  CHECK(store.objects.empty());
  CHECK(append(writer, {batch_of_erases(1)}) == LsnRange{.first = iqdb::largest_lsn, .last = iqdb::largest_lsn});
}

TEST_CASE("ObjectLogWriter: of two that go on from one state one is fenced", "[object_log]") {
  ScriptedStore store;
  auto opened = open(store);
  iqdb::ObjectLogWriter<ScriptedStore> twin(store, "a", opened.writer.position(), hasty_options());
  append_one(opened.writer);
  require_kind(PersistErrorKind::fenced, [&] { return append_one(twin); });
}

TEST_CASE("ObjectLogWriter: the child of a fork writes nothing", "[object_log]") {
  ScriptedStore store;
  auto opened = open(store);
  const pid_t child = ::fork();
  REQUIRE(child != -1);
  if (child == 0) {
    int code = 1;
    try {
      append_one(opened.writer);
    } catch (const iqdb::PersistError& error) {
      code = error.kind() == PersistErrorKind::poisoned && store.objects.size() == 1 ? 0 : 2;
    }
    ::_exit(code);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  CHECK(append_one(opened.writer) == LsnRange{.first = 1, .last = 1});
}

}  // namespace of_object_log
