#pragma once
#pragma message("iqdb/persist/lz4_block.hpp is now iqdb/persist/codec/lz4_block.hpp; version 0.3 has only that path")
#include "iqdb/persist/codec/lz4_block.hpp"
