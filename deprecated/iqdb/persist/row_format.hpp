#pragma once
#pragma message("iqdb/persist/row_format.hpp is now iqdb/persist/bytes/row_format.hpp; version 0.3 has only that path")
#include "iqdb/persist/bytes/row_format.hpp"
