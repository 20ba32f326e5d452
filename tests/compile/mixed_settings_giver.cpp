// Gives an index to a function in the other file. See mixed_settings.cmake.
#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"

void take(iqdb::PersistedIndex<iqdb::FlatIndex>& index);

int main() {
  auto index = iqdb::PersistedIndex<iqdb::FlatIndex>::open_with(iqdb::FlatIndex(1, iqdb::DistanceMetric::euclidean),
                                                                {.path = "mixed.iqdb"});
  take(index);
}
