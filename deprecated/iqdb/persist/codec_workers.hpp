#pragma once
#pragma message("this header is now iqdb/persist/codec/codec_workers.hpp; the old path goes with version 0.3")
#include "iqdb/persist/codec/codec_workers.hpp"
