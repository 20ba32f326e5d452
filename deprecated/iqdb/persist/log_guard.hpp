#pragma once
#pragma message("this header is now iqdb/persist/wal/log_guard.hpp; the old path goes with version 0.3")
#include "iqdb/persist/wal/log_guard.hpp"
