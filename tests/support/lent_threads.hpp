// Threads for insert_many, in tests.
#pragma once

#include <cstddef>
#include <functional>

#include "iqdb/insert_many.hpp"
#include "iqdb/persist/bytes/helper_threads.hpp"
#include "iqdb/persist/wal/lent_helpers.hpp"

namespace iqdb_test {

/// Lends this many threads, the calling one among them, as a replay does.
class Threads final : public iqdb::LentThreads {
 public:
  explicit Threads(std::size_t count) noexcept : helpers_(static_cast<unsigned>(count - 1)), lent_(helpers_) {}

  [[nodiscard]] std::size_t count() const noexcept override { return lent_.count(); }
  void each(std::size_t numbers, const std::function<void(std::size_t)>& work) override { lent_.each(numbers, work); }

 private:
  iqdb::HelperThreads helpers_;
  iqdb::LentHelpers lent_;
};

}  // namespace iqdb_test
