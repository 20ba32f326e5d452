// The model of what a disk may hold of a file with unsynced changes.
//
// A change is volatile until its file is synced. Until then each sector on the disk may hold its content at the last
// sync, or its content after any later change, or a torn sector: a prefix of a newer content followed by the rest of an
// older one. The file may have any size that it had since the last sync. A sector that held no synced bytes and was
// written to may also hold zeros or garbage. Sectors are independent of each other and of the size, so the model covers
// every order in which a system writes them back.
//
// The assumption about the medium (powersafe overwrite): a torn write changes neither the bytes outside the sectors
// being written nor, within a sector, the prefix that the write leaves equal.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "iqdb/persist/storage/file_system.hpp"
#include "iqdb/persist/testing/random.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace testing {

/// The unit that a disk writes whole, or only a prefix of.
inline constexpr std::size_t sector_bytes = 512;

/// Immutable bytes, shared by their readers.
using SharedBytes = std::shared_ptr<const std::vector<std::byte>>;

/// A change of a file's bytes or size.
struct FileChange {
  /// The kind of a change.
  enum class Kind : std::uint8_t { write, truncate };

  Kind kind;                     ///< the kind
  std::uint64_t offset;          ///< of a write: its offset; of a truncate: the new size
  std::vector<std::byte> bytes;  ///< the bytes written
};

/// Makes a change. Of a write, only the first `most_bytes` are made.
inline void make_change(std::vector<std::byte>& content, const FileChange& change,
                        std::size_t most_bytes = std::numeric_limits<std::size_t>::max()) {
  const auto offset = static_cast<std::size_t>(change.offset);
  if (change.kind == FileChange::Kind::truncate) {
    content.resize(offset);
    return;
  }
  const auto bytes = std::span(change.bytes).first(std::min(most_bytes, change.bytes.size()));
  if (bytes.empty()) {
    return;
  }
  content.resize(std::max(content.size(), offset + bytes.size()));
  std::ranges::copy(bytes, content.begin() + static_cast<std::ptrdiff_t>(offset));
}

/// A file: the bytes that a process sees, and those that the disk has.
struct SimulatedFile {
  SharedBytes visible = std::make_shared<const std::vector<std::byte>>();  ///< what a process reads
  SharedBytes synced = visible;                                            ///< the bytes at the last sync
  std::vector<FileChange> unsynced;                                        ///< the changes since, in order
  bool lost_some = false;              ///< a sync failed: some visible bytes will never be written
  FileStatus status{.regular = true};  ///< all but the size
};

/// The bytes that the disk has after every change has reached it: the visible bytes without what a failed sync has
/// lost.
[[nodiscard]] inline SharedBytes with_all_changes(const SimulatedFile& file) {
  if (!file.lost_some) {
    return file.visible;
  }
  auto content = std::make_shared<std::vector<std::byte>>(*file.synced);
  for (const FileChange& change : file.unsynced) {
    make_change(*content, change);
  }
  return content;
}

/// a * b, or the largest number of the type if it overflows.
[[nodiscard]] constexpr std::uint64_t saturating_product(std::uint64_t a, std::uint64_t b) noexcept {
  constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
  return b != 0 && a > most / b ? most : a * b;
}

/// a + b, or the largest number of the type if it overflows.
[[nodiscard]] constexpr std::uint64_t saturating_sum(std::uint64_t a, std::uint64_t b) noexcept {
  return a > std::numeric_limits<std::uint64_t>::max() - b ? std::numeric_limits<std::uint64_t>::max() : a + b;
}

/// Every content that a disk may hold of one file, each with a number.
class FileOutcomes {
 public:
  /// The outcomes of `file` now. Garbage consists of the bytes of `stale`, a removed file, at the same offset, or
  /// follows from `seed`.
  FileOutcomes(const SimulatedFile& file, const SharedBytes& stale, std::uint64_t seed)
      : synced_(file.synced), everything_(with_all_changes(file)) {
    sizes_.push_back(synced_->size());
    std::map<std::size_t, Sector> changed;
    std::vector<std::byte> content = *synced_;
    for (const FileChange& change : file.unsynced) {
      const auto old_size = content.size();
      make_change(content, change);
      if (std::ranges::find(sizes_, content.size()) == sizes_.end()) {
        sizes_.push_back(content.size());
      }
      const bool writes = change.kind == FileChange::Kind::write;
      const auto begin = static_cast<std::size_t>(change.offset);
      const std::size_t end = writes ? begin + change.bytes.size() : std::max(old_size, content.size());
      for (std::size_t number = begin / sector_bytes; number * sector_bytes < end; ++number) {
        auto [found, is_new] = changed.try_emplace(number);
        if (is_new) {
          found->second.versions.push_back(sector_of(*synced_, number));
        }
        found->second.written = found->second.written || writes;
        const SectorBytes now = sector_of(content, number);
        if (found->second.versions.back() != now) {
          found->second.versions.push_back(now);
        }
      }
    }
    for (auto& [number, sector] : changed) {
      sector.number = number;
      const std::size_t sound = sector.versions.size();
      const bool held_nothing = number * sector_bytes >= synced_->size();
      if (held_nothing && sector.written) {
        sector.versions.push_back(garbage(stale, number, seed));
      }
      list_outcomes(sector, sound);
      if (sector.outcomes.size() > 1) {
        sectors_.push_back(std::move(sector));
      }
    }
    for (const std::size_t size : sizes_) {
      std::uint64_t of_this_size = 1;
      for (const Sector& sector : sectors_) {
        if (sector.number * sector_bytes < size) {
          of_this_size = saturating_product(of_this_size, sector.outcomes.size());
        }
      }
      counts_.push_back(of_this_size);
      count_ = saturating_sum(count_, of_this_size);
    }
  }

