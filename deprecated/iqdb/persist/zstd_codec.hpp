#pragma once
#pragma message("iqdb/persist/zstd_codec.hpp is now iqdb/persist/codec/zstd_codec.hpp; version 0.3 has only that path")
#include "iqdb/persist/codec/zstd_codec.hpp"
