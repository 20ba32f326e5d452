// A life that goes from process to process: each ends with a power cut, or is killed, and the next one takes up what it
// has left.
#pragma once

#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "iqdb/persist/error.hpp"
#include "kernel/endless_life.hpp"
#include "kernel/mounted_file_system.hpp"
#include "kernel/shared_memory.hpp"
#include "kernel/witness.hpp"
#include "support/child_process.hpp"

namespace iqdb_test {

/// A life in a directory of its own.
class LifeOfProcesses {
 public:
  /// The life with this number; `files` must outlive this.
  LifeOfProcesses(std::uint64_t number, const MountedFileSystem& files)
      : number_(number),
        plan_(plan_of(number)),
        directory_(files.point() / ("life_" + std::to_string(number))),
        witness_({.lsn = 0, .contents = plan_.subject.contents(plan_.subject.make())}, plan_.config.wal_enabled),
        random_(number),
        cuts_left_(1 + random_.below(most_cuts)) {
    std::filesystem::create_directory(directory_);
    files.sync();  // to make the directory durable is not the index's business
  }

  /// A process begins the life, or goes on with it.
  void start() {
    start_process([](EndlessLife& life) { life.run(); });
  }

  /// The process is killed, and another one goes on.
  void restart() {
    end_process(child_->kill());
    if (ending_->kind == Ending::none) {
      start();
    }
  }

  /// To be called before the power is cut.
  void power_goes() noexcept {
    witness_.power_goes();
    must_not_have_failed();
  }

  /// The power was cut, for the `cut`-th time.
  void end_with_cut(std::uint64_t cut) {
    if (child_) {  // else there is none since restart
      end_process(child_->kill());
    }
    if (ending_->kind == Ending::failed) {
      ending_->kind = Ending::none;
    }
    was_recovering_ = witness_.is_cut();
    witness_.power_cut();
    last_cut_ = cut;
    --cuts_left_;
  }

  /// Whether it has lived through as many cuts as it should.
  [[nodiscard]] bool is_over() const noexcept { return cuts_left_ == 0; }

  /// Ends it in order.
  void finish() {
    start_process([](EndlessLife& life) { life.finish(); });
    end_process(child_->wait());
    must_not_have_failed();
  }

  /// Which promise was broken, in words; nothing if none was.
  [[nodiscard]] std::optional<std::string> violation() const {
    if (ending_->kind != Ending::violated) {
      return std::nullopt;
    }
    return "life " + std::to_string(number_) + " (" + to_string(plan_) + "): " + ending_->message.data();
  }

  /// Whether the last cut came while what an earlier one had left was being loaded.
  [[nodiscard]] bool was_recovering() const noexcept { return was_recovering_; }

  /// The number of the last cut that it has lived through, 0 for none.
  [[nodiscard]] std::uint64_t last_cut() const noexcept { return last_cut_; }

  /// What its loads have found.
  [[nodiscard]] const Findings& findings() const noexcept { return witness_.findings(); }

  /// Removes its files for good.
  void remove(const MountedFileSystem& files) const {
    std::filesystem::remove_all(directory_);
    files.sync();
  }

 private:
  static constexpr std::uint64_t most_cuts = 8;

  // How a process ended by itself.
  struct Ending {
    enum Kind : std::uint8_t { none, failed, violated };
    std::atomic<Kind> kind;
    std::array<char, 4096> message;

    void set(Kind how, std::string_view text) noexcept {
      const std::size_t length = std::min(text.size(), message.size() - 1);
      std::copy_n(text.data(), length, message.data());
      message[length] = '\0';
      kind = how;
    }
  };

  // Whoever has failed has not failed for want of power.
  void must_not_have_failed() noexcept {
    if (ending_->kind == Ending::failed) {
      ending_->kind = Ending::violated;
    }
  }

  template <class Work>
  void start_process(Work work) {
    const std::uint64_t seed = random_.next();
    const pid_t parent = ::getpid();
    child_.emplace([this, work, seed, parent] {
      // The parent must not leave children behind, however it ends.
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      return ::getppid() == parent ? live(work, seed) : EXIT_FAILURE;
    });
  }

  template <class Work>
  int live(Work work, std::uint64_t seed) {
    try {
      EndlessLife life(plan_, directory_ / "index", witness_, seed);
      work(life);
      return EXIT_SUCCESS;
    } catch (const iqdb::PersistError& error) {
      const bool is_of_the_disk =
          error.kind() == iqdb::PersistErrorKind::io || error.kind() == iqdb::PersistErrorKind::poisoned;
      end_with(is_of_the_disk ? Ending::failed : Ending::violated, error.what());
    } catch (const std::exception& error) {
      end_with(Ending::violated, error.what());
    }
    return EXIT_FAILURE;
  }

  // A file system that is shut down may answer anything: what is really broken, the next load finds again.
  void end_with(Ending::Kind how, std::string_view why) noexcept {
    ending_->set(witness_.power_is_going() ? Ending::failed : how, why);
  }

  void end_process(int status) {
    child_.reset();
    witness_.catch_up();
    const bool is_expected = status == -SIGKILL || status == EXIT_SUCCESS || ending_->kind != Ending::none;
    if (!is_expected) {
      ending_->set(Ending::violated, "the process crashed: " + std::to_string(status));
    }
  }

  std::uint64_t number_;
  Plan plan_;
  std::filesystem::path directory_;
  Witness witness_;
  Random random_;
  std::uint64_t cuts_left_;
  std::uint64_t last_cut_ = 0;
  bool was_recovering_ = false;
  SharedMemory<Ending> ending_;
  std::optional<ChildProcess> child_;
};

}  // namespace iqdb_test
