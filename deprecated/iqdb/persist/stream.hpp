#pragma once
#pragma message("iqdb/persist/stream.hpp is now iqdb/persist/bytes/stream.hpp; version 0.3 has only that path")
#include "iqdb/persist/bytes/stream.hpp"
