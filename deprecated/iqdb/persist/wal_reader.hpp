#pragma once
#pragma message("this header is now iqdb/persist/wal/wal_reader.hpp; the old path goes with version 0.3")
#include "iqdb/persist/storage/file_window.hpp"
#include "iqdb/persist/storage/part_checksums.hpp"
#include "iqdb/persist/wal/frame_reader.hpp"
#include "iqdb/persist/wal/wal_reader.hpp"
