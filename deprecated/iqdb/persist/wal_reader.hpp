#pragma once
#pragma message("iqdb/persist/wal_reader.hpp is now iqdb/persist/wal/wal_reader.hpp; version 0.3 has only that path")
#include "iqdb/persist/wal/wal_reader.hpp"
