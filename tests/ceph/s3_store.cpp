// The store over S3 with a real server: what the concept promises, and a log whose writers and servers are killed and stopped.
//
// Which server is said by the environment: S3_ENDPOINT, S3_ACCESS_KEY, S3_SECRET_KEY, S3_REGION, S3_BUCKET, and S3_STYLE=host where
// the bucket stands in the name of the host. Everything is put below a prefix of its own, and deleted again. What kills daemons, or
// knows what Ceph answers, has the tag [ceph].
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <map>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "ceph/s3_place.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/storage/s3_object_store.hpp"
#include "iqdb/persist/wal/object_log.hpp"
#include "iqdb/persist/wal/object_run.hpp"
#include "iqdb/persist/wal/object_sweep.hpp"
#include "support/catch.hpp"
#include "support/child_process.hpp"
#include "support/expect_error.hpp"
#include "support/object_logs.hpp"
#include "support/object_store_semantics.hpp"

namespace with_s3 {

using iqdb::PersistErrorKind;
using iqdb::S3Config;
using iqdb::S3ObjectStore;
using iqdb_test::ChildProcess;
using iqdb_test::mentions;
using iqdb_test::object_bytes;
using iqdb_test::object_text;
using iqdb_test::Pipe;
using iqdb_test::require_kind;

// What a writer appended as the mutation `lsn`.
std::vector<std::byte> body_of(std::uint64_t writer, std::uint64_t lsn) {
  return iqdb_test::erase_of_id(writer * 1000000 + lsn);
}

// What writers were told to be durable: by LSN, the writer.
using Acknowledged = std::map<std::uint64_t, std::uint64_t>;

void take_lines(const std::string& lines, std::uint64_t writer, Acknowledged& into) {
  std::istringstream from(lines);
  for (std::uint64_t lsn = 0; from >> lsn;) {
    into[lsn] = writer;
  }
}

// Every acknowledged mutation must be in the log, in its place, as its writer wrote it.
void require_in_log(const iqdb::ObjectRun& run, const Acknowledged& acknowledged) {
  std::map<std::uint64_t, std::vector<std::byte>> found;
  for (const iqdb::LogObject& object : run.objects) {
    for (const iqdb::LogObjectFrame& frame : object.frames) {
      if (frame.mutations == 1) {
        const auto body = object.body(frame);
        found[frame.lsn].assign(body.begin(), body.end());
      }
    }
  }
  std::size_t missing = 0;
  for (const auto& [lsn, writer] : acknowledged) {
    missing += found.contains(lsn) && found.at(lsn) == body_of(writer, lsn) ? 0U : 1U;
  }
  CHECK(missing == 0);
}

constexpr int ended_fenced = 3;

// Appends until it is fenced or killed, and tells each LSN that is durable, in a line.
int write_on(const S3Config& config, std::uint64_t writer, bool take_over, const Pipe& tell) {
  S3ObjectStore store(config);
  iqdb::ObjectLogOptions options;
  options.most_attempts = 100;
  try {
    auto opened = iqdb::open_object_log(store, "index", take_over, options);
    for (;;) {
      const std::uint64_t lsn = opened.writer.position().next_lsn;
      const std::vector<std::vector<std::byte>> bodies = {body_of(writer, lsn), body_of(writer, lsn + 1)};
      const auto range = opened.writer.append(iqdb_test::spans_of(bodies));
      tell.write(std::to_string(range.first) + "\n" + std::to_string(range.last) + "\n");
    }
  } catch (const iqdb::PersistError& error) {
    return error.kind() == PersistErrorKind::fenced ? ended_fenced : 1;
  }
}

void wait(unsigned milliseconds) { std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds)); }

TEST_CASE("S3: the store does what the concept promises", "[store]") {
  Place place;
  iqdb_test::check_object_store(place.store());
}

TEST_CASE("S3: of many that put one key at once one stores", "[store]") {
  Place place;
  iqdb_test::check_races([&] { return S3ObjectStore(place.config()); }, 8, 50);
}

