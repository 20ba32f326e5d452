// Threads for a call of an index that answers many queries.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <thread>

#include "iqdb/persist/bytes/helper_threads.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace index_support {

/// Calls `work(piece)` for each number from 0 to `pieces` - 1 once, in the calling thread and in others that end with the call:
/// `threads` together, or with 0 as many as the machine has processors. If one throws, the pieces that no thread has taken yet
/// are left out, and one of the exceptions is thrown. Throws std::bad_alloc.
template <class Work>
void in_threads(std::size_t pieces, std::size_t threads, Work&& work) {
  const std::size_t wanted = threads == 0 ? std::max(1U, std::thread::hardware_concurrency()) : threads;
  const std::size_t helpers = std::max<std::size_t>(std::min(wanted, pieces), 1) - 1;
  Pieces all(pieces);
  const auto share = [&] { all.take_all([&](std::uint64_t piece) { work(static_cast<std::size_t>(piece)); }); };
  if (helpers == 0) {
    share();
  } else {
    HelperThreads(static_cast<unsigned>(helpers)).run(share);
  }
}

}  // namespace index_support

}  // namespace iqdb::inline IQDB_PERSIST_ABI
