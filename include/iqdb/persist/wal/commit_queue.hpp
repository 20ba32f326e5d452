// The queue in which calls of many threads wait to be committed: who leads, and which calls are one group.
//
// A state machine without threads: it neither waits nor locks, so that a test can drive every order of its events.
//
// Invariants: calls that concern one identifier are committed in the order in which they were submitted, each in a group of
// its own. Nothing passes a call that goes alone, which has no other beside it. One group is in flight at a time. Of the
// calls that wait while no group is in flight, exactly one may lead: the first.
#pragma once

#include <algorithm>
#include <bitset>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>

#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// What the queue knows of a call. It stays where it is from submit() until it is done.
struct QueuedCall {
  std::uint64_t bytes = 0;      ///< of its record
  std::uint64_t mutations = 0;  ///< how many it makes
  /// The hashes of the identifiers that it concerns. Two identifiers with one hash count as one: a call then waits for
  /// the next group, and nothing else happens.
  std::span<const std::size_t> ids = {};
  bool alone = false;  ///< whether it must be a group of its own, as a checkpoint

  enum class Stage : std::uint8_t { waiting, in_flight, done };
  Stage stage = Stage::waiting;  ///< set by the queue
};

/// How large a group may become. A call that is larger goes alone.
struct GroupBounds {
  std::uint64_t bytes = std::uint64_t{1} << 20;
  std::uint64_t mutations = 1024;
  std::chrono::nanoseconds applying = std::chrono::milliseconds{5};  ///< how long readers may have to wait for it
};

/// The queue. Derive `Call` from CommitQueue<Call>::Entry. It allocates no memory, so that no call can fail between its
/// record and its end. The caller sees to it that one thread at a time uses it.
template <class Call>
class CommitQueue {
 public:
  /// The base of a call.
  struct Entry : QueuedCall {
    Call* next = nullptr;  ///< set by the queue: the call behind this one that waits, or is in the same group
  };

  /// The calls of a group, in the order in which they were submitted.
  class Group {
   public:
    class Iterator {
     public:
      explicit Iterator(Call* call) noexcept : call_(call) {}
      [[nodiscard]] Call& operator*() const noexcept { return *call_; }
      Iterator& operator++() noexcept {
        call_ = call_->next;
        return *this;
      }
      friend bool operator==(const Iterator&, const Iterator&) = default;

     private:
      Call* call_;
    };

    explicit Group(Call* first) noexcept : first_(first) {}
    [[nodiscard]] Iterator begin() const noexcept { return Iterator(first_); }
    [[nodiscard]] Iterator end() const noexcept { return Iterator(nullptr); }

   private:
    Call* first_;
  };

  explicit CommitQueue(GroupBounds bounds = {}) noexcept : bounds_(bounds) {}

  /// Puts a call behind those that wait.
  void submit(Call& call) noexcept {
    call.stage = QueuedCall::Stage::waiting;
    call.next = nullptr;
    (first_waiting_ != nullptr ? last_waiting_->next : first_waiting_) = &call;
    last_waiting_ = &call;
    ++waiting_;
  }

  /// The call that may lead: the first that waits. Null if a group is in flight or nobody waits.
  [[nodiscard]] Call* next_leader() const noexcept { return first_in_group_ != nullptr ? nullptr : first_waiting_; }

  /// How many calls wait.
  [[nodiscard]] std::size_t waiting() const noexcept { return waiting_; }

  /// For how many calls it pays to wait a moment before lead(): those of the threads whose calls were settled last, and of those
  /// that waited then, as far as they have not made their next call. A leader that does not wait finds those calls only that were
  /// made during the group before, so that two threads would never share a group. Where the threads do other work between
  /// their calls, the waiting is in vain; after each such group it is left out for twice as many. Precondition: a call waits.
  [[nodiscard]] std::size_t missing() const noexcept {
    const bool expects_more = waiting_ < expected_ && groups_without_waiting_ == 0 && !is_alone(*first_waiting_);
    return expects_more ? expected_ - waiting_ : 0;
  }

