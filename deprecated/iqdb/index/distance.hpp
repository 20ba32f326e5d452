#pragma once
#pragma message("iqdb/index/distance.hpp is now iqdb/index/support/distance.hpp; version 0.3 has only that path")
#include "iqdb/index/support/distance.hpp"
