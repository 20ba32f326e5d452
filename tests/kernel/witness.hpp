// Witness: an oracle that is fed by a process which may be killed at any instruction, and read by the one that outlives
// it.
#pragma once

#include <unistd.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "iqdb/persist/testing/oracle.hpp"
#include "kernel/shared_memory.hpp"

namespace iqdb_test {

using iqdb::testing::Moment;
using iqdb::testing::Oracle;

/// What an index holds, in short: moments are kept by the thousand.
[[nodiscard]] inline std::string digest(std::string_view contents) {
  return std::to_string(std::hash<std::string_view>()(contents));
}

/// What loads behind power cuts have found.
struct Findings {
  std::uint64_t loads = 0;             ///< loads that were the first to succeed behind a cut
  std::uint64_t durable = 0;           ///< mutations acknowledged as durable before it, all of them found
  std::uint64_t durable_saves = 0;     ///< the same of saves, with the log off
  std::uint64_t not_durable = 0;       ///< mutations that were acknowledged only
  std::uint64_t not_durable_lost = 0;  ///< of which the cut took so many
  std::uint64_t under_way = 0;         ///< loads that found the step during which the power was cut

  /// Adds what others have found.
  Findings& operator+=(const Findings& other) noexcept {
    loads += other.loads;
    durable += other.durable;
    durable_saves += other.durable_saves;
    not_durable += other.not_durable;
    not_durable_lost += other.not_durable_lost;
    under_way += other.under_way;
    return *this;
  }
};

/// The oracle of one life. A child works on the copy that it has from its fork, and notes in shared memory what it does
/// to it, each time before the next call of the index; the parent does the same to its own when the child is gone.
///
/// A system whose power goes tells nobody anything any more. One whose file system is shut down does: a sync that was
/// under way may return as if it had succeeded, having written nothing. The parent therefore says so beforehand, and
/// what a child would note from then on counts for nothing.
class Witness {
 public:
  /// Of a life that begins with `first`, whose contents must be a digest.
  Witness(Moment first, bool wal_enabled) : oracle_(std::move(first)), wal_enabled_(wal_enabled) {}

  // ---- In the child

  /// From now on a load may find `moment` as well. Its contents must be a digest.
  void expect(const Moment& moment) {
    note({.kind = Note::Kind::expected, .number = moment.lsn, .digest = number_of(moment)});
  }

  /// All that is expected was acknowledged.
  void acknowledge() { note({.kind = Note::Kind::acknowledged, .number = 0, .digest = 0}); }

  /// All that was acknowledged is durable.
  void make_durable() { note({.kind = Note::Kind::durable, .number = 0, .digest = 0}); }

  /// A load found the moment `which`.
  void found(std::size_t which) { note({.kind = Note::Kind::found, .number = which, .digest = 0}); }

  // ---- In the parent

  /// The power goes in a moment: nothing that a child learns from now on may be believed.
  void power_goes() noexcept { notes_->power_goes = true; }

  /// Takes over what a child that is gone has noted.
  void catch_up() {
    const std::size_t count = notes_->count;
    for (std::size_t at = 0; at < count; ++at) {
      take(notes_->all[at]);
    }
    notes_->count = 0;
    notes_->power_goes = false;
  }

  /// The power was cut: what was not durable is not promised any more.
  void power_cut() {
    if (!is_cut_) {
      // Of several cuts in a row without a load between them the first one is what takes.
      acknowledged_at_cut_ = oracle_.acknowledged();
    }
    is_cut_ = true;
    oracle_.forget_volatile();
  }

  /// Whether no load has succeeded since the last cut.
  [[nodiscard]] bool is_cut() const noexcept { return is_cut_; }

  /// What was found so far.
  [[nodiscard]] const Findings& findings() const noexcept { return findings_; }

  // ---- In both

  /// Whether the power is about to go, or is gone.
  [[nodiscard]] bool power_is_going() const noexcept { return notes_->power_goes; }

  /// What a load may find.
  [[nodiscard]] const Oracle& oracle() const noexcept { return oracle_; }

 private:
  struct Note {
    enum class Kind : std::uint64_t { expected, acknowledged, durable, found };
    Kind kind;
    std::uint64_t number;
    std::uint64_t digest;
  };
  struct Notes {
    std::atomic<bool> power_goes;
    std::atomic<std::size_t> count;
    std::array<Note, std::size_t{1} << 20U> all;
  };

  static std::uint64_t number_of(const Moment& moment) { return std::stoull(moment.contents); }

  void note(const Note& note) {
    const std::size_t count = notes_->count;
    // What is expected may be noted at any time: it is no promise. But there must be room for it.
    while (count == notes_->all.size() || (power_is_going() && note.kind != Note::Kind::expected)) {
      ::pause();  // until the power is cut
    }
    notes_->all[count] = note;
    notes_->count = count + 1;
    take(note);
  }

  void take(const Note& note) {
    switch (note.kind) {
      case Note::Kind::expected:
        oracle_.expect({.lsn = note.number, .contents = std::to_string(note.digest)});
        return;
      case Note::Kind::acknowledged:
        oracle_.acknowledge();
        return;
      case Note::Kind::durable:
        oracle_.make_durable();
        ++saves_;
        return;
      case Note::Kind::found:
        take_found(static_cast<std::size_t>(note.number));
        return;
    }
  }

  void take_found(std::size_t which) {
    if (is_cut_) {
      const auto lsn = [this](std::size_t moment) { return oracle_.moments()[moment].lsn; };
      ++findings_.loads;
      findings_.under_way += which > acknowledged_at_cut_ ? 1U : 0U;
      if (wal_enabled_) {
        findings_.durable += lsn(oracle_.durable()) - checked_lsn_;
        findings_.not_durable += lsn(acknowledged_at_cut_) - lsn(oracle_.durable());
        findings_.not_durable_lost += which < acknowledged_at_cut_ ? lsn(acknowledged_at_cut_) - lsn(which) : 0;
        checked_lsn_ = lsn(which);
      } else {
        findings_.durable_saves += saves_;
      }
      saves_ = 0;
      is_cut_ = false;
    }
    // With the log off a load syncs nothing.
    wal_enabled_ ? oracle_.settle(which) : oracle_.read(which);
  }

  Oracle oracle_;
  bool wal_enabled_;
  SharedMemory<Notes> notes_;
  bool is_cut_ = false;
  std::size_t acknowledged_at_cut_ = 0;
  std::uint64_t checked_lsn_ = 0;  // all up to here was found behind some cut
  std::uint64_t saves_ = 0;        // since the last load behind a cut
  Findings findings_;
};

}  // namespace iqdb_test
