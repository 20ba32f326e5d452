#pragma once
#pragma message("iqdb/index/faiss_parts.hpp is now iqdb/index/faiss/parts.hpp; version 0.3 has only that path")
#include "iqdb/index/faiss/parts.hpp"
