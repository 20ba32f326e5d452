#pragma once
#pragma message("iqdb/index/slot_table.hpp is now iqdb/index/support/slot_table.hpp; version 0.3 has only that path")
#include "iqdb/index/support/slot_table.hpp"
