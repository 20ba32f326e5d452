// What a fuzzer examines. An input goes through three functions: one changes it along the lines of its structure, one
// puts right what would keep it from getting any further than the first check, one examines what is made of it.
//
//   fuzzer.cpp             runs one target under libFuzzer
//   regressions_test.cpp   runs all of them on the inputs that are kept
#pragma once

#include <cstddef>
#include <span>
#include <stdexcept>
#include <string_view>
#include <vector>

#include "iqdb/persist/testing/random.hpp"

namespace iqdb_fuzz {

/// What is examined, and what is mutated.
using Input = std::span<const std::byte>;
using Bytes = std::vector<std::byte>;
using iqdb::testing::Random;

/// Something that must hold and does not. An exception of another kind that leaves a target is a finding too.
class Violation : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

/// Throws Violation unless `holds`.
inline void require(bool holds, const char* what) {
  if (!holds) {
    throw Violation(what);
  }
}

/// One kind of input.
struct FuzzTarget {
  /// Also the name of the folder of its regressions.
  std::string_view name;
  /// Loads or decodes the input. Throws Violation where something does not hold; an error that the input deserves stays
  /// inside.
  void (*examine)(Input input);
  /// Changes the input along its structure, or leaves it as it is.
  void (*reshape)(Bytes& input, Random& random);
  /// Puts checksums, lengths and numbers right: most of them, or hardly one would ever be found wrong.
  void (*repair)(Bytes& input, Random& random);
};

/// Adds a target to those of the program, before main begins.
struct AddedTarget {
  explicit AddedTarget(const FuzzTarget& target);
};

/// All that the program was built with.
[[nodiscard]] std::span<const FuzzTarget> fuzz_targets();

/// The one of this name. Throws std::invalid_argument where there is none.
[[nodiscard]] const FuzzTarget& fuzz_target(std::string_view name);

}  // namespace iqdb_fuzz
