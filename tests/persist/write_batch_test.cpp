// Mutations that are logged together: after a crash all of them are there, or none.
#include "iqdb/persist/write_batch.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"
#include "support/catch.hpp"
#include "support/durable.hpp"
#include "support/expect_error.hpp"
#include "support/raw_log.hpp"

namespace {

using iqdb::WriteBatch;
using iqdb_test::ByteVector;
using iqdb_test::DurableDirectory;
using iqdb_test::DurableIndex;
using iqdb_test::FileSet;
using iqdb_test::frames_of;
using iqdb_test::Ids;
using iqdb_test::ids_of;
using iqdb_test::index_of;
using iqdb_test::insert_row;
using iqdb_test::load_in;
using iqdb_test::load_of;
using iqdb_test::log_name;
using iqdb_test::ops_of;
using iqdb_test::require_kind;
using iqdb_test::with_log;

}  // namespace

TEST_CASE("A new batch is empty and counts what is added", "[write_batch]") {
  WriteBatch batch;
  CHECK(batch.size() == 0);
  batch.insert(1, {1.0F, 2.0F});
  batch.erase(2);
  CHECK(batch.size() == 2);
  batch.clear();
  CHECK(batch.size() == 0);
}

TEST_CASE("A batch keeps its own copy of what is added", "[write_batch]") {
  std::vector<float> vector = {1.0F, 2.0F};
  WriteBatch batch;
  batch.insert(1, std::span<const float>(vector), {{"k", "v"}});
  vector[0] = 9.0F;
  const iqdb::Mutation& mutation = batch.mutations().at(0);
  CHECK(mutation.op == iqdb::FrameOp::insert);
  CHECK(mutation.id == iqdb::VectorId(1));
  CHECK(mutation.vector == std::vector<float>{1.0F, 2.0F});
  CHECK(mutation.metadata == iqdb::Metadata{{"k", "v"}});
}

TEST_CASE("A batch refuses metadata that cannot be stored when it is added", "[write_batch]") {
  WriteBatch batch;
  require_kind(iqdb::IndexErrorKind::invalid_config, [&] { batch.insert(1, {1.0F}, {{"k", "\xFF"}}); });
  CHECK(batch.size() == 0);
}

TEST_CASE("A batch is applied in its order", "[write_batch]") {
  for (const bool log : {true, false}) {
    const DurableDirectory directory;
    DurableIndex db =
        DurableIndex::open_with(index_of({1, 2}), log ? directory.config() : directory.config_without_log());
    WriteBatch batch;
    batch.erase(1);
    insert_row(batch, 3);
    insert_row(batch, 1);
    batch.erase(3);
    db.apply(batch);
    CHECK(ids_of(db.index()) == Ids{2, 1});
    if (log) {
      CHECK(db.lsn() == 4);
      CHECK(ops_of(directory.log_bytes()) == "b");
      CHECK(load_of(directory.files()).ids() == Ids{2, 1});
    }
  }
}

TEST_CASE("A batch can be applied again", "[write_batch]") {
  const DurableDirectory directory;
  DurableIndex db = directory.open_with();
  WriteBatch batch;
  insert_row(batch, 1);
  db.apply(batch);
  db.erase(1);
  db.apply(batch);
  CHECK(load_of(directory.files()).ids() == Ids{1});
}

TEST_CASE("Of a batch that rejects itself in part what comes before stays now and after a load", "[write_batch]") {
  const DurableDirectory directory;
  DurableIndex db = directory.open_with(index_of({1}));
  WriteBatch batch;
  insert_row(batch, 2);
  insert_row(batch, 2);  // no check can tell: it depends on the mutation before it
  insert_row(batch, 3);
  require_kind(iqdb::IndexErrorKind::duplicate, [&] { db.apply(batch); });
  CHECK(ids_of(db.index()) == Ids{1, 2});
  CHECK(db.lsn() == 3);
  insert_row(db, 3);
  const auto loaded = load_of(directory.files());
  CHECK(loaded.ids() == Ids{1, 2, 3});
  CHECK(loaded.report.aborted == 2);
  db.close();
  CHECK(load_in(directory).ids() == Ids{1, 2, 3});
}

TEST_CASE("A batch that is rejected at once leaves nothing", "[write_batch]") {
  const DurableDirectory directory;
  DurableIndex db = directory.open_with(index_of({1}));
  WriteBatch batch;
  batch.erase(7);
  insert_row(batch, 2);
  require_kind(iqdb::IndexErrorKind::not_found, [&] { db.apply(batch); });
  CHECK(load_of(directory.files()).ids() == Ids{1});
}

TEST_CASE("A batch that rejects itself with the log off keeps what comes before", "[write_batch]") {
  const DurableDirectory directory;
  DurableIndex db = DurableIndex::open_with(index_of({1}), directory.config_without_log());
  WriteBatch batch;
  insert_row(batch, 2);
  insert_row(batch, 2);
  require_kind(iqdb::IndexErrorKind::duplicate, [&] { db.apply(batch); });
  CHECK(ids_of(db.index()) == Ids{1, 2});
}

TEST_CASE("A batch that is cut short anywhere is not there at all", "[write_batch]") {
  const DurableDirectory directory;
  DurableIndex db = directory.open_with(index_of({1}));
  insert_row(db, 2);
  WriteBatch batch;
  for (std::uint64_t id = 10; id < 30; ++id) {
    insert_row(batch, id);
  }
  db.apply(batch);
  const FileSet files = directory.files();
  const auto frames = frames_of(files.at(log_name));
  REQUIRE(frames.size() == 2);
  for (std::size_t size = frames[1].offset; size < frames[1].end; ++size) {
    ByteVector log = files.at(log_name);
    log.resize(size);
    const auto loaded = load_of(with_log(files, log));
    CHECK(loaded.ids() == Ids{1, 2});
  }
  CHECK(load_of(files).ids().size() == 22);
}

TEST_CASE("A batch of more than 256 MiB is refused and none of it is there", "[write_batch]") {
  const DurableDirectory directory;
  DurableIndex db = directory.open_with(index_of({1}));
  WriteBatch batch;
  insert_row(batch, 2);
  batch.insert(3, {1.0F, 2.0F}, {{"text", std::string(std::size_t{256} * 1024 * 1024, 'x')}});
  require_kind(iqdb::PersistErrorKind::record_too_large, [&] { db.apply(batch); });
  CHECK(ids_of(db.index()) == Ids{1});
  CHECK(db.lsn() == 0);
  insert_row(db, 2);
  CHECK(load_of(directory.files()).ids() == Ids{1, 2});
}
