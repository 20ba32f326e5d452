#pragma once
#pragma message("iqdb/persist/compression.hpp is now iqdb/persist/codec/compression.hpp; version 0.3 has only that path")
#include "iqdb/persist/codec/compression.hpp"
