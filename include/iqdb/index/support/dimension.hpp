// The dimension of an index, which shows whether the index was moved from.
#pragma once

#include <cstddef>
#include <utility>

#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace index_support {

/// The number of components of an index's vectors. It goes with the index when that is moved: 0 remains, which
/// check_dimension refuses every vector for.
class Dimension {
 public:
  explicit Dimension(std::size_t dim) noexcept : dim_(dim) {}
  Dimension(const Dimension&) = default;
  Dimension& operator=(const Dimension&) = default;
  Dimension(Dimension&& other) noexcept : dim_(std::exchange(other.dim_, 0)) {}
  Dimension& operator=(Dimension&& other) noexcept {
    dim_ = std::exchange(other.dim_, 0);
    return *this;
  }
  ~Dimension() = default;

  // NOLINTNEXTLINE(*-explicit-*): it is a number in every use but a move
  operator std::size_t() const noexcept { return dim_; }

 private:
  std::size_t dim_;
};

}  // namespace index_support

}  // namespace iqdb::inline IQDB_PERSIST_ABI
