#pragma once
#pragma message("iqdb/persist/snapshot.hpp is now iqdb/persist/snapshot/snapshot.hpp; version 0.3 has only that path")
#include "iqdb/persist/snapshot/snapshot.hpp"
