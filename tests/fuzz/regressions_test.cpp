// Every input that is kept, through its target: regressions/<target>/<input>. Memory is measured under the fuzzers
// only, which begin with the same inputs.
#include <exception>
#include <filesystem>
#include <set>
#include <string>

#include "fuzz/fuzz_target.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"

TEST_CASE("fuzz regressions: every input that is kept is harmless") {
  const std::filesystem::path regressions = TEST_FUZZ_REGRESSIONS;
  std::set<std::string> targets;
  for (const iqdb_fuzz::FuzzTarget& target : iqdb_fuzz::fuzz_targets()) {
    targets.emplace(target.name);
    std::size_t inputs = 0;
    for (const auto& entry : std::filesystem::directory_iterator(regressions / target.name)) {
      INFO(entry.path().string());
      CHECK_NOTHROW(target.examine(iqdb_test::read_bytes(entry.path())));
      ++inputs;
    }
    INFO(target.name);
    CHECK(inputs > 0);
  }
#if defined(TEST_HAS_HNSWLIB) && defined(TEST_HAS_FAISS) && defined(TEST_HAS_USEARCH)
  for (const auto& entry : std::filesystem::directory_iterator(regressions)) {
    INFO("a folder that is no target's");
    CHECK(targets.contains(entry.path().filename().string()));
  }
#endif
}
