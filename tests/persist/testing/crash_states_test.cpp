// CrashStates: every state that a power cut can leave a disk in.
#include "iqdb/persist/testing/crash_states.hpp"

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "iqdb/persist/testing/random.hpp"
#include "iqdb/persist/testing/simulated_file_system.hpp"
#include "support/by_path.hpp"
#include "support/bytes.hpp"
#include "support/catch.hpp"

namespace of_crash_states {

namespace {

using iqdb::OpenMode;
using iqdb::testing::CrashStates;
using iqdb::testing::DiskState;
using iqdb::testing::FailedSync;
using iqdb::testing::Fault;
using iqdb::testing::FileCallRecord;
using iqdb::testing::Random;
using iqdb::testing::SharedBytes;
using iqdb::testing::SimulatedFileSystem;
using iqdb_test::shared;
using Files = std::map<std::string, std::string>;
using States = std::set<Files>;

Files files_of(const DiskState& state) {
  Files files;
  for (const auto& [name, bytes] : state) {
    for (const std::byte each : *bytes) {
      files[name] += static_cast<char>(each);
    }
    files.try_emplace(name);
  }
  return files;
}

// A machine on which files are changed in few words.
class Machine : public SimulatedFileSystem {
 public:
  explicit Machine(const Files& durable = {}) : SimulatedFileSystem(disk_of(durable), 1) {}

  Machine& create(const std::string& name) {
    close(SimulatedFileSystem::open(name, OpenMode::create_new, 0644).value);
    return *this;
  }
  Machine& write(const std::string& name, std::string_view text, std::uint64_t offset = 0) {
    const Handle handle = SimulatedFileSystem::open(name, OpenMode::write, 0).value;
    CHECK(write_at(handle, offset, std::as_bytes(std::span(text))).value == text.size());
    close(handle);
    return *this;
  }
  Machine& cut(const std::string& name, std::uint64_t size) {
    const Handle handle = SimulatedFileSystem::open(name, OpenMode::write, 0).value;
    CHECK_FALSE(truncate(handle, size));
    close(handle);
    return *this;
  }
  Machine& synced(const std::string& name) {
    const Handle handle = SimulatedFileSystem::open(name, OpenMode::write, 0).value;
    CHECK_FALSE(sync(handle));
    close(handle);
    return *this;
  }
  std::error_code sync_names(const std::string& directory = "/") {
    const Handle handle = SimulatedFileSystem::open(directory, OpenMode::directory, 0).value;
    const std::error_code error = sync(handle);
    close(handle);
    return error;
  }

