#pragma once
#pragma message("this header is now iqdb/persist/codec/zstd_codec.hpp; the old path goes with version 0.3")
#include "iqdb/persist/codec/zstd_codec.hpp"
