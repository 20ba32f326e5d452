// Every state that a power cut can leave a disk in, each with a number.
//
// disk_model.hpp describes the possible outcomes of a file. Any subset of the unsynced changes of names may be on the
// disk, as far as it is possible: a rename takes the name from any file that has it, whether or not the renamed file
// was ever durable under its old name. Names and files are independent of each other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "iqdb/persist/testing/disk_model.hpp"
#include "iqdb/persist/testing/random.hpp"
#include "iqdb/persist/testing/simulated_disk.hpp"
#include "iqdb/persist/testing/simulated_file_system.hpp"
#include "iqdb/persist/testing/simulated_names.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace testing {

/// The states that a disk may be in if the power is cut now. Valid until the next call that changes the file system.
class CrashStates {
 public:
  /// The states of `system` now. `seed` determines garbage.
  CrashStates(const SimulatedFileSystem& system, std::uint64_t seed)
      : disk_(system.state_, &system.state_->disk), seed_(seed) {
    if (disk_->unsynced.size() > most_name_changes) {
      count_ = std::numeric_limits<std::uint64_t>::max();
      return;
    }
    for (std::uint64_t subset = 0; subset >> disk_->unsynced.size() == 0; ++subset) {
      names_.push_back(names_with(subset));
      std::uint64_t of_these = 1;
      for (const SimulatedFile* file : files_in(names_.back())) {
        of_these = saturating_product(of_these, outcomes(file).count());
      }
      counts_.push_back(of_these);
      count_ = saturating_sum(count_, of_these);
    }
  }

  /// The number of states, at least 1, or the largest number of the type if it is larger. Two states may be equal.
  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }

  /// The state with this number. State 0 holds nothing unsynced. Precondition: number < count(), and count() is not the
  /// largest number of the type.
  [[nodiscard]] DiskState at(std::uint64_t number) const {
    std::size_t subset = 0;
    for (; number >= counts_[subset]; ++subset) {
      number -= counts_[subset];
    }
    return make(names_[subset], [&](const FileOutcomes& file) {
      const std::uint64_t outcome = number % file.count();
      number /= file.count();
      return file.at(outcome);
    });
  }

  /// A random state.
  [[nodiscard]] DiskState any(Random& random) const {
    const auto choose = [&](const FileOutcomes& file) { return file.any(random); };
    return names_.empty() ? make(names_with(random.next()), choose)
                          : make(names_[static_cast<std::size_t>(random.below(names_.size()))], choose);
  }

  /// The state with no unsynced change.
  [[nodiscard]] DiskState nothing_unsynced() const {
    DiskState state;
    for (const auto& [name, file] : disk_->synced) {
      state.emplace(name, file->synced);
    }
    return state;
  }

  /// The state with every unsynced change.
  [[nodiscard]] DiskState everything() const {
    return make(disk_->visible, [](const FileOutcomes& file) { return file.everything(); });
  }

  /// The number of bytes that the last change wrote, or 0 if it was not a write.
  [[nodiscard]] std::size_t last_write_bytes() const noexcept {
    return disk_->last_written ? disk_->last_written->unsynced.back().bytes.size() : 0;
  }

  /// The state with every change, except that only a prefix of the last write is there. Precondition: prefix_bytes <
  /// last_write_bytes().
  [[nodiscard]] DiskState with_prefix_of_last_write(std::size_t prefix_bytes) const {
    const SimulatedFile& file = *disk_->last_written;
    auto content = std::make_shared<std::vector<std::byte>>(*file.synced);
    for (const FileChange& change : file.unsynced) {
      make_change(*content, change, &change == &file.unsynced.back() ? prefix_bytes : change.bytes.size());
    }
    DiskState state = everything();
    for (const auto& [name, linked] : disk_->visible) {
      if (linked == disk_->last_written) {
        state[name] = content;
      }
    }
    return state;
  }

 private:
  static constexpr std::size_t most_name_changes = 10;

  // The names after the changes whose bits are set in `subset`.
  [[nodiscard]] NameTable names_with(std::uint64_t subset) const {
    NameTable names = disk_->synced;
    for (const NameChange& change : disk_->unsynced) {
      if ((subset & 1U) != 0) {
        make_change(names, change);
      }
      subset >>= 1U;
    }
    return names;
  }

  // Each file once, however many names it has.
  static std::set<const SimulatedFile*> files_in(const NameTable& names) {
    std::set<const SimulatedFile*> files;
    for (const auto& [name, file] : names) {
      files.insert(file.get());
    }
    return files;
  }

  const FileOutcomes& outcomes(const SimulatedFile* file) const {
    const auto found = outcomes_.find(file);
    return found != outcomes_.end()
               ? found->second
               : outcomes_.emplace(file, FileOutcomes(*file, disk_->discarded, seed_)).first->second;
  }

  template <class Choose>
  [[nodiscard]] DiskState make(const NameTable& names, Choose&& choose) const {
    std::map<const SimulatedFile*, SharedBytes> chosen;
    DiskState state;
    for (const auto& [name, file] : names) {
      SharedBytes& bytes = chosen[file.get()];
      if (!bytes) {
        bytes = choose(outcomes(file.get()));
      }
      state.emplace(name, bytes);
    }
    return state;
  }

  std::shared_ptr<const SimulatedDisk> disk_;
  std::uint64_t seed_;
  std::vector<NameTable> names_;       // by subset of the changes; empty if they are too many
  std::vector<std::uint64_t> counts_;  // the number of states of each subset
  std::uint64_t count_ = 0;
  mutable std::map<const SimulatedFile*, FileOutcomes> outcomes_;
};

}  // namespace testing
}  // namespace iqdb