 private:
  static DiskState disk_of(const Files& durable) {
    DiskState state;
    for (const auto& [name, text] : durable) {
      state[name] = shared(text);
    }
    return state;
  }
};

States all_of(const CrashStates& states) {
  States all;
  for (std::uint64_t number = 0; number < states.count(); ++number) {
    all.insert(files_of(states.at(number)));
  }
  return all;
}

States all_of(const Machine& machine) { return all_of(CrashStates(machine, 1)); }

States drawn_from(const CrashStates& states, int draws) {
  Random random(5);
  States all;
  for (int draw = 0; draw < draws; ++draw) {
    all.insert(files_of(states.any(random)));
  }
  return all;
}

}  // namespace

// ---- Names ----------------------------------------------------------------------------------------------------------

TEST_CASE("CrashStates: where everything is synced there is one state", "[testing]") {
  const Machine machine(Files{{"/a", "A"}, {"/b", "B"}});
  CHECK(CrashStates(machine, 1).count() == 1);
  CHECK(all_of(machine) == States{{{"/a", "A"}, {"/b", "B"}}});
  CHECK(all_of(Machine()) == States{{}});
}

TEST_CASE("CrashStates: any of the unsynced names may be there without the others", "[testing]") {
  Machine machine;
  machine.create("/a").create("/b").create("/c");
  CHECK(CrashStates(machine, 1).count() == 8);
  CHECK(all_of(machine) == States{{},
                                  {{"/a", ""}},
                                  {{"/b", ""}},
                                  {{"/c", ""}},
                                  {{"/a", ""}, {"/b", ""}},
                                  {{"/a", ""}, {"/c", ""}},
                                  {{"/b", ""}, {"/c", ""}},
                                  {{"/a", ""}, {"/b", ""}, {"/c", ""}}});
}

TEST_CASE("CrashStates: a rename may be there though the file never was under its old name", "[testing]") {
  Machine machine(Files{{"/file", "old"}});
  machine.create("/file.tmp").write("/file.tmp", "new").synced("/file.tmp");
  iqdb_test::rename_by_path(machine, "/file.tmp", "/file");
  CHECK(all_of(machine) == States{{{"/file", "old"}}, {{"/file", "old"}, {"/file.tmp", "new"}}, {{"/file", "new"}}});
  // Of the four subsets the two with the rename have the new file, also the one without its creation.
  const CrashStates states(machine, 1);
  REQUIRE(states.count() == 4);
  int with_new = 0;
  for (std::uint64_t number = 0; number < 4; ++number) {
    with_new += files_of(states.at(number)).at("/file") == "new" ? 1 : 0;
  }
  CHECK(with_new == 2);
}

TEST_CASE("CrashStates: a file that is renamed before it is synced may be empty under its new name", "[testing]") {
  Machine machine(Files{{"/file", "old"}});
  machine.create("/file.tmp").write("/file.tmp", "new");
  iqdb_test::rename_by_path(machine, "/file.tmp", "/file");
  machine.sync_names();
  CHECK(all_of(machine).contains(Files{{"/file", ""}}));
}

TEST_CASE("CrashStates: a file that was removed may still be there", "[testing]") {
  Machine machine(Files{{"/file", "text"}});
  iqdb_test::remove_by_path(machine, "/file");
  CHECK(all_of(machine) == States{{{"/file", "text"}}, {}});
  CHECK_FALSE(machine.sync_names());
  CHECK(all_of(machine) == States{{}});
}

TEST_CASE("CrashStates: a name that was removed and made anew leads to either file or to none", "[testing]") {
  Machine machine(Files{{"/file", "old"}});
  iqdb_test::remove_by_path(machine, "/file");
  machine.create("/file").write("/file", "new").synced("/file");
  CHECK(all_of(machine) == States{{{"/file", "old"}}, {}, {{"/file", "new"}}});
}

TEST_CASE("CrashStates: a removal does not take the file that had the name before", "[testing]") {
  Machine machine(Files{{"/a", "A"}, {"/b", "B"}});
  iqdb_test::rename_by_path(machine, "/b", "/a");
  iqdb_test::remove_by_path(machine, "/a");
  CHECK(all_of(machine) == States{{{"/a", "A"}, {"/b", "B"}}, {{"/a", "B"}}, {}});
}

TEST_CASE("CrashStates: two names of a file hold the same in every state", "[testing]") {
  Machine machine(Files{{"/file", "abcd"}});
  iqdb_test::link_by_path(machine, "/file", "/linked");
  machine.write("/file", "WXYZ");
  const CrashStates states(machine, 1);
  // With and without the second name; of the bytes none to all four.
  CHECK(states.count() == 2 * 5);
  bool torn = false;
  for (std::uint64_t number = 0; number < states.count(); ++number) {
    const DiskState state = states.at(number);
    if (state.contains("/linked")) {
      CHECK(state.at("/linked") == state.at("/file"));
      torn = torn || files_of(state).at("/linked") == "WXcd";
    }
  }
  CHECK(torn);
}

TEST_CASE("CrashStates: directories are independent", "[testing]") {
  Machine machine;
  machine.create("/a/file").create("/b/file");
  machine.sync_names("/b");
  CHECK(all_of(machine) == States{{{"/b/file", ""}}, {{"/a/file", ""}, {"/b/file", ""}}});
}

TEST_CASE("CrashStates: a name of which the sync failed may be there or not", "[testing]") {
  Machine machine(Files{{"/file", ""}});
  iqdb_test::link_by_path(machine, "/file", "/new");
  machine.plan([](const FileCallRecord& call) {
    return is_sync(call.call) ? Fault{.error = iqdb::testing::system_error(EIO),
                                      .most_bytes = {},
                                      .failed_sync = FailedSync::kept_clean}
                              : Fault{};
  });
  CHECK(machine.sync_names());
  machine.plan({});
  CHECK(all_of(machine) == States{{{"/file", ""}}, {{"/file", ""}, {"/new", ""}}});
}

// ---- Bytes ----------------------------------------------------------------------------------------------------------

TEST_CASE("CrashStates: files are independent of each other and of the names", "[testing]") {
  Machine machine(Files{{"/four", "abcd"}, {"/two", "ab"}});
  machine.write("/four", "WXYZ").write("/two", "YZ").create("/empty");
  const CrashStates states(machine, 1);
  // 0 to 4 bytes of one, 0 to 2 of the other, with the new name or without it.
  CHECK(states.count() == 5 * 3 * 2);
  const States all = all_of(states);
  CHECK(all.size() == 5 * 3 * 2);
  CHECK(all.contains(Files{{"/four", "WXcd"}, {"/two", "YZ"}}));
  CHECK(all.contains(Files{{"/four", "abcd"}, {"/two", "Yb"}, {"/empty", ""}}));
}

TEST_CASE("CrashStates: of a file without a name nothing is counted", "[testing]") {
  Machine machine;
  machine.create("/file").write("/file", "abc");
  const CrashStates states(machine, 1);
  States with_name = all_of(states);
  CHECK(with_name.contains(Files{}));
  iqdb_test::remove_by_path(machine, "/file");
  machine.sync_names();
  CHECK(CrashStates(machine, 1).count() == 1);
}

TEST_CASE("CrashStates: garbage is of the file that was the last to lose its name", "[testing]") {
  Machine machine(Files{{"/first", "11111111"}, {"/second", "22222222"}});
  iqdb_test::remove_by_path(machine, "/first");
  iqdb_test::remove_by_path(machine, "/second");
  machine.sync_names();
  machine.create("/file");
  machine.sync_names();
  machine.write("/file", "abcd");
  const States all = all_of(machine);
  CHECK(all.contains(Files{{"/file", "2222"}}));
  CHECK(all.contains(Files{{"/file", "ab22"}}));
  CHECK_FALSE(all.contains(Files{{"/file", "1111"}}));
}

TEST_CASE("CrashStates: garbage is also of a file that was replaced", "[testing]") {
  Machine machine(Files{{"/file", "OOOO"}, {"/file.tmp", "new"}});
  iqdb_test::rename_by_path(machine, "/file.tmp", "/file");
  machine.sync_names();
  machine.create("/other");
  machine.sync_names();
  machine.write("/other", "abcd");
  CHECK(all_of(machine).contains(Files{{"/file", "new"}, {"/other", "abOO"}}));
  // After a kill the disk is the same.
  CHECK(all_of(CrashStates(machine.after_kill(), 1)) == all_of(machine));
}

TEST_CASE("CrashStates: garbage follows from the seed", "[testing]") {
  Machine machine;
  machine.create("/file").write("/file", "abcdefgh");
  CHECK(all_of(CrashStates(machine, 1)) == all_of(CrashStates(machine, 1)));
  CHECK(all_of(CrashStates(machine, 1)) != all_of(CrashStates(machine, 2)));
}

// ---- Which state ----------------------------------------------------------------------------------------------------

TEST_CASE("CrashStates: the first state is that nothing unsynced is there", "[testing]") {
  Machine machine(Files{{"/file", "old"}});
  machine.write("/file", "new!").create("/other");
  const CrashStates states(machine, 1);
  CHECK(files_of(states.nothing_unsynced()) == Files{{"/file", "old"}});
  CHECK(files_of(states.at(0)) == Files{{"/file", "old"}});
}

TEST_CASE("CrashStates: one state is that everything is there", "[testing]") {
  Machine machine(Files{{"/file", "old"}});
  machine.write("/file", "new!").create("/other");
  iqdb_test::link_by_path(machine, "/file", "/linked");
  const CrashStates states(machine, 1);
  CHECK(files_of(states.everything()) == files_of(machine.visible()));
  CHECK(all_of(states).contains(files_of(machine.visible())));
  CHECK(states.everything().at("/file") == states.everything().at("/linked"));
}

TEST_CASE("CrashStates: what is drawn is what has a number", "[testing]") {
  Machine machine(Files{{"/file", "abcd"}, {"/other", "12"}});
  machine.write("/file", "WXYZ").write("/other", "34").create("/empty");
  iqdb_test::rename_by_path(machine, "/other", "/renamed");
  const CrashStates states(machine, 1);
  CHECK(drawn_from(states, 4000) == all_of(states));
}

TEST_CASE("CrashStates: of many names there is no count but states are drawn all the same", "[testing]") {
  Machine machine;
  for (char letter = 'a'; letter <= 'k'; ++letter) {
    machine.create(std::string("/") + letter);
  }
  const CrashStates states(machine, 1);
  CHECK(states.count() == std::numeric_limits<std::uint64_t>::max());
  CHECK(states.nothing_unsynced().empty());
  CHECK(states.everything().size() == 11);
  std::map<std::string, int> seen;
  for (const Files& drawn : drawn_from(states, 200)) {
    for (const auto& [name, text] : drawn) {
      ++seen[name];
    }
  }
  CHECK(seen.size() == 11);
  for (const auto& [name, times] : seen) {
    CHECK(times > 50);
    CHECK(times < 150);
  }
}

TEST_CASE("CrashStates: a state makes a machine that holds it durably", "[testing]") {
  Machine machine(Files{{"/file", "abcd"}});
  machine.write("/file", "WXYZ").create("/other");
  const CrashStates states(machine, 1);
  for (std::uint64_t number = 0; number < states.count(); ++number) {
    const SimulatedFileSystem after(states.at(number), 1);
    CHECK(files_of(after.visible()) == files_of(states.at(number)));
    CHECK(CrashStates(after, 1).count() == 1);
  }
}

// ---- The last write -------------------------------------------------------------------------------------------------

TEST_CASE("CrashStates: of the last write any prefix may be there with all before it", "[testing]") {
  Machine machine(Files{{"/file", "abcd"}});
  machine.create("/other").write("/other", "12").write("/file", "Z", 3).write("/file", "WXY");
  const CrashStates states(machine, 1);
  REQUIRE(states.last_write_bytes() == 3);
  CHECK(files_of(states.with_prefix_of_last_write(0)) == Files{{"/file", "abcZ"}, {"/other", "12"}});
  CHECK(files_of(states.with_prefix_of_last_write(1)) == Files{{"/file", "WbcZ"}, {"/other", "12"}});
  CHECK(files_of(states.with_prefix_of_last_write(2)) == Files{{"/file", "WXcZ"}, {"/other", "12"}});
}

TEST_CASE("CrashStates: a prefix of a write behind the end leaves the file short", "[testing]") {
  Machine machine(Files{{"/file", "ab"}});
  machine.write("/file", "cdef", 2);
  const CrashStates states(machine, 1);
  CHECK(files_of(states.with_prefix_of_last_write(0)) == Files{{"/file", "ab"}});
  CHECK(files_of(states.with_prefix_of_last_write(3)) == Files{{"/file", "abcde"}});
}

TEST_CASE("CrashStates: a prefix of the last write is seen by every name of the file", "[testing]") {
  Machine machine(Files{{"/file", "abcd"}});
  iqdb_test::link_by_path(machine, "/file", "/linked");
  machine.write("/linked", "WXYZ");
  const DiskState state = CrashStates(machine, 1).with_prefix_of_last_write(2);
  CHECK(files_of(state) == Files{{"/file", "WXcd"}, {"/linked", "WXcd"}});
  CHECK(state.at("/file") == state.at("/linked"));
}

TEST_CASE("CrashStates: where the last change was no write there is none", "[testing]") {
  Machine machine(Files{{"/file", "abcd"}});
  const auto last = [&] { return CrashStates(machine, 1).last_write_bytes(); };
  CHECK(last() == 0);
  machine.write("/file", "WX");
  CHECK(last() == 2);
  machine.cut("/file", 3);
  CHECK(last() == 0);
  machine.write("/file", "WX");
  machine.create("/other");
  CHECK(last() == 0);
  machine.write("/file", "WX");
  machine.sync_names();
  CHECK(last() == 0);
  machine.write("/file", "WX").synced("/file");
  CHECK(last() == 0);
}

}  // namespace of_crash_states
