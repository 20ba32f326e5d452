#pragma once
#pragma message("iqdb/persist/wal_writer.hpp is now iqdb/persist/wal/wal_writer.hpp; version 0.3 has only that path")
#include "iqdb/persist/wal/wal_writer.hpp"
