#pragma once
#pragma message("iqdb/persist/block_appender.hpp is now iqdb/persist/storage/block_appender.hpp; version 0.3 has only that path")
#include "iqdb/persist/storage/block_appender.hpp"
