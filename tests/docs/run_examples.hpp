// What the generated file of examples begins with: the same as docs/api.md says.
#pragma once

#include <iqdb/index/flat.hpp>
#include <iqdb/persist.hpp>

#include <cassert>
#include <vector>

struct Example {
  const char* name;   // a directory's name
  const char* place;  // page and line
  void (*run)();
};

extern const std::vector<Example> examples;
