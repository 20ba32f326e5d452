#pragma once
#pragma message("iqdb/index/usearch_stream.hpp is now several headers in iqdb/index/usearch/; version 0.3 has only those")
#include "iqdb/index/usearch/checked_stream.hpp"
#include "iqdb/index/usearch/file_shape.hpp"
#include "iqdb/index/usearch/output_stream.hpp"