  /// The number of outcomes, at least 1, or the largest number of the type if it is larger.
  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }

  /// The outcome with this number. Outcome 0 holds nothing unsynced. Precondition: number < count(), and count() is not
  /// the largest number of the type.
  [[nodiscard]] SharedBytes at(std::uint64_t number) const {
    std::size_t which = 0;
    for (; number >= counts_[which]; ++which) {
      number -= counts_[which];
    }
    return make(sizes_[which], [&](const Sector& sector) {
      const std::uint64_t outcome = number % sector.outcomes.size();
      number /= sector.outcomes.size();
      return static_cast<std::size_t>(outcome);
    });
  }

  /// A random outcome. Old, new and torn sectors are about equally frequent.
  [[nodiscard]] SharedBytes any(Random& random) const {
    return make(sizes_[static_cast<std::size_t>(random.below(sizes_.size()))], [&](const Sector& sector) {
      const std::size_t whole = sector.whole_outcomes;
      return static_cast<std::size_t>(sector.outcomes.size() > whole && random.one_in(3)
                                          ? random.below(sector.outcomes.size())
                                          : random.below(whole));
    });
  }

  /// The outcome with every unsynced change.
  [[nodiscard]] const SharedBytes& everything() const noexcept { return everything_; }

 private:
  using SectorBytes = std::array<std::byte, sector_bytes>;

  // The first `cut` bytes of one version, the rest of another.
  struct Outcome {
    std::size_t newer;
    std::size_t older;
    std::size_t cut;
  };

  struct Sector {
    std::size_t number = 0;
    std::vector<SectorBytes> versions;  // first the synced bytes or zeros, last the garbage, if possible
    bool written = false;               // and not only cut off
    std::vector<Outcome> outcomes;
    std::size_t whole_outcomes = 0;  // at the start of `outcomes`: those that are not torn
  };

  static SectorBytes sector_of(std::span<const std::byte> content, std::size_t number) {
    SectorBytes bytes{};
    const std::size_t begin = std::min(number * sector_bytes, content.size());
    std::ranges::copy(content.subspan(begin, std::min(sector_bytes, content.size() - begin)), bytes.begin());
    return bytes;
  }

  static SectorBytes garbage(const SharedBytes& stale, std::size_t number, std::uint64_t seed) {
    SectorBytes bytes = stale ? sector_of(*stale, number) : SectorBytes{};
    if (std::ranges::all_of(bytes, [](std::byte each) { return each == std::byte{0}; })) {
      Random random(seed + number);
      std::ranges::generate(bytes, [&] { return static_cast<std::byte>(random.next() >> 56U); });
    }
    return bytes;
  }

  // Lists every outcome once: a cut behind a byte that both versions share gives the same sector as the cut before it.
  // The first `sound` versions are not garbage.
  static void list_outcomes(Sector& sector, std::size_t sound) {
    for (std::size_t version = 0; version < sector.versions.size(); ++version) {
      sector.outcomes.push_back({.newer = version, .older = version, .cut = sector_bytes});
    }
    sector.whole_outcomes = sector.outcomes.size();
    const auto list_cuts = [&sector](std::size_t newer, std::size_t older) {
      const SectorBytes& front = sector.versions[newer];
      const SectorBytes& back = sector.versions[older];
      std::size_t last = sector_bytes;  // behind it both are equal and cannot be torn
      while (last > 0 && front[last - 1] == back[last - 1]) {
        --last;
      }
      for (std::size_t cut = 1; cut < last; ++cut) {
        if (front[cut - 1] != back[cut - 1]) {
          sector.outcomes.push_back({.newer = newer, .older = older, .cut = cut});
        }
      }
    };
    for (std::size_t newer = 1; newer < sound; ++newer) {
      list_cuts(newer, newer - 1);
      if (newer > 1) {
        list_cuts(newer, 0);
      }
      if (sound < sector.versions.size()) {
        list_cuts(newer, sound);
      }
    }
  }

  template <class Choose>
  [[nodiscard]] SharedBytes make(std::size_t size, Choose&& choose) const {
    auto content = std::make_shared<std::vector<std::byte>>(*synced_);
    content->resize(size);
    for (const Sector& sector : sectors_) {
      const std::size_t begin = sector.number * sector_bytes;
      if (begin >= size) {
        continue;
      }
      const Outcome& outcome = sector.outcomes[choose(sector)];
      const auto into = std::span(*content).subspan(begin, std::min(sector_bytes, size - begin));
      const std::size_t cut = std::min(outcome.cut, into.size());
      std::ranges::copy(std::span(sector.versions[outcome.newer]).first(cut), into.begin());
      std::ranges::copy(std::span(sector.versions[outcome.older]).subspan(cut, into.size() - cut),
                        into.begin() + static_cast<std::ptrdiff_t>(cut));
    }
    return content;
  }

  SharedBytes synced_;
  SharedBytes everything_;
  std::vector<std::size_t> sizes_;  // the first is the synced one
  std::vector<std::uint64_t> counts_;
  std::uint64_t count_ = 0;
  std::vector<Sector> sectors_;  // with more than one outcome
};

}  // namespace testing
}  // namespace iqdb
