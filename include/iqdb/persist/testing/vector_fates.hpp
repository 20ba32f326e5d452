// What is known of the vectors of an index that several clients write to, and what follows for a load.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>

#include "iqdb/persist/testing/violation.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace testing {

/// What is known of a vector. Its one component is its identifier.
struct VectorFate {
  std::uint64_t inserted_by = 0;  ///< the number of its insertion; 0 unless that was acknowledged
  std::uint64_t erased_by = 0;    ///< the number of its removal; 0 unless that was acknowledged
  bool is_refused = false;        ///< its writer was told that nothing was written
  unsigned removals = 0;          ///< that have begun, and of which no writer was told that nothing was written
};

/// What is known of the vectors of an index, by their identifiers.
using VectorFates = std::map<std::uint64_t, VectorFate>;

/// The number of the last mutation that was acknowledged; 0 if there is none.
[[nodiscard]] inline std::uint64_t last_acknowledged(const VectorFates& fates) {
  std::uint64_t last = 0;
  for (const auto& [id, fate] : fates) {
    last = std::max({last, fate.inserted_by, fate.erased_by});
  }
  return last;
}

/// Throws Violation unless the index has what was promised `before` it was loaded, less what others have begun to erase until
/// `now`.
template <class I>
void require_promises(const I& index, const VectorFates& before, const VectorFates& now) {
  for (const auto& [id, fate] : before) {
    if (fate.inserted_by != 0 && now.at(id).removals == 0 && !index.contains(id)) {
      throw Violation("the acknowledged vector " + std::to_string(id) + " is not there");
    }
    if (fate.erased_by != 0 && index.contains(id)) {
      throw Violation("the vector " + std::to_string(id) + " is there, whose removal was acknowledged");
    }
    if (fate.is_refused && index.contains(id)) {
      throw Violation("the vector " + std::to_string(id) + " is there, of which its writer was told that it is not");
    }
  }
  for (const VectorId& id : index.ids()) {
    if (!now.contains(id.integer()) || index.find(id)->vector.front() != static_cast<float>(id.integer())) {
      throw Violation("there is a vector that nobody has inserted: " + to_string(id));
    }
  }
}

/// Throws Violation if the index cannot be what it was behind the mutation `number`.
template <class I>
void require_state_behind(const I& index, std::uint64_t number, const VectorFates& fates) {
  for (const auto& [id, fate] : fates) {
    const bool is_there = index.contains(id);
    const bool is_inserted = fate.inserted_by != 0 && fate.inserted_by <= number;
    const bool is_erased = fate.erased_by != 0 && fate.erased_by <= number;
    const bool may_be_erased = is_erased || (fate.erased_by == 0 && fate.removals > 0);
    const bool must_be_missing = fate.inserted_by > number || is_erased || fate.is_refused;
    if (is_there ? must_be_missing : is_inserted && !may_be_erased) {
      throw Violation("the state behind the mutation " + std::to_string(number) + " is wrong: the vector " +
                      std::to_string(id) + (is_there ? " is there" : " is not there"));
    }
  }
}

}  // namespace testing
}  // namespace iqdb
