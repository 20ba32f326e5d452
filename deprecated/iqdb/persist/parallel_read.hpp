#pragma once
#pragma message("iqdb/persist/parallel_read.hpp is now iqdb/persist/storage/parallel_read.hpp; version 0.3 has only that path")
#include "iqdb/persist/storage/parallel_read.hpp"
