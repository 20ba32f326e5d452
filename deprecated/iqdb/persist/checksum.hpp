#pragma once
#pragma message("iqdb/persist/checksum.hpp is now iqdb/persist/bytes/checksum.hpp; version 0.3 has only that path")
#include "iqdb/persist/bytes/checksum.hpp"
