// Calls of an object from within one of its calls, as a callback may make them: they throw, and change nothing.
#include "iqdb/persist/call_under_way.hpp"

#include <functional>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/persist.hpp"
#include "support/catch.hpp"
#include "support/durable.hpp"
#include "support/expect_error.hpp"
#include "support/outcome.hpp"

namespace {

using iqdb_test::DurableDirectory;
using iqdb_test::DurableIndex;
using iqdb_test::Ids;
using iqdb_test::ids_of;
using iqdb_test::index_of;
using iqdb_test::insert_row;
using iqdb_test::outcome_of;

// What a callback may try to call.
std::vector<std::pair<std::string, std::function<void(DurableIndex&)>>> calls(const DurableDirectory& directory) {
  return {{"insert", [](DurableIndex& db) { insert_row(db, 9); }},
          {"upsert", [](DurableIndex& db) { db.upsert(9, std::span<const float>(iqdb_test::vector_of(9))); }},
          {"erase", [](DurableIndex& db) { db.erase(1); }},
          {"apply",
           [](DurableIndex& db) {
             iqdb::WriteBatch batch;
             batch.erase(1);
             db.apply(batch);
           }},
          {"index_mut", [](DurableIndex& db) { std::ignore = db.index_mut(); }},
          {"tune", [](DurableIndex& db) { db.tune([](iqdb::FlatIndex& index) { index.erase(1); }); }},
          {"sync", [](DurableIndex& db) { db.sync(); }},
          {"save", [](DurableIndex& db) { db.save(); }},
          {"checkpoint", [](DurableIndex& db) { db.checkpoint(); }},
          {"save_copy", [&directory](DurableIndex& db) { db.save_copy(directory.directory() / "copy.iqdb"); }},
          {"close", [](DurableIndex& db) { db.close(); }}};
}

}  // namespace

TEST_CASE("A call of an object by its own callback throws reentered and changes nothing", "[call_under_way]") {
  const DurableDirectory directory;
  for (const bool logged : {true, false}) {
    for (const auto& [name, call] : calls(directory)) {
      for (const bool checkpoint : {true, false}) {
        INFO(name << ", " << (logged ? "log on" : "log off"));
        directory.put({});
        DurableIndex* reached = nullptr;
        std::vector<std::string> outcomes;
        iqdb::PersistConfig config = logged ? directory.config() : directory.config_without_log();
        config.on_progress = [&, &called = call](const iqdb::Progress& /*progress*/) {
          if (reached != nullptr) {
            outcomes.push_back(outcome_of([&] {
              called(*reached);
              return 0;
            }));
          }
        };
        DurableIndex db = DurableIndex::open_with(index_of({1, 2}), config);
        insert_row(db, 3);
        reached = &db;
        checkpoint ? db.checkpoint() : db.save();
        reached = nullptr;
        REQUIRE_FALSE(outcomes.empty());
        for (const std::string& outcome : outcomes) {
          CHECK(outcome == "reentered");
        }
        CHECK(ids_of(db.index()) == Ids{1, 2, 3});
        insert_row(db, 4);
        db.save();
        db.close();
        CHECK(ids_of(directory.load().index()) == Ids{1, 2, 3, 4});
      }
    }
  }
}

TEST_CASE("A call that throws is no longer under way", "[call_under_way]") {
  bool mark = false;
  try {
    const iqdb::CallUnderWay call(mark);
    throw std::runtime_error("");
  } catch (const std::runtime_error&) {
  }
  CHECK_FALSE(mark);
  CHECK_NOTHROW(iqdb::CallUnderWay(mark));
}
