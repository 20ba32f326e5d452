// A durable index in a few lines: run it twice, and the second run finds what the first one inserted.
#include <iqdb/index/flat.hpp>
#include <iqdb/persist.hpp>

#include <iostream>

int main() {
  using Database = iqdb::PersistedIndex<iqdb::FlatIndex>;

  // Loads colours.iqdb, or begins with an empty index where there is no such file. A damaged file is an error, never
  // an empty index.
  Database db = Database::load_or_create({.path = "colours.iqdb", .wal_enabled = true},
                                         iqdb::FlatIndex(3, iqdb::DistanceMetric::euclidean));
  std::cout << "loaded: " << db.index().size() << " vectors\n";

  if (db.index().size() == 0) {
    db.insert(1, {0.9F, 0.1F, 0.1F}, {{"name", "red"}});  // on disk when insert returns: no crash takes it back
    db.insert(2, {0.1F, 0.6F, 0.2F}, {{"name", "green"}});
    db.insert(3, {0.9F, 0.6F, 0.1F}, {{"name", "orange"}});
    db.checkpoint();  // a new snapshot and an empty log; a log that grows large is folded into one by itself
  }

  for (const iqdb::Hit& hit : db.index().search({1.0F, 0.5F, 0.0F}, {.k = 2})) {
    std::cout << std::get<std::string>(hit.metadata->at("name")) << "  " << hit.distance << "\n";
  }
}
