// Splits a payload among several threads, which compress or decompress its pieces at the same time.
//
// Invariant: each thread uses a codec context of its own.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>
#include <span>
#include <utility>
#include <vector>

#include "iqdb/persist/bytes/helper_threads.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace coding {

/// Returns `context`, which a codec's library made. Throws std::bad_alloc if it is null.
template <class Context>
[[nodiscard]] Context* made(Context* context) {
  if (context == nullptr) {
    throw std::bad_alloc();
  }
  return context;
}

/// Owns a context that a codec's library made, and frees it with `release`. Movable, not copyable. (A std::unique_ptr
/// would cost the compiler forty functions for each library.)
template <class Context, auto release>
class Owned {
 public:
  Owned() = default;
  explicit Owned(Context* context) noexcept : context_(context) {}
  Owned(Owned&& other) noexcept : context_(std::exchange(other.context_, nullptr)) {}
  Owned& operator=(Owned&& other) noexcept {
    std::swap(context_, other.context_);
    return *this;
  }
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;
  ~Owned() {
    if (context_ != nullptr) {
      release(context_);
    }
  }

  /// The context, or null.
  [[nodiscard]] Context* get() const noexcept { return context_; }

 private:
  Context* context_ = nullptr;
};

/// Runs the pieces of a job in several threads, each with its own context. Used by one thread.
template <class Context, auto release>
class CodecWorkers {
 public:
  /// Uses up to `helper_threads` threads besides the caller's, but at most `most`. Throws std::bad_alloc.
  CodecWorkers(unsigned helper_threads, std::size_t most, Context* (*create)())
      : helpers_(static_cast<unsigned>(std::min<std::size_t>(helper_threads, most))),
        contexts_(std::min<std::size_t>(helper_threads, most) + 1) {
    for (auto& context : contexts_) {
      context = Owned<Context, release>(made(create()));
    }
  }

  /// Calls `work(context, number)` for the numbers 0 to count - 1, each once. Returns when all calls have returned.
  /// Throws what `work` throws, and std::bad_alloc; the remaining numbers are then left out.
  template <class Work>
  void share_out(std::size_t count, Work&& work) {
    std::atomic<std::size_t> workers = 0;
    Pieces pieces(count);
    const auto take = [&] {
      Context* const context = contexts_[workers++].get();
      pieces.take_all([&](std::uint64_t number) { work(context, static_cast<std::size_t>(number)); });
    };
    if (count == 1) {
      take();
    } else {
      helpers_.run(take);
    }
  }

  /// The contexts of all threads.
  [[nodiscard]] std::span<const Owned<Context, release>> contexts() const noexcept { return contexts_; }

 private:
  HelperThreads helpers_;
  std::vector<Owned<Context, release>> contexts_;
};

}  // namespace coding

}  // namespace iqdb::inline IQDB_PERSIST_ABI
