// One of two files that include every header; the other is two_units_2.cpp.
#include "all_headers.hpp"

std::size_t size_after_loading(const iqdb::PersistConfig& config);

int main() {
  const iqdb::PersistConfig config{.path = "two_units.iqdb"};
  iqdb::FlatIndex index(2, iqdb::DistanceMetric::cosine);
  index.insert(1, {0.0F, 1.0F});
  iqdb::PersistedIndex<iqdb::FlatIndex>::open_with(std::move(index), config).save();
  return size_after_loading(config) == 1 ? 0 : 1;
}
