#pragma once
#pragma message("iqdb/persist/chunked_buffer.hpp is now iqdb/persist/bytes/chunked_buffer.hpp; version 0.3 has only that path")
#include "iqdb/persist/bytes/chunked_buffer.hpp"
