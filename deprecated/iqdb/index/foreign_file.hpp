#pragma once
#pragma message("iqdb/index/foreign_file.hpp is now iqdb/index/support/foreign_file.hpp; version 0.3 has only that path")
#include "iqdb/index/support/foreign_file.hpp"
