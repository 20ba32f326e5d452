#pragma once
#pragma message("iqdb/index/faiss_stream.hpp is now iqdb/index/faiss/stream.hpp; version 0.3 has only that path")
#include "iqdb/index/faiss/stream.hpp"
