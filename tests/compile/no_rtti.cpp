// Saving, loading, logging and an error, in a program without run-time type information.
#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"

int main() {
  using Saved = iqdb::PersistedIndex<iqdb::FlatIndex>;
  const iqdb::PersistConfig config{.path = "no_rtti.iqdb"};

  iqdb::FlatIndex index(2, iqdb::DistanceMetric::cosine);
  index.insert(1, {0.0F, 1.0F}, {{"page", 5}});
  Saved::open_with(std::move(index), config).save();
  if (Saved::load(config).index().size() != 1) {
    return 1;
  }

  {
    auto logged = Saved::open_with(iqdb::FlatIndex(2, iqdb::DistanceMetric::cosine),
                                   {.path = "no_rtti_log.iqdb", .wal_enabled = true});
    logged.insert(1, {0.0F, 1.0F});
    logged.checkpoint();
  }
  if (Saved::load({.path = "no_rtti_log.iqdb", .wal_enabled = true}).index().size() != 1) {
    return 4;
  }

  try {
    static_cast<void>(Saved::load({.path = "no_such_file.iqdb"}));
  } catch (const iqdb::PersistError& error) {
    return error.kind() == iqdb::PersistErrorKind::io ? 0 : 2;
  }
  return 3;
}
