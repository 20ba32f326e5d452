#pragma once
#pragma message("this header is now iqdb/index/support/slot_table.hpp; the old path goes with version 0.3")
#include "iqdb/index/support/slot_table.hpp"
