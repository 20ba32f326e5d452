#pragma once
#pragma message("this header is now iqdb/persist/wal/wal_writer.hpp; the old path goes with version 0.3")
#include "iqdb/persist/wal/new_log.hpp"
#include "iqdb/persist/wal/wal_writer.hpp"
