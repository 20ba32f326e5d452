// What is done to a subject: its file is damaged, its disk is full, its process is killed.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>

#include "subject.hpp"

namespace iqdb_reliability {

/// What came of a load.
enum class Outcome : std::uint8_t {
  right,    ///< everything is there, and right
  refused,  ///< an error, from the load or from a call that reads
  told,     ///< no error; what is there is right, something is missing, and the load has reported that
  lost,     ///< the same, and nothing was reported
  wrong,    ///< no error, and other contents or answers than what was stored
  crashed,  ///< the process was ended by a signal, or by the library
  hung,     ///< it had not ended after some seconds
  older,    ///< everything is there as it was before it was replaced
};
inline constexpr std::array outcome_names = {"right", "refused", "told", "lost", "wrong", "crashed", "hung", "older"};

/// How often each.
class Counts {
 public:
  void add(Outcome outcome) noexcept { ++counts_[static_cast<std::size_t>(outcome)]; }
  [[nodiscard]] std::uint64_t of(Outcome outcome) const noexcept { return counts_[static_cast<std::size_t>(outcome)]; }

 private:
  std::array<std::uint64_t, outcome_names.size()> counts_{};
};

/// How much is done.
struct Amounts {
  std::uint64_t rows = 16;             ///< in the file that is damaged
  std::uint64_t most_flips = 25'000;   ///< of a file with more bits so many, evenly spread
  std::uint64_t most_lengths = 5'000;  ///< of truncations, the same
  std::uint64_t replaced_rows = 1000;  ///< where the disk is full or the process killed; twice as many take their place
  std::uint64_t full_disks = 50;       ///< each with a little more room
  std::uint64_t kills = 200;
};

/// What loads give of files of which one bit, or the end, is not what was stored.
struct Damage {
  std::uint64_t file_bytes = 0;
  Counts flips;
  Counts truncations;
};

/// What loads give when something was to be replaced; apart by whether that had reported an error.
struct Replacement {
  Counts reported;
  Counts silent;
};

/// Examines one subject, in a directory of its own.
class Examination {
 public:
  /// `subject` must outlive this.
  Examination(Subject& subject, std::filesystem::path directory, const Amounts& amounts);

  /// Flips bits and cuts the file short.
  [[nodiscard]] Damage damage();

  /// Fills up the disk, with more and more room left on it. Nothing where no small disk can be made: it takes root.
  [[nodiscard]] std::optional<Replacement> full_disk();

  /// Kills the process that replaces, at random moments.
  [[nodiscard]] Counts kills();

 private:
  Subject& subject_;
  std::filesystem::path directory_;
  Amounts amounts_;
};

}  // namespace iqdb_reliability
