// A forest of random-projection trees, an approximate index that the library does not know, is made durable.
//
//   forest/forest.hpp         the index, which knows nothing of files
//   forest/forest_index.hpp   what makes it an index of this library, and durable
//
// `forest --check` tests it: it saves, loads, damages and crashes it.
#include <iqdb/persist.hpp>
#include <iqdb/persist/testing/conformance.hpp>

#include <cstddef>
#include <cstdint>
#include <iostream>
#include <string_view>
#include <vector>

#include "forest/forest_index.hpp"

namespace {

void check() {
  const iqdb::testing::Subject<ForestIndex> subject{.make = [] { return ForestIndex(4, 3); }};
  std::cout << "forest: " << to_string(iqdb::testing::check_persistable(subject, {.lives = 1})) << "\n";
}

// A point on a curve in space, so that neighbours have neighbouring numbers.
std::vector<float> point(int number) {
  const auto t = static_cast<float>(number) / 100.0F;
  return {t, t * t / 10.0F, 1.0F / (1.0F + t)};
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc == 2 && std::string_view(argv[1]) == "--check") {
      check();
      return 0;
    }
    using Database = iqdb::PersistedIndex<ForestIndex>;
    const iqdb::PersistConfig config{.path = "forest.iqdb", .wal_enabled = true};
    const auto make = [] { return ForestIndex(3); };
    {
      auto db = Database::load_or_create(config, make);
      if (db.index().size() == 0) {
        iqdb::WriteBatch batch;
        for (int number = 0; number < 1000; ++number) {
          batch.insert(number, point(number), {{"even", number % 2 == 0}});
        }
        db.apply(batch);
        db.checkpoint();
        db.erase(500);
        db.upsert(501, point(501), {{"even", false}, {"seen", true}});
      }
    }
    const auto db = Database::load(config);
    std::cout << "loaded: " << db.index().size() << " vectors in " << db.index().trees() << " trees, "
              << db.recovery().replayed << " mutations from the log\n";
    for (const iqdb::Hit& hit : db.index().search(point(500), {.k = 3})) {
      std::cout << hit.id << "  " << hit.distance << "\n";
    }
    const auto is_even = [](const iqdb::VectorId& id) { return id.integer() % 2 == 0; };
    std::cout << "nearest even one: " << db.index().search(point(500), {.k = 1, .filter = is_even}).at(0).id << "\n";
    return 0;
  } catch (const iqdb::PersistError& error) {
    std::cout << error.what() << "\n";
  } catch (const iqdb::testing::Violation& violation) {
    std::cout << violation.what() << "\n";
  }
  return 1;
}
