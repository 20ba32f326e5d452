#pragma once
#pragma message("iqdb/persist/file_storage.hpp is now iqdb/persist/storage/file_storage.hpp; version 0.3 has only that path")
#include "iqdb/persist/storage/file_storage.hpp"
