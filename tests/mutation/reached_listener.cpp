// Writes down, for random_mutants.py, which places each test reaches and how long it takes: a line each, with the
// seconds, the numbers of the places, and the name.
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

#define CATCH_CONFIG_EXTERNAL_INTERFACES
#include "random_mutants.hpp"
#include "support/catch.hpp"

namespace {

#if __has_include(<catch2/catch_all.hpp>)
using ListenerBase = Catch::EventListenerBase;
#else
using ListenerBase = Catch::TestEventListenerBase;
#endif

class ReachedListener : public ListenerBase {
 public:
  using ListenerBase::ListenerBase;

  void testCaseStarting(const Catch::TestCaseInfo& info) override {
    ListenerBase::testCaseStarting(info);
    began_ = std::chrono::steady_clock::now();
    std::memset(iqdb_mutation::reached(), 0, iqdb_mutation::most_places);
  }

  void testCaseEnded(const Catch::TestCaseStats& stats) override {
    const char* const path = std::getenv("IQDB_MUTATION_REACHED");
    if (path != nullptr) {
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - began_;
      std::ofstream file(path, std::ios::app);
      file << seconds.count() << '\t';
      for (std::size_t place = 0; place < iqdb_mutation::most_places; ++place) {
        if (iqdb_mutation::reached()[place] != 0) {
          file << place << ' ';
        }
      }
      const std::string name(stats
                                 .testInfo
#if __has_include(<catch2/catch_all.hpp>)
                                 ->name
#else
                                 .name
#endif
      );
      file << '\t' << name << '\n';
    }
    ListenerBase::testCaseEnded(stats);
  }

 private:
  std::chrono::steady_clock::time_point began_;
};

}  // namespace

CATCH_REGISTER_LISTENER(ReachedListener)
