#pragma once
#pragma message("this header is now iqdb/persist/snapshot/snapshot.hpp; the old path goes with version 0.3")
#include "iqdb/persist/snapshot/snapshot.hpp"
