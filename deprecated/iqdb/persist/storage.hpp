#pragma once
#pragma message("iqdb/persist/storage.hpp is now iqdb/persist/storage/storage.hpp; version 0.3 has only that path")
#include "iqdb/persist/storage/storage.hpp"
