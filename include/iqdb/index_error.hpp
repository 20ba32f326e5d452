// IndexError: the exception by which an index rejects a vector, a query or a setting.
//
// Invariant: if an index rejects a mutation, it rejects it again when the same mutations are applied to the same state.
// Persistence relies on this, and on the kinds.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

#include "iqdb/persist/requirements.hpp"

namespace iqdb {

/// Why an index rejected a call.
enum class IndexErrorKind : std::uint8_t {
  dimension_mismatch,  ///< a vector or query has another number of components than the index
  invalid_vector,      ///< the index cannot store these components
  invalid_config,      ///< a setting, identifier or metadata entry cannot be used
  not_found,           ///< no vector has this identifier
  duplicate,           ///< the index already holds a vector with this identifier
  invalid_metric,      ///< the index does not support the metric
  resource_limit,      ///< something is larger than the index or its format can hold
};

/// The kind's name as it is written in the source, e.g. "dimension_mismatch".
[[nodiscard]] constexpr std::string_view to_string(IndexErrorKind kind) noexcept {
  switch (kind) {
    case IndexErrorKind::dimension_mismatch:
      return "dimension_mismatch";
    case IndexErrorKind::invalid_vector:
      return "invalid_vector";
    case IndexErrorKind::invalid_config:
      return "invalid_config";
    case IndexErrorKind::not_found:
      return "not_found";
    case IndexErrorKind::duplicate:
      return "duplicate";
    case IndexErrorKind::invalid_metric:
      return "invalid_metric";
    case IndexErrorKind::resource_limit:
      return "resource_limit";
  }
  return "unknown";
}

/// The exception by which an index rejects a call. The call has changed nothing.
class IndexError : public std::runtime_error {
 public:
  /// `what` says what was tried, what was found and what was expected.
  IndexError(IndexErrorKind kind, const std::string& what) : std::runtime_error(what), kind_(kind) {}

  /// Why the call was rejected.
  [[nodiscard]] IndexErrorKind kind() const noexcept { return kind_; }

 private:
  IndexErrorKind kind_;
};

}  // namespace iqdb
