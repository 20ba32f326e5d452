// What the schedules of clients of an object store share: how a client asks, and what a violation names.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/testing/clients_in_turn.hpp"
#include "iqdb/persist/testing/random.hpp"
#include "iqdb/persist/testing/violation.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/object_requests.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace testing {

/// How clients of a schedule ask their store: few attempts and short listings, which `random` chooses. In place of a pause another
/// client may go on. Both arguments must outlive the result.
[[nodiscard]] inline ObjectLogOptions any_object_options(Random& random, ClientsInTurn& turns) {
  ObjectLogOptions options;
  options.most_attempts = static_cast<unsigned>(2 + random.below(6));
  options.most_beginnings = 12;
  options.listed_at_once = static_cast<std::size_t>(1 + random.below(12));
  options.pause = [&turns](unsigned /*failures*/) { turns.step(); };
  options.nonce = [&random] { return random.next(); };
  return options;
}

/// The same for a client that is alone: it waits for nobody.
[[nodiscard]] inline ObjectLogOptions alone(ObjectLogOptions options) {
  options.pause = [](unsigned /*failures*/) {};
  return options;
}

/// Calls `run()`. A Violation then names the seed, and an error that leaves it is one.
template <class Run>
void naming_seed(std::uint64_t seed, Run&& run) {
  try {
    std::forward<Run>(run)();
  } catch (const Violation& violation) {
    throw Violation(std::string(violation.what()) + "; seed " + std::to_string(seed));
  } catch (const PersistError& error) {
    throw Violation(std::string("an error that no store explains: ") + error.what() + "; seed " + std::to_string(seed));
  }
}

}  // namespace testing
}  // namespace iqdb
