// Violation: the exception that every check of this folder throws. No test framework is needed, because any of them
// reports an exception.
#pragma once

#include <stdexcept>

#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace testing {

/// A broken promise. The message says which promise, what was done, what was found and expected, and the seed that
/// repeats it.
class Violation : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace testing
}  // namespace iqdb
