// Which targets the program was built with.
#include <algorithm>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/fuzz_target.hpp"

namespace iqdb_fuzz {

namespace {

std::vector<FuzzTarget>& added_targets() {
  static std::vector<FuzzTarget> targets;
  return targets;
}

}  // namespace

AddedTarget::AddedTarget(const FuzzTarget& target) { added_targets().push_back(target); }

std::span<const FuzzTarget> fuzz_targets() { return added_targets(); }

const FuzzTarget& fuzz_target(std::string_view name) {
  const std::span<const FuzzTarget> targets = fuzz_targets();
  const auto found = std::ranges::find(targets, name, &FuzzTarget::name);
  if (found == targets.end()) {
    throw std::invalid_argument("there is no fuzz target " + std::string(name));
  }
  return *found;
}

}  // namespace iqdb_fuzz