  /// Takes the first call, and those behind it that fit, as a group, which is in flight until settle(). A call that
  /// concerns an identifier of a call before it stays, and is passed by those behind it. Other threads may submit calls
  /// while the leader goes through the group. Precondition: next_leader() is not null.
  Group lead() noexcept {
    judge_waiting();
    ids_before_.reset();
    Call* last = nullptr;    // in the group
    Call* before = nullptr;  // the last one that was passed
    std::uint64_t bytes = 0;
    std::uint64_t mutations = 0;
    for (std::size_t passed = 0; passed <= most_passed;) {
      Call* const call = before != nullptr ? before->next : first_waiting_;
      if (call == nullptr) {
        break;
      }
      bytes += call->bytes;
      mutations += call->mutations;
      if (last != nullptr &&
          (is_alone(*call) || is_alone(*first_in_group_) || bytes > bounds_.bytes || mutations > most_mutations())) {
        break;
      }
      const bool stays = concerns_one_before(*call);
      for (const std::size_t id : call->ids) {
        ids_before_.set(id % ids_before_.size());
      }
      if (stays) {
        bytes -= call->bytes;
        mutations -= call->mutations;
        before = call;
        ++passed;
        continue;
      }
      (before != nullptr ? before->next : first_waiting_) = call->next;
      last_waiting_ = call->next == nullptr ? before : last_waiting_;
      call->next = nullptr;
      --waiting_;
      call->stage = QueuedCall::Stage::in_flight;
      (last != nullptr ? last->next : first_in_group_) = call;
      last = call;
    }
    return Group(first_in_group_);
  }

  /// Ends the group in flight: each of its calls is done. `applied` mutations took `applying`.
  void settle(std::uint64_t applied, std::chrono::nanoseconds applying) noexcept {
    expected_ = waiting_;
    for (Call& call : Group(first_in_group_)) {
      call.stage = QueuedCall::Stage::done;
      ++expected_;
    }
    first_in_group_ = nullptr;
    if (applied > 0) {
      // It falls at once and rises slowly: a leader that the system did not let run does not make groups small.
      const double seen = std::max(1.0, static_cast<double>(applying.count()) / static_cast<double>(applied));
      const double most = nanoseconds_each_ * 1.25;
      nanoseconds_each_ = nanoseconds_each_ == 0 ? seen : std::min(seen, most);
    }
  }

  /// How many mutations may be applied before readers must be let in. At least 1.
  [[nodiscard]] std::uint64_t most_mutations() const noexcept {
    if (nanoseconds_each_ == 0) {
      return std::min(bounds_.mutations, mutations_before_measured);
    }
    const auto allowed = static_cast<double>(bounds_.applying.count());
    if (nanoseconds_each_ * static_cast<double>(bounds_.mutations) <= allowed) {
      return bounds_.mutations;
    }
    return std::max<std::uint64_t>(1, static_cast<std::uint64_t>(allowed / nanoseconds_each_));
  }

 private:
  // A call that is larger than a group may be has no other beside it.
  [[nodiscard]] bool is_alone(const Call& call) const noexcept {
    return call.alone || call.mutations > bounds_.mutations || call.bytes > bounds_.bytes;
  }

  // Learns from a group whether leaders wait in vain.
  void judge_waiting() noexcept {
    if (waiting_ >= expected_) {
      vain_waits_ = expected_ > 1 ? 0 : vain_waits_;  // one thread, which came back, says nothing about others
    } else if (groups_without_waiting_ > 0) {
      --groups_without_waiting_;
    } else {
      vain_waits_ = std::min(vain_waits_ + 1, most_vain_waits);
      groups_without_waiting_ = std::uint64_t{1} << vain_waits_;
    }
  }

  // Whether an identifier of the call is one of a call before it, in the group or passed.
  [[nodiscard]] bool concerns_one_before(const Call& call) const noexcept {
    const auto was_seen = [&](std::size_t id) { return ids_before_.test(id % ids_before_.size()); };
    if (std::ranges::none_of(call.ids, was_seen)) {
      return false;  // what comparing all with all would cost, every caller would wait for
    }
    const auto concerns = [&](const Call& other) {
      return std::ranges::find_first_of(call.ids, other.ids) != call.ids.end();
    };
    for (const Call& other : Group(first_in_group_)) {
      if (concerns(other)) {
        return true;
      }
    }
    for (const Call* other = first_waiting_; other != &call; other = other->next) {
      if (concerns(*other)) {
        return true;
      }
    }
    return false;
  }

  // How many calls may be passed: what stays must not make each group a walk over all that wait.
  static constexpr std::size_t most_passed = 16;

  // A group before the first measured one: an index whose mutations take long must not be given a thousand of them.
  static constexpr std::uint64_t mutations_before_measured = 64;

  // 2^6 groups without waiting for one in vain: what it costs is lost in them.
  static constexpr unsigned most_vain_waits = 6;

  GroupBounds bounds_;
  Call* first_in_group_ = nullptr;
  Call* first_waiting_ = nullptr;
  Call* last_waiting_ = nullptr;
  std::size_t waiting_ = 0;
  std::size_t expected_ = 0;                  // calls, from the threads that were seen at the last settle()
  unsigned vain_waits_ = 0;                   // one behind the other
  std::uint64_t groups_without_waiting_ = 0;  // to come
  double nanoseconds_each_ = 0;               // how long a mutation takes to apply; 0 if none was
  std::bitset<16384> ids_before_;             // what the identifiers of a group leave as their remainders
};

}  // namespace iqdb
