#pragma once
#pragma message("iqdb/persist/codec.hpp is now iqdb/persist/codec/codec.hpp; version 0.3 has only that path")
#include "iqdb/persist/codec/codec.hpp"
