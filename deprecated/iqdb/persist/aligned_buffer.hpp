#pragma once
#pragma message("iqdb/persist/aligned_buffer.hpp is now iqdb/persist/bytes/aligned_buffer.hpp; version 0.3 has only that path")
#include "iqdb/persist/bytes/aligned_buffer.hpp"
