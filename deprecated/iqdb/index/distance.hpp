#pragma once
#pragma message("this header is now iqdb/index/support/distance.hpp; the old path goes with version 0.3")
#include "iqdb/index/support/distance.hpp"
