// A process that is killed at any moment loses nothing that was acknowledged, whatever it was doing.
//
// A child opens an index with the log on and works through an endless script (support/mutation_script.hpp); behind each step it
// reports that the step has returned. The parent kills it at a random moment, and the loaded index must then be exactly what the reported steps
// make, or those and the one that was under way. Each round then inserts three more vectors, closes, and loads again.
//
//   kill_during_mutations [SEED [ROUNDS]]
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"
#include "support/child_process.hpp"
#include "support/mutation_script.hpp"
#include "support/temporary_directory.hpp"

namespace {

using namespace iqdb_test::mutation_script;  // NOLINT(google-build-using-namespace): all of it

}  // namespace

int main(int argc, char** argv) {
  const std::uint64_t seed = argc > 1 ? std::stoull(argv[1]) : std::random_device{}();
  const std::uint64_t rounds = argc > 2 ? std::stoull(argv[2]) : 100;
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  try {
    const iqdb_test::TemporaryDirectory directory;
    const auto path = directory.path() / "index.iqdb";
    std::mt19937_64 random(seed);
    Model model;
    std::uint64_t done = 0;  // steps that the model has taken
    std::uint64_t torn = 0;
    std::uint64_t under_way = 0;
    std::uint64_t extra = identifiers;  // for the vectors of the parent
    {
      auto db = Database::open_with(iqdb::FlatIndex(dimension, iqdb::DistanceMetric::euclidean), config_for(path, 0));
      db.close();
    }
    for (std::uint64_t round = 0; round < rounds; ++round) {
      const auto config = config_for(path, round);
      int ends[2];
      if (::pipe(ends) != 0) {
        throw std::runtime_error("cannot make a pipe");
      }
      iqdb_test::ChildProcess child([&] {
        std::optional<Database> db(Database::load(config));
        for (std::uint64_t number = done;; ++number) {
          apply_to_database(seed, number, db, config);
          if (::write(ends[1], &number, sizeof number) != sizeof number) {
            return 1;
          }
        }
      });
      ::close(ends[1]);
      std::this_thread::sleep_for(std::chrono::microseconds(2000 + random() % 40000));
      if (const int ended = child.kill(); ended != -SIGKILL) {
        throw std::runtime_error("the child ended by itself: " + std::to_string(ended));
      }
      for (std::uint64_t number = 0; ::read(ends[0], &number, sizeof number) == sizeof number;) {
        for (; done <= number; ++done) {
          apply_to_model(seed, done, model);
        }
      }
      ::close(ends[0]);

      auto db = Database::load(config);
      torn += db.recovery().dropped_bytes > 0 ? 1U : 0U;
      Model loaded = model_of(db.index());
      if (loaded != model) {
        // The step that was under way is there as a whole, or not at all.
        apply_to_model(seed, done++, model);
        ++under_way;
        if (loaded != model) {
          std::printf("round %llu: step %llu: the loaded index is neither with nor without the step under way\n",
                      static_cast<unsigned long long>(round), static_cast<unsigned long long>(done));
          return EXIT_FAILURE;
        }
      }
      for (int more = 0; more < 3; ++more, ++extra) {
        db.insert(extra, vector_of(1), {{"number", 1.0}});
        model.emplace(extra, 1.0F);
      }
      db.close();
      const auto again = Database::load(config);
      if (model_of(again.index()) != model) {
        std::printf("round %llu: what was inserted after the recovery is missing\n",
                    static_cast<unsigned long long>(round));
        return EXIT_FAILURE;
      }
    }
    std::printf(
        "%llu rounds, %llu steps, %llu with a step under way that was logged, %llu with a torn tail: nothing lost\n",
        static_cast<unsigned long long>(rounds), static_cast<unsigned long long>(done),
        static_cast<unsigned long long>(under_way), static_cast<unsigned long long>(torn));
  } catch (const std::exception& error) {
    std::printf("%s\n", error.what());
    return EXIT_FAILURE;
  }
  return EXIT_SUCCESS;
}
