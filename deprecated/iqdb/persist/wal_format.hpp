#pragma once
#pragma message("iqdb/persist/wal_format.hpp is now iqdb/persist/wal/wal_format.hpp; version 0.3 has only that path")
#include "iqdb/persist/wal/wal_format.hpp"
