// Threads that an index is lent while it takes many insertions in one call.
//
// Invariants: no thread is started before an index asks for it. A forked child neither waits for the threads of its
// parent nor ends them, since they do not exist there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "iqdb/insert_many.hpp"
#include "iqdb/persist/bytes/helper_threads.hpp"
#include "iqdb/persist/process_mark.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Lends helpers, and the calling thread. No other job may use the helpers meanwhile. Used by one thread.
// NOLINTNEXTLINE(cppcoreguidelines-virtual-class-destructor): it is final, and nobody owns a LentThreads
class LentHelpers final : public LentThreads {
 public:
  /// Precondition: `helpers` outlives this.
  explicit LentHelpers(HelperThreads& helpers) noexcept : helpers_(&helpers) {}

  [[nodiscard]] std::size_t count() const noexcept override { return helpers_->count() + 1; }
  void each(std::size_t numbers, const std::function<void(std::size_t number)>& work) override;

 private:
  HelperThreads* helpers_;
};

/// Helpers of an object that may be moved, and that may live on in a forked child. One thread at a time uses it.
class KeptHelpers {
 public:
  /// `count` is that of HelperThreads.
  explicit KeptHelpers(unsigned count) noexcept : count_(count) {}

  /// The helpers, valid until this is moved, assigned or destroyed. Throws std::bad_alloc.
  [[nodiscard]] HelperThreads& get();

 private:
  unsigned count_;
  ProcessMark made_in_;  // of the helpers
  std::unique_ptr<HelperThreads> helpers_;
};

#if IQDB_PERSIST_DEFINITIONS

IQDB_PERSIST_INLINE void LentHelpers::each(std::size_t numbers, const std::function<void(std::size_t number)>& work) {
  Pieces pieces(numbers);
  const auto share = [&] { pieces.take_all([&](std::uint64_t number) { work(static_cast<std::size_t>(number)); }); };
  if (numbers < 2 || count() == 1) {
    share();
  } else {
    helpers_->run(share);
  }
}

IQDB_PERSIST_INLINE HelperThreads& KeptHelpers::get() {
  if (!helpers_ || made_in_.inherited()) {
    helpers_ = std::make_unique<HelperThreads>(count_);
    made_in_ = {};
  }
  return *helpers_;
}

#endif  // IQDB_PERSIST_DEFINITIONS

}  // namespace iqdb
