#pragma once
#pragma message("this header is now iqdb/persist/storage/posix_file_system.hpp; the old path goes with version 0.3")
#include "iqdb/persist/storage/file_system.hpp"
#include "iqdb/persist/storage/posix_file_system.hpp"
