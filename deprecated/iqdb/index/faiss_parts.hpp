#pragma once
#pragma message("this header is now iqdb/index/faiss/parts.hpp; the old path goes with version 0.3")
#include "iqdb/index/faiss/parts.hpp"
