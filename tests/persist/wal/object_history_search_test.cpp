// Where the older states of an index on an object store are found, and what of the log leads from one to the next.
#include "iqdb/persist/wal/object_history_search.hpp"

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/object_storage.hpp"
#include "iqdb/persist/persisted_index.hpp"
#include "iqdb/persist/wal/log_object.hpp"
#include "iqdb/persist/wal/object_format.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"
#include "support/late_index.hpp"
#include "support/object_logs.hpp"

namespace of_object_history_search {

using iqdb::PersistErrorKind;
using iqdb_test::hasty_options;
using iqdb_test::LateIndex;
using iqdb_test::require_kind;
using iqdb_test::ScriptedStore;
using iqdb_test::WayToStore;

using Storage = iqdb::ObjectStorage<WayToStore>;
using Database = iqdb::PersistedIndex<LateIndex, Storage>;

// An index that keeps some states, with a checkpoint behind each vector.
struct IndexWithHistory {
  ScriptedStore store = {};
  Database database = Database::load_or_create(
      {.path = "index", .wal_enabled = true, .history = iqdb::HistoryPolicy::keep_last(2), .helper_threads = 0},
      LateIndex(), Storage(WayToStore(store), hasty_options()));

  void insert_and_checkpoint(std::uint64_t first, std::uint64_t last) {
    for (std::uint64_t id = first; id <= last; ++id) {
      database.insert(id, std::array<float, 1>{1.0F});
      database.checkpoint();
    }
  }

  [[nodiscard]] iqdb::FoundHistory found() { return iqdb::find_object_history(store, "index", hasty_options()); }

  // A fence in the place of the object at this number.
  void put_late_fence(std::uint64_t number, const iqdb::ObjectBytes& original) {
    const std::string key = iqdb::log_object_key("index", number);
    iqdb::LogObjectHeader header = iqdb::read_log_object_header(original, key, number);
    header.nonce += 1;
    header.fence = number;
    header.kind = iqdb::LogObjectKind::fence;
    store.objects.insert_or_assign(key, iqdb_test::object_of(header, {}));
  }
};

TEST_CASE("history_state_named: takes the name of a snapshot in the history apart", "[object_history_search]") {
  const auto name = iqdb::history_state_named("shop/vectors.001795936992345.history");
  REQUIRE(name);
  CHECK(name->index == "shop/vectors");
  CHECK(name->replaced_at == 1795936992345);
  for (const std::string_view other :
       {"shop/vectors", "vectors.001795936992345.history.wal", ".001795936992345.history",
        "vectors.00179593699234x.history", "vectors-001795936992345.history"}) {
    CAPTURE(other);
    CHECK_FALSE(iqdb::history_state_named(other));
  }
}

TEST_CASE("find_object_history: looks again where its list was swept meanwhile", "[object_history_search]") {
  IndexWithHistory index;
  index.insert_and_checkpoint(1, 1);
  bool is_asleep = false;
  index.store.before = [&](const std::string& call) {
    if (call.starts_with("get index/snapshot/history/") && !std::exchange(is_asleep, true)) {
      index.insert_and_checkpoint(2, 3);
    }
  };
  const auto found = index.found();
  CHECK(found.history.states.size() == 2);
  index.store.before = [](const std::string&) {};
}

TEST_CASE("read_older_run: a fence that came late where the state was swept says that it was given up",
          "[object_history_search]") {
  IndexWithHistory index;
  index.insert_and_checkpoint(1, 3);
  const iqdb::FoundHistory found = index.found();
  const auto before = index.store.objects;
  index.insert_and_checkpoint(4, 8);
  const std::uint64_t begin = found.history.states.front().checkpoint.begin;
  index.store.objects.insert(before.begin(), before.end());  // as if the sweep had only begun
  index.put_late_fence(begin, before.at(iqdb::log_object_key("index", begin)));
  const auto error = require_kind(PersistErrorKind::log_mismatch, [&] {
    return iqdb::read_older_run(index.store, "index", found, 0, hasty_options());
  });
  CHECK(std::string_view(error.what()).find("given") != std::string_view::npos);
}

TEST_CASE("read_older_run: damage to the log of a state that is kept is damage", "[object_history_search]") {
  IndexWithHistory index;
  index.insert_and_checkpoint(1, 3);
  const iqdb::FoundHistory found = index.found();
  const std::uint64_t begin = found.history.states.front().checkpoint.begin;
  index.put_late_fence(begin, index.store.objects.at(iqdb::log_object_key("index", begin)));
  require_kind(PersistErrorKind::log_corrupted,
               [&] { return iqdb::read_older_run(index.store, "index", found, 0, hasty_options()); });
}

}  // namespace of_object_history_search
