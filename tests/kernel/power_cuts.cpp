// Lives of durable indexes on a real file system whose power is cut at random moments: nothing that was acknowledged as
// durable may be lost, and nothing may be there that was never asked for.
//
//   power_cuts DEVICE DIRECTORY TYPE OPTIONS CUTS SEED
//
// DEVICE holds a new file system of the TYPE, which is mounted on the DIRECTORY with the OPTIONS of mount(8) that are
// the file system's own. run.py makes all of it, and takes it away again. The last line of the output is a report in
// JSON. Ends with 1 where a promise was broken, with 77 where power cannot be cut on this system, and with 2 where the
// examination itself failed.
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "iqdb/persist/testing/random.hpp"
#include "kernel/life_of_processes.hpp"
#include "kernel/mounted_file_system.hpp"
#include "kernel/witness.hpp"

namespace {

using iqdb_test::Findings;
using iqdb_test::LifeOfProcesses;
using iqdb_test::MountedFileSystem;
using iqdb_test::Random;

constexpr int lost = 1;
constexpr int broken = 2;
constexpr int cannot_run = 77;

// Lives that begin, are cut, and go on, until there were enough cuts.
class Examination {
 public:
  Examination(const MountedFileSystem& files, std::uint64_t seed)
      : files_(&files), random_(seed), next_life_(seed << 32U) {}

  // Cuts the power once, and gives it back.
  void cut() {
    const std::vector<LifeOfProcesses*> living = choose();
    for (LifeOfProcesses* life : living) {
      life->start();
    }
    wait();
    if (random_.one_in(4)) {
      living.front()->restart();
      ++kills_;
      wait();
    }
    for (LifeOfProcesses* life : living) {
      life->power_goes();
    }
    files_->cut_power();
    ++cuts_;
    for (LifeOfProcesses* life : living) {
      life->end_with_cut(cuts_);
      ++lives_cut_;
      cut_loads_ += life->was_recovering() ? 1U : 0U;
    }
    files_->remount();
    for (auto& life : lives_) {
      if (life && !life->violation() && life->is_over()) {
        life->finish();
        end(life);
      } else if (life && life->violation()) {
        end(life);
      }
    }
  }

  // Ends all lives in order.
  void finish() {
    for (auto& life : lives_) {
      if (life) {
        life->finish();
        end(life);
      }
    }
  }

  // How many promises were found broken.
  [[nodiscard]] std::uint64_t violations() const noexcept { return violations_; }

  [[nodiscard]] nlohmann::ordered_json report() const {
    return {{"cuts", cuts_},
            {"cuts_with_loss", cuts_with_loss_.size()},
            {"violations", violations_},
            {"lives", ended_},
            {"processes_cut", lives_cut_},
            {"loads_cut", cut_loads_},
            {"kills", kills_},
            {"loads", findings_.loads},
            {"loads_with_step_under_way", findings_.under_way},
            {"durable_mutations", findings_.durable},
            {"durable_saves", findings_.durable_saves},
            {"other_mutations", findings_.not_durable},
            {"other_mutations_lost", findings_.not_durable_lost}};
  }

 private:
  // Who lives until the next cut. Half of the time it is one alone: a sync of one life makes the file system write its
  // journal, and so hides that another lacks one.
  std::vector<LifeOfProcesses*> choose() {
    const std::uint64_t count = random_.one_in(2) ? 1 : 1 + random_.below(lives_.size());
    std::vector<LifeOfProcesses*> chosen;
    for (std::uint64_t at = 0; at < count; ++at) {
      auto& life = lives_[next_place_++ % lives_.size()];
      if (!life) {
        life = std::make_unique<LifeOfProcesses>(next_life_++, *files_);
      }
      chosen.push_back(life.get());
    }
    return chosen;
  }

  // From nothing to 128 ms, short times more often: they end within a load.
  void wait() {
    const std::uint64_t most = std::uint64_t{1000} << random_.below(8);
    std::this_thread::sleep_for(std::chrono::microseconds(random_.below(most)));
  }

  void end(std::unique_ptr<LifeOfProcesses>& life) {
    if (const auto violation = life->violation()) {
      ++violations_;
      cuts_with_loss_.insert(life->last_cut());
      constexpr std::uint64_t most_told = 10;
      if (violations_ <= most_told) {
        std::cout << "after cut " << life->last_cut() << ": " << *violation << '\n' << std::flush;
      }
    }
    findings_ += life->findings();
    ++ended_;
    life->remove(*files_);
    life.reset();
  }

  const MountedFileSystem* files_;
  Random random_;
  std::uint64_t next_life_;
  std::size_t next_place_ = 0;
  std::array<std::unique_ptr<LifeOfProcesses>, 4> lives_;
  std::uint64_t cuts_ = 0;
  std::set<std::uint64_t> cuts_with_loss_;
  std::uint64_t violations_ = 0;
  std::uint64_t ended_ = 0;      // lives
  std::uint64_t lives_cut_ = 0;  // as many as lived, at each cut
  std::uint64_t cut_loads_ = 0;  // of which were recovering from an earlier one
  std::uint64_t kills_ = 0;      // of processes, between the cuts
  Findings findings_;
};

int run(char** arguments) {
  const std::uint64_t cuts = std::strtoull(arguments[5], nullptr, 10);
  const std::uint64_t seed = std::strtoull(arguments[6], nullptr, 10);
  const MountedFileSystem files(arguments[1], arguments[2], arguments[3], arguments[4]);
  Examination examination(files, seed);
  const auto began = std::chrono::steady_clock::now();
  for (std::uint64_t cut = 1; cut <= cuts; ++cut) {
    examination.cut();
    constexpr std::uint64_t now_and_then = 100;
    if (cut % now_and_then == 0) {
      std::cout << cut << " cuts\n" << std::flush;
    }
  }
  examination.finish();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  auto report = examination.report();
  report["seconds"] = took.count();
  std::cout << report << '\n';
  return examination.violations() == 0 ? EXIT_SUCCESS : lost;
}

}  // namespace

int main(int argc, char** argv) {
  constexpr int expected = 7;
  if (argc != expected) {
    std::cerr << "usage: " << argv[0] << " DEVICE DIRECTORY TYPE OPTIONS CUTS SEED\n";
    return broken;
  }
  try {
    return run(argv);
  } catch (const iqdb_test::CannotCut& error) {
    std::cerr << "not run: " << error.what() << '\n';
    return cannot_run;
  } catch (const std::exception& error) {
    std::cerr << "the examination failed: " << error.what() << '\n';
    return broken;
  }
}
