// Insertion of many vectors in one call: what the call is given.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <span>

#include "iqdb/types.hpp"

namespace iqdb {

/// Vectors to insert, in this order. The row of a vector is its place in all three. All of it belongs to the caller.
struct InsertedRows {
  std::span<const VectorId> ids;                      ///< one of each row
  std::span<const float> vectors;                     ///< row behind row, each of the index's dim() components
  std::span<const std::optional<Metadata>> metadata;  ///< one of each row

  /// The number of rows.
  [[nodiscard]] std::size_t size() const noexcept { return ids.size(); }
};

/// Threads that the caller of a function lends to it until the function returns.
class LentThreads {
 public:
  LentThreads() = default;
  LentThreads(const LentThreads&) = delete;
  LentThreads& operator=(const LentThreads&) = delete;

  /// How many threads there are, the calling one among them. With 1, it is alone.
  [[nodiscard]] virtual std::size_t count() const noexcept = 0;

  /// Calls `work(number)` for each number from 0 to `numbers` - 1 once, in several threads at a time, and returns when all
  /// calls have returned. If one throws, the numbers that no thread has taken yet are left out, and one of the exceptions
  /// is thrown. Throws std::bad_alloc.
  virtual void each(std::size_t numbers, const std::function<void(std::size_t number)>& work) = 0;

 protected:
  ~LentThreads() = default;
};

}  // namespace iqdb
