#pragma once
#pragma message("this header is now iqdb/persist/bytes/helper_threads.hpp; the old path goes with version 0.3")
#include "iqdb/persist/bytes/helper_threads.hpp"
