// load_or_create with an empty index, and what does not fit the file that is there.
#include "iqdb/persist/wal/opening.hpp"

#include <string>

#include "iqdb/persist.hpp"
#include "support/catch.hpp"
#include "support/durable.hpp"
#include "support/expect_error.hpp"

namespace {

using iqdb::DistanceMetric;
using iqdb::FlatIndex;
using iqdb::PersistErrorKind;
using iqdb_test::DurableDirectory;
using iqdb_test::DurableIndex;
using iqdb_test::FileSet;
using iqdb_test::Ids;
using iqdb_test::ids_of;
using iqdb_test::index_of;
using iqdb_test::insert_row;
using iqdb_test::require_kind;

}  // namespace

TEST_CASE("load_or_create with an index stores it the first time and loads the file afterwards", "[opening]") {
  const DurableDirectory directory;
  for (const bool logged : {true, false}) {
    directory.put({});
    const iqdb::PersistConfig config = logged ? directory.config() : directory.config_without_log();
    {
      DurableIndex db = DurableIndex::load_or_create(config, iqdb_test::empty_index());
      insert_row(db, 1);
      db.save();
    }
    CHECK(ids_of(DurableIndex::load_or_create(config, iqdb_test::empty_index()).index()) == Ids{1});
  }
}

TEST_CASE("load_or_create refuses a file of another dimension or metric and names both", "[opening]") {
  const DurableDirectory directory;
  { const DurableIndex db = directory.open_with(index_of({1})); }
  const FileSet before = directory.files();
  for (const auto& [other, name] : {std::pair(FlatIndex(3, DistanceMetric::euclidean), "dimension 3"),
                                    std::pair(FlatIndex(2, DistanceMetric::cosine), "metric cosine")}) {
    for (const bool logged : {true, false}) {
      const iqdb::PersistConfig config = logged ? directory.config() : directory.config_without_log();
      const iqdb::PersistError error = require_kind(PersistErrorKind::invalid_config, [&, &index = other] {
        return DurableIndex::load_or_create(config, FlatIndex(index));
      });
      const std::string message = error.what();
      CHECK(message.find("dimension 2 and metric euclidean") != std::string::npos);
      CHECK(message.find(name) != std::string::npos);
      CHECK(directory.files() == before);
    }
  }
}

TEST_CASE("A migration by load_or_create imports once", "[opening]") {
  const DurableDirectory directory;
  int imports = 0;
  for (std::uint64_t start = 0; start < 3; ++start) {
    DurableIndex db = DurableIndex::load_or_create(directory.config(), [&] {
      ++imports;
      return index_of({1, 2});
    });
    insert_row(db, 10 + start);
  }
  CHECK(imports == 1);
  CHECK(iqdb_test::load_in(directory).ids() == Ids{1, 2, 10, 11, 12});
}

TEST_CASE("log_bytes grows with the log and is small again after a checkpoint", "[opening]") {
  const DurableDirectory directory;
  DurableIndex db = directory.open_with(index_of({1}));
  CHECK(db.log_bytes() == 64);
  insert_row(db, 2);
  CHECK(db.log_bytes() == iqdb_test::frames_of(directory.log_bytes()).back().end);
  db.checkpoint();
  CHECK(db.log_bytes() == 64);
  db.close();
  CHECK(db.log_bytes() == 0);
  CHECK(DurableIndex::load(directory.config_without_log()).log_bytes() == 0);
}
