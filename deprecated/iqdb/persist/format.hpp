#pragma once
#pragma message("iqdb/persist/format.hpp is now iqdb/persist/snapshot/snapshot_format.hpp; version 0.3 has only that path")
#include "iqdb/persist/snapshot/snapshot_format.hpp"
