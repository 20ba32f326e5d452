// A call that one of many callers has made, and what its caller is told.
#pragma once

#include <cstdint>
#include <exception>
#include <string>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/testing/expected_group.hpp"
#include "iqdb/persist/testing/life.hpp"
#include "iqdb/persist/testing/violation.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace testing {

/// What a caller is told.
enum class CallAnswer : std::uint8_t {
  done,      ///< success
  rejected,  ///< an error of the index
  failed     ///< an error of its files
};

/// What a caller is told by this exception; null if there was none.
[[nodiscard]] inline CallAnswer answer_of(const std::exception_ptr& error) {
  try {
    if (error) {
      std::rethrow_exception(error);
    }
    return CallAnswer::done;
  } catch (const PersistError&) {
    return CallAnswer::failed;
  } catch (const std::exception&) {
    return CallAnswer::rejected;
  }
}

/// The answer in words, behind "a call".
[[nodiscard]] constexpr const char* in_words(CallAnswer answer) noexcept {
  return answer == CallAnswer::done ? "succeeds" : answer == CallAnswer::failed ? "fails" : "is rejected";
}

/// A call that was made, or a step of one that goes alone. `Ticket` is that of Callers.
template <class Ticket>
struct MadeCall : Ticket {
  explicit MadeCall(const CallerCall& its_call) : call(&its_call) {}

  /// Whether it has no other beside it.
  [[nodiscard]] bool is_alone() const noexcept {
    return call->kind != CallerCall::Kind::mutate && call->kind != CallerCall::Kind::batch;
  }

  /// What its caller is told. Precondition: is_done().
  [[nodiscard]] CallAnswer answer() const { return answer_of(this->error()); }

  const CallerCall* call;  ///< what was called
  bool has_files = false;  ///< a checkpoint or a close whose turn at the files has come
  bool told = false;       ///< its caller has the result
};

/// Throws Violation unless the caller is told what it must be. Of a group that `failed`, those calls that were rejected say so,
/// and all others fail. Without faults none fails.
template <class Ticket>
void require_right(const MadeCall<Ticket>& made, const ExpectedCall& expected, bool failed, bool with_faults) {
  const CallAnswer answer = made.answer();
  const bool is_right = expected.refused    ? answer == CallAnswer::rejected
                        : expected.rejected ? answer == CallAnswer::rejected || (failed && answer == CallAnswer::failed)
                        : failed            ? answer == CallAnswer::failed
                                            : answer == CallAnswer::done;
  if (!is_right) {
    throw Violation("a caller is told that its call " + std::string(in_words(answer)) + ", but it " +
                    (expected.rejected ? "is rejected"
                     : failed          ? "fails as others of its group"
                                       : "succeeds") +
                    ": " + to_string(*made.call));
  }
  if (answer == CallAnswer::failed && !with_faults) {
    throw Violation("a call fails though nothing failed below it: " + to_string(*made.call));
  }
}

}  // namespace testing
}  // namespace iqdb
