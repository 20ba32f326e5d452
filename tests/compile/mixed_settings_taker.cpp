// Takes an index from the other file. See mixed_settings.cmake.
#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"

void take(iqdb::PersistedIndex<iqdb::FlatIndex>& index);

void take(iqdb::PersistedIndex<iqdb::FlatIndex>& index) { index.save(); }
