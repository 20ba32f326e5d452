#pragma once
#pragma message("iqdb/persist/huge_pages.hpp is now iqdb/persist/bytes/huge_pages.hpp; version 0.3 has only that path")
#include "iqdb/persist/bytes/huge_pages.hpp"
