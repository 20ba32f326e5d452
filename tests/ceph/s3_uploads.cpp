// Uploads in parts on a store over S3 with a real server: what the concept promises, snapshots that are written as a stream, and what
// becomes of uploads whose writers are killed and displaced.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <tuple>
#include <vector>

#include "ceph/s3_place.hpp"
#include "iqdb/index/flat.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/object_storage.hpp"
#include "iqdb/persist/persisted_index.hpp"
#include "iqdb/persist/storage/s3_object_store.hpp"
#include "iqdb/persist/wal/object_log.hpp"
#include "iqdb/persist/wal/object_requests.hpp"
#include "iqdb/persist/wal/object_snapshot.hpp"
#include "iqdb/persist/wal/object_sweep.hpp"
#include "iqdb/persist/wal/streamed_object.hpp"
#include "support/catch.hpp"
#include "support/child_process.hpp"
#include "support/expect_error.hpp"
#include "support/object_store_semantics.hpp"

namespace of_s3_uploads {

using iqdb::PersistErrorKind;
using iqdb::S3ObjectStore;
using iqdb_test::mentions;
using iqdb_test::object_bytes;
using iqdb_test::object_text;
using iqdb_test::require_kind;
using with_s3::Place;

TEST_CASE("S3: uploads in parts do what the concept promises", "[store]") {
  Place place;
  iqdb_test::check_object_uploads(place.store());
}

TEST_CASE("S3: a part that is not the last one and has fewer than 5 MiB is refused", "[store]") {
  Place place;
  S3ObjectStore& store = place.store();
  const auto upload = iqdb_test::begin_upload(store, "k");
  const std::vector<iqdb::UploadedPart> parts = {iqdb_test::put_part(store, upload, 1, "small"),
                                                 iqdb_test::put_part(store, upload, 2, "small")};
  const auto error =
      require_kind(PersistErrorKind::invalid_config, [&] { std::ignore = store.complete_upload(upload, parts); });
  CHECK(mentions(error, "EntityTooSmall"));
  CHECK_FALSE(store.head("k"));
  store.abort_upload(upload);
}

TEST_CASE("S3: an upload that is completed twice leaves its object as it was", "[store]") {
  Place place;
  S3ObjectStore& store = place.store();
  const auto upload = iqdb_test::begin_upload(store, "k");
  const std::vector<iqdb::UploadedPart> parts = {iqdb_test::put_part(store, upload, 1, "only")};
  CHECK(store.complete_upload(upload, parts) == iqdb::UploadOutcome::completed);
  // Either answer may come, and the object decides.
  std::ignore = store.complete_upload(upload, parts);
  CHECK(object_text(store.get("k")) == "only");
  store.abort_upload(upload);
  CHECK(object_text(store.get("k")) == "only");
}

TEST_CASE("S3: parts go by several connections at the same time, and come back by ranges", "[store]") {
  Place place;
  iqdb::ObjectLogOptions options;
  options.part_bytes = std::uint64_t{5} << 20U;
  iqdb::StreamedObject<S3ObjectStore> object(place.store(), "k", options);
  std::string all;
  std::uint32_t state = 1;
  while (all.size() < (std::size_t{33} << 20U) + 5) {
    state = state * 1664525U + 1013904223U;
    all += static_cast<char>(static_cast<unsigned char>(state >> 24U));
  }
  constexpr std::size_t piece = 1000003;
  for (std::size_t at = 0; at < all.size(); at += piece) {
    object.append(object_bytes(std::string_view(all).substr(at, piece)));
  }
  std::string beginning = "the beginning, known at the end";
  object.overwrite(0, object_bytes(beginning));
  std::ranges::copy(beginning, all.begin());
  CHECK_FALSE(place.store().head("k"));
  object.finish();
  CHECK(place.store().head("k") == all.size());
  CHECK((object_text(place.store().get("k")) == all));
  iqdb::ObjectSnapshot<S3ObjectStore> read(place.store(), "k", all.size(), {});
  std::vector<std::byte> bytes(all.size());
  for (std::size_t at = 0; at < bytes.size();) {
    at += read.read_at(at, std::span(bytes).subspan(at));
  }
  CHECK((object_text(bytes) == all));
}

TEST_CASE("S3: uploads that were given up are swept, and their writer finds none", "[store]") {
  Place place;
  S3ObjectStore& store = place.store();
  auto opened = iqdb::open_object_log(store, "index", false);
  const auto upload = iqdb_test::begin_upload(store, iqdb::object_snapshot_key("index", 0, 1));
  const auto later = iqdb_test::begin_upload(store, iqdb::object_snapshot_key("index", 5, 1));
  const std::vector<iqdb::UploadedPart> parts = {iqdb_test::put_part(store, upload, 1, "x")};
  const auto swept = iqdb::sweep_object_log(store, "index", {});
  CHECK(iqdb::sweep_object_uploads(store, "index", 0, swept, {}) == 1);
  CHECK(store.list_uploads("index/", {}, 10) == std::vector{later});
  CHECK(store.complete_upload(upload, parts) == iqdb::UploadOutcome::absent);
  CHECK_FALSE(store.put_part(upload, 2, object_bytes("x")));
  CHECK_FALSE(store.head(upload.key));
  store.abort_upload(later);
}

using Storage = iqdb::ObjectStorage<S3ObjectStore>;
using Database = iqdb::PersistedIndex<iqdb::FlatIndex, Storage>;

constexpr std::size_t dimensions = 1000;
constexpr std::uint64_t vectors = 8000;  // 32 MB

[[nodiscard]] Database opened(const Place& place) {
  const iqdb::PersistConfig config{
      .path = "index", .wal_enabled = true, .fsync_policy = iqdb::FsyncPolicy::never(), .take_over = true};
  iqdb::ObjectLogOptions options;
  options.part_bytes = std::uint64_t{5} << 20U;
  const iqdb::FlatIndex empty(dimensions, iqdb::DistanceMetric::euclidean);
  return Database::load_or_create(config, empty, Storage(S3ObjectStore(place.config()), options));
}

void fill(Database& database) {
  std::vector<float> vector(dimensions, 1.0F);
  for (std::uint64_t id = 1; id <= vectors; ++id) {
    vector.front() = static_cast<float>(id);
    database.insert(id, vector);
  }
  database.sync();
}

TEST_CASE("S3: an index of several parts is stored and loaded", "[store]") {
  Place place;
  {
    Database database = opened(place);
    fill(database);
    database.checkpoint();
    CHECK(place.store().list_uploads("index/", {}, 10).empty());
  }
  const Database database = opened(place);
  CHECK(database.index().size() == vectors);
  CHECK(database.recovery().replayed == 0);
  CHECK(database.index().find(vectors)->vector.front() == static_cast<float>(vectors));
}

TEST_CASE("S3: uploads of writers that were killed are swept by the next one, and nothing is lost", "[store]") {
  Place place;
  {
    Database database = opened(place);
    fill(database);
  }
  constexpr int writers = 6;
  std::size_t left = 0;
  for (int writer = 0; writer < writers; ++writer) {
    iqdb_test::Pipe told;
    iqdb_test::ChildProcess child([&] {
      Database database = opened(place);
      told.write("x");
      for (;;) {
        database.checkpoint();
      }
      return 0;
    });
    told.close_writing();
    CHECK(told.wait_for_byte());
    std::this_thread::sleep_for(std::chrono::milliseconds(20 + std::random_device()() % 300));
    child.kill();
    left += place.store().list_uploads("index/", {}, 100).size();
  }
  INFO(left << " uploads were pending");
  Database database = opened(place);
  CHECK(database.index().size() == vectors);
  database.checkpoint();
  database.checkpoint();
  CHECK(place.store().list_uploads("index/", {}, 100).empty());
  CHECK(place.store().list("index/snapshot/0", "", 100).size() == 2);  // and their lists
}

}  // namespace of_s3_uploads
