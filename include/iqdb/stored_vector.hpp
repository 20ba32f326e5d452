// StoredVector: what an index holds under an identifier.
#pragma once

#include <optional>
#include <vector>

#include "iqdb/metadata.hpp"

namespace iqdb {

/// A copy of what an index holds under an identifier.
struct StoredVector {
  std::vector<float> vector = {};         ///< in the form in which the index keeps it
  std::optional<Metadata> metadata = {};  ///< the metadata stored with it
};

}  // namespace iqdb
