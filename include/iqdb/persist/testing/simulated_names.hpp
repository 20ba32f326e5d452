// The names of a simulated disk: the file that each name leads to, and the changes of names.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "iqdb/persist/testing/disk_model.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace testing {

/// What a disk holds: each file's bytes by its absolute name. Names that share their bytes are names of one file.
using DiskState = std::map<std::string, SharedBytes>;

/// The file that each name leads to.
using NameTable = std::map<std::string, std::shared_ptr<SimulatedFile>>;

/// A change of a directory.
struct NameChange {
  /// The kind of a change.
  enum class Kind : std::uint8_t { add, remove, rename };

  Kind kind;                            ///< the kind
  std::string name;                     ///< the name added or removed; the new one of a rename
  std::string from;                     ///< the old name of a rename
  std::shared_ptr<SimulatedFile> file;  ///< the file that the name leads to, or led to
  bool kept_clean = false;              ///< a sync failed: written only when the directory changes again
};

/// Makes a change as far as possible, since earlier changes may be missing.
inline void make_change(NameTable& names, const NameChange& change) {
  const auto leads_to_it = [&](const std::string& name) {
    const auto found = names.find(name);
    return found != names.end() && found->second == change.file;
  };
  switch (change.kind) {
    case NameChange::Kind::add:
      names[change.name] = change.file;
      return;
    case NameChange::Kind::remove:
      if (leads_to_it(change.name)) {
        names.erase(change.name);
      }
      return;
    case NameChange::Kind::rename:
      if (leads_to_it(change.from)) {
        names.erase(change.from);
      }
      names[change.name] = change.file;
      return;
  }
}

/// The directory of an absolute name.
[[nodiscard]] inline std::string_view directory_of(std::string_view name) {
  const std::size_t slash = name.rfind('/');
  return name.substr(0, std::max<std::size_t>(slash, 1));
}

}  // namespace testing
}  // namespace iqdb
