// Threads among which pieces of a payload are shared out, to be compressed or decompressed at the same time.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <vector>

#include "iqdb/persist/bytes/helper_threads.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace coding {

/// A context that a codec's library has made. Throws std::bad_alloc where there was no memory for it.
template <class Context>
[[nodiscard]] Context* made(Context* context) {
  if (context == nullptr) {
    throw std::bad_alloc();
  }
  return context;
}

/// Does pieces of a job in several threads, each with a context of its own.
template <class Context, class FreeContext>
class CodecWorkers {
 public:
  /// `helper_threads` besides the caller's, of which at most `most` are used.
  CodecWorkers(unsigned helper_threads, std::size_t most, Context* (*create)())
      : helpers_(static_cast<unsigned>(std::min<std::size_t>(helper_threads, most))),
        contexts_(std::min<std::size_t>(helper_threads, most) + 1) {
    for (auto& context : contexts_) {
      context.reset(made(create()));
    }
  }

  /// Calls `work(context, number)` for the numbers 0 to count - 1, each once.
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

  /// Of all threads.
  [[nodiscard]] std::span<const std::unique_ptr<Context, FreeContext>> contexts() const noexcept { return contexts_; }

 private:
  HelperThreads helpers_;
  std::vector<std::unique_ptr<Context, FreeContext>> contexts_;
};

}  // namespace coding

}  // namespace iqdb::inline IQDB_PERSIST_ABI
