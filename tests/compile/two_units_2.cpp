// The other of two files that include every header; the first is two_units_1.cpp.
#include "all_headers.hpp"

std::size_t size_after_loading(const iqdb::PersistConfig& config);

std::size_t size_after_loading(const iqdb::PersistConfig& config) {
  return iqdb::PersistedIndex<iqdb::FlatIndex>::load(config).index().size();
}
