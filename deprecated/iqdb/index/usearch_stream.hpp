#pragma once
#pragma message("iqdb/index/usearch_stream.hpp is now iqdb/index/usearch/usearch_stream.hpp; version 0.3 has only that path")
#include "iqdb/index/usearch/usearch_stream.hpp"
