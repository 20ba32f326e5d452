#pragma once
#pragma message("this header is now iqdb/persist/bytes/aligned_buffer.hpp; the old path goes with version 0.3")
#include "iqdb/persist/bytes/aligned_buffer.hpp"
