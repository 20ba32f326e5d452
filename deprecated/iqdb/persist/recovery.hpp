#pragma once
#pragma message("iqdb/persist/recovery.hpp is now iqdb/persist/wal/recovery.hpp; version 0.3 has only that path")
#include "iqdb/persist/wal/recovery.hpp"
