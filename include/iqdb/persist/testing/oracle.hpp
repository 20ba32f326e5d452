// What a load may find: the moments of a life, and which of them were promised.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace testing {

/// The state of an index between two records.
struct Moment {
  std::uint64_t lsn = 0;      ///< the number of the last applied mutation; 0 with the log off
  std::string contents = {};  ///< the contents of the index, from Subject::contents

  friend bool operator==(const Moment&, const Moment&) = default;
};

/// The moments of a life, in order. A load gives one of them: none before the last promised one, and none that the life
/// never reached.
class Oracle {
 public:
  /// A life that begins with `first`, which is durable.
  explicit Oracle(Moment first) : saved_(first.contents) { moments_.push_back(std::move(first)); }

  /// From now on a load may find `moment` as well.
  void expect(Moment moment) { moments_.push_back(std::move(moment)); }

  /// Everything expected was acknowledged: the kill of a process must not lose it.
  void acknowledge() noexcept { acknowledged_ = moments_.size() - 1; }

  /// Everything acknowledged is durable: a power cut must not lose it.
  void make_durable() noexcept { durable_ = acknowledged_; }

  /// The power was cut: what was acknowledged but not durable is no longer promised.
  void forget_volatile() noexcept { acknowledged_ = durable_; }

  /// A save or a checkpoint of what is expected now was acknowledged.
  void saved() {
    replaced_ += moments_.back().contents == saved_ ? 0U : 1U;
    saved_ = moments_.back().contents;
  }

  /// How many snapshots were replaced by others, at least.
  [[nodiscard]] std::size_t replaced() const noexcept { return replaced_; }

  /// What was expected but not acknowledged has failed and left nothing.
  void withdraw() { moments_.resize(acknowledged_ + 1); }

  /// A load found the moment `which`. The other moments are no longer possible, and this one is durable, because a load
  /// makes it so.
  void settle(std::size_t which) {
    past_.erase(past_.upper_bound(moments_[which].lsn), past_.end());
    for (std::size_t at = 0; at < which; ++at) {
      past_[moments_[at].lsn] = std::move(moments_[at].contents);
    }
    moments_ = {std::move(moments_[which])};
    acknowledged_ = durable_ = 0;
  }

  /// A load found the moment `which`, but may have read what is not durable. Later moments are no longer possible.
  void read(std::size_t which) {
    moments_.resize(which + 1);
    acknowledged_ = which;
  }

  /// The moment that was found, the latest of several, or nothing if it is not a moment from `first` on.
  [[nodiscard]] std::optional<std::size_t> find(const Moment& found, std::size_t first) const {
    for (std::size_t at = moments_.size(); at > first; --at) {
      if (moments_[at - 1] == found) {
        return at - 1;
      }
    }
    return std::nullopt;
  }

  /// What the index held behind the mutation `lsn`, as seen from the moment `which`, whether or not loads came between. Nothing
  /// if the life had no moment there.
  [[nodiscard]] const std::string* contents_at(std::uint64_t lsn, std::size_t which) const {
    for (std::size_t at = which + 1; at > 0; --at) {
      if (moments_[at - 1].lsn == lsn) {
        return &moments_[at - 1].contents;
      }
    }
    const auto found = past_.find(lsn);
    return found == past_.end() ? nullptr : &found->second;
  }

  /// Whether the index held these contents at any moment from `first` on.
  [[nodiscard]] bool held(const std::string& contents, std::size_t first) const {
    return std::any_of(moments_.begin() + static_cast<std::ptrdiff_t>(first), moments_.end(),
                       [&](const Moment& moment) { return moment.contents == contents; });
  }

  /// The first moment that a kill may leave.
  [[nodiscard]] std::size_t acknowledged() const noexcept { return acknowledged_; }

  /// The first moment that a power cut may leave.
  [[nodiscard]] std::size_t durable() const noexcept { return durable_; }

  /// The moments, in order.
  [[nodiscard]] const std::vector<Moment>& moments() const noexcept { return moments_; }

  /// For a message: what a load that gave `found` should have given, from the moment `first` on.
  [[nodiscard]] std::string explain(const Moment& found, std::size_t first) const {
    std::string words = "the load gives number " + std::to_string(found.lsn);
    for (std::size_t at = 0; at < moments_.size(); ++at) {
      if (moments_[at].contents == found.contents) {
        words += at < first ? " with contents that it had before what was promised," : " with contents that it had";
        words += " at number " + std::to_string(moments_[at].lsn);
        return words + "; expected " + range(first);
      }
    }
    return words + " with contents that it never had; expected " + range(first);
  }

 private:
  [[nodiscard]] std::string range(std::size_t first) const {
    return "one of the numbers from " + std::to_string(moments_[first].lsn) + " to " +
           std::to_string(moments_.back().lsn) + ", with what the index held then";
  }

  std::string saved_;  // contents of the last snapshot that was acknowledged
  std::size_t replaced_ = 0;
  std::map<std::uint64_t, std::string> past_;  // contents at the moments before the last load, by number
  std::vector<Moment> moments_;
  std::size_t acknowledged_ = 0;
  std::size_t durable_ = 0;
};

}  // namespace testing
}  // namespace iqdb
