#pragma once
#pragma message("this header is now iqdb/index/usearch/checked_stream.hpp; the old path goes with version 0.3")
#include "iqdb/index/usearch/checked_stream.hpp"
#include "iqdb/index/usearch/file_shape.hpp"
#include "iqdb/index/usearch/output_stream.hpp"
#include "iqdb/index/usearch/stream_layout.hpp"
