#pragma once
#pragma message("this header is now iqdb/persist/storage/parallel_read.hpp; the old path goes with version 0.3")
#include "iqdb/persist/storage/parallel_read.hpp"
