// Why nothing can be appended to a log any more, and what a user can do about it.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Whether a log is poisoned, and the first reason. The mutex of its writer guards it; is_set() may be asked without.
class LogPoison {
 public:
  [[nodiscard]] bool is_set() const noexcept { return is_set_; }

  /// What failed, in words; empty if nothing did, or if there was no memory for them.
  [[nodiscard]] const std::string& why() const noexcept { return why_; }

  /// The log is poisoned, since `what` failed with `error`. The first reason stays.
  void set(const char* what, const char* error) noexcept {
    if (is_set_.exchange(true)) {
      return;
    }
    try {
      why_ = std::string(what) + " (" + error + ")";
    } catch (...) {
      why_.clear();  // out of memory: poisoned all the same
    }
  }

  /// What a user is told: `last` is the number of the last mutation, `durable` that of the last one known to be durable.
  [[nodiscard]] std::string advice(FsyncPolicy policy, std::uint64_t last, std::uint64_t durable) const {
    const std::string since = "nothing can be logged any more, since " + why_ + "; ";
    if (policy.is_always()) {
      return since + "load the index again: it holds everything that was acknowledged";
    }
    return since + "of the mutations up to " + std::to_string(last) + " a load may have only those up to " +
           std::to_string(durable) +
           ", which were synced; save_copy() stores the index as it is in memory under another path; then load";
  }

 private:
  std::atomic<bool> is_set_ = false;
  std::string why_;
};

}  // namespace iqdb
