#pragma once
#pragma message("iqdb/persist/log_guard.hpp is now iqdb/persist/wal/log_guard.hpp; version 0.3 has only that path")
#include "iqdb/persist/wal/log_guard.hpp"
