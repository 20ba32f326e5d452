#pragma once
#pragma message("iqdb/persist/block_stream.hpp is now iqdb/persist/storage/block_stream.hpp; version 0.3 has only that path")
#include "iqdb/persist/storage/block_stream.hpp"
