#pragma once
#pragma message("this header is now iqdb/persist/wal/wal_format.hpp; the old path goes with version 0.3")
#include "iqdb/persist/wal/frame_body.hpp"
#include "iqdb/persist/wal/frame_encoder.hpp"
#include "iqdb/persist/wal/wal_format.hpp"