TEST_CASE("S3: a listing of more than a thousand keys goes on where it ended", "[store]") {
  Place place;
  std::vector<std::string> all;
  for (int number = 1000; number < 2010; ++number) {
    all.push_back("k/" + std::to_string(number));
    place.store().put(all.back(), {});
  }
  std::vector<std::string> keys;
  for (auto some = place.store().list("k/", "", 5000); !some.empty();
       some = place.store().list("k/", keys.back(), 5000)) {
    keys.insert(keys.end(), some.begin(), some.end());
  }
  CHECK(keys == all);
}

TEST_CASE("S3: a log is written, taken over, published and swept", "[store]") {
  Place place;
  S3ObjectStore& store = place.store();
  const std::vector<std::vector<std::byte>> bodies = {body_of(0, 1)};
  auto first = iqdb::open_object_log(store, "index", false);
  CHECK(first.writer.append(iqdb_test::spans_of(bodies)).last == 1);
  require_kind(PersistErrorKind::locked, [&] { return iqdb::open_object_log(store, "index", false); });

  S3ObjectStore other(place.config());
  auto second = iqdb::open_object_log(other, "index", true);
  CHECK(second.run.next_lsn() == 2);
  require_kind(PersistErrorKind::fenced, [&] { return first.writer.append(iqdb_test::spans_of(bodies)); });
  CHECK(second.writer.append(iqdb_test::spans_of(bodies)).last == 2);

  for (std::uint64_t lsn = 1; lsn <= 2; ++lsn) {
    const std::string key = "index/snapshot/" + std::to_string(lsn);
    other.put(key, object_bytes("a snapshot"));
    second.writer.publish({.key = key, .fingerprint = {}, .lsn = lsn});
  }
  const std::size_t before = store.list("index/", "", 1000).size();
  std::ignore = iqdb::sweep_object_log(store, "index", {});
  CHECK(store.list("index/", "", 1000).size() < before);
  const auto run = iqdb::read_object_run(store, "index", {});
  CHECK(run.next_lsn() == 3);
  CHECK(run.snapshot_lsn() == 2);
  second.writer.close();
  CHECK(iqdb::open_object_log(store, "index", false).run.next_lsn() == 3);
}

TEST_CASE("S3: what a writer was told before it was killed is in the log of who takes it over", "[store]") {
  Place place;
  Acknowledged acknowledged;
  constexpr std::uint64_t writers = 15;
  for (std::uint64_t writer = 1; writer <= writers; ++writer) {
    Pipe told;
    ChildProcess child([&] { return write_on(place.config(), writer, true, told); });
    told.close_writing();
    CHECK(told.wait_for_byte());  // the first digit of the first LSN
    wait(std::random_device()() % 150);
    child.kill();
    const std::string lines = told.read_all();
    // The digit that was read is in front of the rest: only whole lines behind it count.
    take_lines(lines.substr(std::min(lines.find('\n'), lines.size())), writer, acknowledged);
    require_in_log(iqdb::read_object_run(place.store(), "index", {}), acknowledged);
  }
  INFO(acknowledged.size() << " acknowledged");
  CHECK(acknowledged.size() > writers);
}

TEST_CASE("S3: a writer that was stopped, taken over and continued is told nothing any more", "[store]") {
  Place place;
  Acknowledged acknowledged;
  constexpr std::uint64_t rounds = 10;
  for (std::uint64_t round = 1; round <= rounds; ++round) {
    Pipe told;
    ChildProcess child([&] { return write_on(place.config(), round, true, told); });
    told.close_writing();
    CHECK(told.wait_for_byte());
    wait(std::random_device()() % 100);
    ::kill(child.id(), SIGSTOP);
    // A request may be under way. The fence comes before or behind it, and what is told later depends on which.
    auto opened = iqdb::open_object_log(place.store(), "index", true);
    const std::uint64_t end = opened.run.next_lsn();
    const std::vector<std::vector<std::byte>> bodies = {body_of(100 + round, end)};
    CHECK(opened.writer.append(iqdb_test::spans_of(bodies)).first == end);
    ::kill(child.id(), SIGCONT);
    const std::string lines = told.read_all();
    CHECK(child.wait() == ended_fenced);
    Acknowledged by_child;
    take_lines(lines.substr(std::min(lines.find('\n'), lines.size())), round, by_child);
    CHECK((by_child.empty() || by_child.rbegin()->first < end));
    acknowledged.insert(by_child.begin(), by_child.end());
    acknowledged[end] = 100 + round;
    require_in_log(iqdb::read_object_run(place.store(), "index", {}), acknowledged);
  }
}

