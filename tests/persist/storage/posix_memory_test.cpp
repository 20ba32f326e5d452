#include "iqdb/persist/storage/posix_memory.hpp"

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

#include "support/catch.hpp"

#include "support/temporary_directory.hpp"

namespace {

// The files by which a system states its memory.
class Machine {
 public:
  Machine() {
    write("proc/meminfo", "MemTotal:       16000 kB\nMemFree:         100 kB\nMemAvailable:    8000 kB\n");
    write("proc/self/cgroup", "0::/service.slice/one.service\n");
  }

  void write(const std::string& name, const std::string& text) const {
    const std::filesystem::path path = directory_ / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text;
  }

  [[nodiscard]] std::uint64_t available() const {
    return iqdb::posix_memory::available((directory_ / "proc").string(), (directory_ / "groups").string());
  }

 private:
  iqdb_test::TemporaryDirectory directory_;
};

}  // namespace

TEST_CASE("Without limits a process may take what the machine has available", "[posix_memory]") {
  const Machine machine;
  CHECK(machine.available() == 8000 * 1024);
}

TEST_CASE("A control group limits it to what is left there", "[posix_memory]") {
  const Machine machine;
  machine.write("groups/service.slice/one.service/memory.max", "1000000\n");
  machine.write("groups/service.slice/one.service/memory.current", "400000\n");
  CHECK(machine.available() == 600'000);
}

TEST_CASE("The page cache of a control group counts as left", "[posix_memory]") {
  const Machine machine;
  machine.write("groups/service.slice/one.service/memory.max", "1000000\n");
  machine.write("groups/service.slice/one.service/memory.current", "1000000\n");
  machine.write("groups/service.slice/one.service/memory.stat", "anon 5\ninactive_file 200000\nactive_file 100000\n");
  CHECK(machine.available() == 300'000);
}

TEST_CASE("The groups above limit it too", "[posix_memory]") {
  const Machine machine;
  machine.write("groups/service.slice/one.service/memory.max", "max\n");
  machine.write("groups/service.slice/one.service/memory.current", "5\n");
  machine.write("groups/service.slice/memory.max", "70000\n");
  machine.write("groups/service.slice/memory.current", "0\n");
  CHECK(machine.available() == 70'000);
  machine.write("groups/memory.max", "60000\n");
  machine.write("groups/memory.current", "0\n");
  CHECK(machine.available() == 60'000);
}

TEST_CASE("A group that uses more than its limit has nothing left", "[posix_memory]") {
  const Machine machine;
  machine.write("groups/memory.max", "100\n");
  machine.write("groups/memory.current", "200\n");
  CHECK(machine.available() == 0);
}

TEST_CASE("Where no file says anything no limit is known", "[posix_memory]") {
  const Machine machine;
  machine.write("proc/meminfo", "nothing of the kind\n");
  machine.write("proc/self/cgroup", "");
  machine.write("groups/memory.max", "");
  CHECK(machine.available() == iqdb::posix_memory::unknown);
}

TEST_CASE("This machine has memory", "[posix_memory]") { CHECK(iqdb::posix_memory::available() > 0); }
