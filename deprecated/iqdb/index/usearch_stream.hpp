#pragma once
#pragma message("this header is now iqdb/index/usearch/usearch_stream.hpp; the old path goes with version 0.3")
#include "iqdb/index/usearch/usearch_stream.hpp"