TEST_CASE("S3: nothing that was told is lost when daemons of Ceph are killed and started again", "[ceph]") {
  const std::string directory = variable("CEPH_DIRECTORY");
  Place place;
  Acknowledged acknowledged;
  Pipe told;
  ChildProcess child([&] { return write_on(place.config(), 1, true, told); });
  told.close_writing();
  CHECK(told.wait_for_byte());
  for (const char* daemon : {"rgw", "rgw", "osd", "rgw"}) {
    wait(300);
    pid_t id = 0;
    std::ifstream(directory + "/" + daemon + ".pid") >> id;
    REQUIRE(id > 1);
    ::kill(id, SIGKILL);
    wait(100);
    // NOLINTNEXTLINE(cert-env33-c): it is this directory's own script
    CHECK(std::system(("'" + variable("CEPH_START") + "' '" + directory + "' >/dev/null").c_str()) == 0);
  }
  wait(2000);  // the writer pauses up to five seconds between two attempts
  child.kill();
  const std::string lines = told.read_all();
  take_lines(lines.substr(std::min(lines.find('\n'), lines.size())), 1, acknowledged);
  CHECK(acknowledged.size() > 100);
  require_in_log(iqdb::read_object_run(place.store(), "index", {}), acknowledged);
}

TEST_CASE("S3: Ceph's refusals are told in words, and no secret is", "[ceph]") {
  Place place;
  place.store().put("k", object_bytes("x"));
  const auto refused = [&](const std::function<void(S3Config&)>& change, const std::string& code) {
    S3Config config = place.config();
    change(config);
    S3ObjectStore store(config);
    const std::vector<std::function<void()>> calls = {
        [&] { std::ignore = store.put_if_absent("k", object_bytes("x")); },
        [&] { store.put("k", object_bytes("x")); },
        [&] { std::ignore = store.get("k"); },
        [&] { std::ignore = store.get("k", 0, 1); },
        [&] { std::ignore = store.head("k"); },
        [&] { std::ignore = store.list("k", "", 1); },
        [&] { store.remove("k"); },
        [&] { std::ignore = store.begin_upload("k"); },
        [&] { std::ignore = store.list_uploads("k", {}, 1); }};
    for (const auto& call : calls) {
      const auto error = require_kind(PersistErrorKind::invalid_config, call);
      INFO(error.what());
      CHECK(mentions(error, code));
      CHECK(mentions(error, "request id tx"));
      CHECK_FALSE(mentions(error, variable("S3_SECRET_KEY")));
      CHECK_FALSE(mentions(error, "wrongsecret"));
    }
  };
  refused(
      [](S3Config& config) {
        config.credentials = iqdb::s3_fixed_credentials(variable("S3_ACCESS_KEY"), "wrongsecret");
      },
      "403 SignatureDoesNotMatch");
  refused([](S3Config& config) { config.credentials = iqdb::s3_fixed_credentials("nobody", "wrongsecret"); },
          "403 InvalidAccessKeyId");
  refused(
      [](S3Config& config) { config.now = [] { return std::chrono::system_clock::now() - std::chrono::hours(1); }; },
      "403 RequestTimeTooSkewed");
  refused([](S3Config& config) { config.bucket = "there-is-none"; }, "404 NoSuchBucket");
  CHECK(object_text(place.store().get("k")) == "x");
}

}  // namespace with_s3
