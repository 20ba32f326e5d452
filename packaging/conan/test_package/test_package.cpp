// Saves an index and loads it again.
#include <cstdlib>
#include <filesystem>
#include <utility>

#include <iqdb/index/flat.hpp>
#include <iqdb/persist.hpp>

int main() {
  using Database = iqdb::PersistedIndex<iqdb::FlatIndex>;
  const iqdb::PersistConfig config{.path = "test_package.iqdb"};
  std::filesystem::remove(config.path);
  iqdb::FlatIndex index(2, iqdb::DistanceMetric::cosine);
  index.insert(1, {0.0F, 1.0F});
  Database::open_with(std::move(index), config).save();
  return Database::load(config).index().size() == 1 ? EXIT_SUCCESS : EXIT_FAILURE;
}
