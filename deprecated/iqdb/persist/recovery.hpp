#pragma once
#pragma message("this header is now iqdb/persist/wal/recovery.hpp; the old path goes with version 0.3")
#include "iqdb/persist/wal/log_paths.hpp"
#include "iqdb/persist/wal/recovery.hpp"
