#pragma once
#pragma message("iqdb/persist/codec_workers.hpp is now iqdb/persist/codec/codec_workers.hpp; version 0.3 has only that path")
#include "iqdb/persist/codec/codec_workers.hpp"
