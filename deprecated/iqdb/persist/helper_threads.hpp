#pragma once
#pragma message("iqdb/persist/helper_threads.hpp is now iqdb/persist/bytes/helper_threads.hpp; version 0.3 has only that path")
#include "iqdb/persist/bytes/helper_threads.hpp"
