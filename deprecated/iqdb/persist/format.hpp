#pragma once
#pragma message("this header is now iqdb/persist/snapshot/snapshot_format.hpp; the old path goes with version 0.3")
#include "iqdb/persist/bytes/row_format.hpp"
#include "iqdb/persist/codec/compression_scheme.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
