// Threads that an index is lent while it takes many insertions in one call.
//
// Invariants: no thread is started before an index asks for it. A forked child neither waits for the threads of its
// parent nor ends them, since they do not exist there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <tuple>
#include <utility>

#include "iqdb/insert_many.hpp"
#include "iqdb/persist/bytes/helper_threads.hpp"
#include "iqdb/persist/storage/posix_process.hpp"
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
  KeptHelpers(const KeptHelpers&) = delete;
  KeptHelpers& operator=(const KeptHelpers&) = delete;
  KeptHelpers(KeptHelpers&& other) noexcept = default;
  KeptHelpers& operator=(KeptHelpers&& other) noexcept;
  ~KeptHelpers() { leave_those_of_another_process(); }

  /// The helpers, valid until this is moved, assigned or destroyed. Throws std::bad_alloc.
  [[nodiscard]] HelperThreads& get();

 private:
  void leave_those_of_another_process() noexcept;

  unsigned count_;
  std::int64_t process_ = 0;  // that made the helpers
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

IQDB_PERSIST_INLINE KeptHelpers& KeptHelpers::operator=(KeptHelpers&& other) noexcept {
  leave_those_of_another_process();
  count_ = other.count_;
  process_ = other.process_;
  helpers_ = std::move(other.helpers_);
  return *this;
}

IQDB_PERSIST_INLINE HelperThreads& KeptHelpers::get() {
  leave_those_of_another_process();
  if (!helpers_) {
    helpers_ = std::make_unique<HelperThreads>(count_);
    process_ = posix_process::number();
  }
  return *helpers_;
}

IQDB_PERSIST_INLINE void KeptHelpers::leave_those_of_another_process() noexcept {
  if (helpers_ && process_ != posix_process::number()) {
    std::ignore = helpers_.release();  // their destructor would wait for threads that do not exist here
  }
}

#endif  // IQDB_PERSIST_DEFINITIONS

}  // namespace iqdb
