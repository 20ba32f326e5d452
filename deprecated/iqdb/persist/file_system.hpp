#pragma once
#pragma message("iqdb/persist/file_system.hpp is now iqdb/persist/storage/posix_file_system.hpp; version 0.3 has only that path")
#include "iqdb/persist/storage/posix_file_system.hpp"
