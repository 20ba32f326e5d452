// A child of a fork mutates nothing, whatever the system says of the memory that it clears in a child. The library asks the
// system once in a process, so each test runs again in a process of its own: this program, executed anew for this test, in which
// madvise(), getpid() and pthread_atfork() are those below.
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <string>
#include <string_view>

#include "support/catch.hpp"
#include "support/child_process.hpp"
#include "support/durable.hpp"
#include "support/outcome.hpp"

#ifdef MADV_WIPEONFORK

namespace {

using iqdb_test::ChildProcess;
using iqdb_test::DurableDirectory;
using iqdb_test::Ids;

// A word for each thing that the system does otherwise, in the environment of the process.
constexpr const char* variable = "IQDB_TEST_SYSTEM";

bool system_is(std::string_view what) {
  const char* const words = std::getenv(variable);
  return words != nullptr && std::string_view(words).find(what) != std::string_view::npos;
}

}  // namespace

extern "C" int madvise(void* address, std::size_t bytes, int advice) noexcept {
  if (system_is("answers yes to everything") || (advice == MADV_WIPEONFORK && system_is("only says that it wipes"))) {
    return 0;
  }
  if (advice == MADV_WIPEONFORK && system_is("does not wipe")) {
    errno = EINVAL;
    return -1;
  }
  return static_cast<int>(::syscall(SYS_madvise, address, bytes, advice));
}

extern "C" ::pid_t getpid() noexcept {
  constexpr ::pid_t everywhere = 7;
  return system_is("one process id") ? everywhere : static_cast<::pid_t>(::syscall(SYS_getpid));
}

#ifdef __GLIBC__
// NOLINTBEGIN(bugprone-reserved-identifier): the names of glibc, whose own pthread_atfork is this call
extern "C" {
int __register_atfork(void (*before)(), void (*in_parent)(), void (*in_child)(), void* library) noexcept;

int pthread_atfork(void (*before)(), void (*in_parent)(), void (*in_child)()) noexcept {
  return system_is("has no room for handlers") ? ENOMEM : __register_atfork(before, in_parent, in_child, nullptr);
}
}
// NOLINTEND(bugprone-reserved-identifier)
#endif

namespace {

// A mutation of a child is refused, and its parent goes on. The child is made with the handlers of a fork or, "by clone", without.
void require_refused() {
  const DurableDirectory directory;
  auto db = directory.open_with(iqdb_test::index_of({1}));
  iqdb_test::insert_row(db, 2);
  const auto before = directory.log_bytes();
  iqdb_test::Pipe answer;
  const auto child = system_is("by clone")
                         ? static_cast<::pid_t>(::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr))
                         : ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    answer.write(iqdb_test::outcome_of([&] { iqdb_test::insert_row(db, 9); }));
    ::_exit(0);
  }
  answer.close_writing();
  CHECK(answer.read_all() == "poisoned");
  REQUIRE(::waitpid(child, nullptr, 0) == child);
  CHECK(directory.log_bytes() == before);
  iqdb_test::insert_row(db, 3);
  db.close();
  CHECK(iqdb_test::load_in(directory).ids() == Ids{1, 2, 3});
}

// Runs the test that calls it again, in a process for which this is the system: there it calls require_refused().
void require_refused_where(const std::string& system) {
  if (std::getenv(variable) != nullptr) {
    require_refused();
    return;
  }
  const std::string test(Catch::getResultCapture().getCurrentTestName());
  ChildProcess child([&] {
    ::setenv(variable, system.c_str(), 1);
    ::execl("/proc/self/exe", "test", test.c_str(), nullptr);
    return ChildProcess::failed;
  });
  CHECK(child.wait() == 0);
}

}  // namespace

TEST_CASE("A child is refused where the system says that it wipes memory at a fork and does not", "[fork]") {
  require_refused_where("only says that it wipes");
}

TEST_CASE("A child is refused where the system answers yes to every advice and does nothing", "[fork]") {
  require_refused_where("answers yes to everything");
}

TEST_CASE("A child without handlers of a fork is refused since its memory is wiped", "[fork]") {
  require_refused_where("by clone");
}

TEST_CASE("A child without handlers of a fork is refused where the system answers yes to every advice", "[fork]") {
  require_refused_where("answers yes to everything, by clone");
}

TEST_CASE("A child without handlers of a fork is refused where the system wipes nothing", "[fork]") {
  require_refused_where("does not wipe, by clone");
}

TEST_CASE("A child with the process id of its parent is refused", "[fork]") { require_refused_where("one process id"); }

TEST_CASE("A child without handlers and with the process id of its parent is refused", "[fork]") {
  require_refused_where("one process id, by clone");
}

TEST_CASE("A child with the process id of its parent is refused where the system wipes nothing", "[fork]") {
  require_refused_where("one process id, does not wipe");
}

#ifdef __GLIBC__
TEST_CASE("A child is refused where the system has no room for a handler and only says that it wipes", "[fork]") {
  require_refused_where("has no room for handlers, only says that it wipes");
}
#endif

#endif
