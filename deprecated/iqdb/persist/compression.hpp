#pragma once
#pragma message("this header is now iqdb/persist/codec/compression.hpp; the old path goes with version 0.3")
#include "iqdb/persist/codec/compression.hpp"
