// The library of iqdb::persist_compiled: every function of the headers that does not depend on the index, and the templates
// of compiled.hpp.
#define IQDB_PERSIST_BUILDING
#include "iqdb/persist.hpp"
#include "iqdb/persist/compiled.hpp"
#include "iqdb/persist/snapshot/freeze.hpp"  // which the umbrella leaves to shared_index.hpp
