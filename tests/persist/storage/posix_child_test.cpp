#include "iqdb/persist/storage/posix_child.hpp"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <thread>

#include "support/catch.hpp"
#include "support/child_process.hpp"
#include "support/temporary_directory.hpp"

namespace {

using iqdb::PosixChild;
using iqdb_test::TemporaryDirectory;
using namespace std::chrono_literals;

constexpr std::chrono::milliseconds long_enough = 60s;

// A file that is open for writing.
class OpenFile {
 public:
  explicit OpenFile(const std::filesystem::path& path)
      : descriptor_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {}
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  ~OpenFile() { ::close(descriptor_); }
  [[nodiscard]] int descriptor() const noexcept { return descriptor_; }

 private:
  int descriptor_;
};

void send(const PosixChild::Report& report, const std::string& text) { report(std::as_bytes(std::span(text))); }

// The first `count` characters that the child reports; fewer if it ends before.
std::string received(PosixChild& child, std::size_t count, std::chrono::milliseconds patience = long_enough) {
  std::string text;
  std::byte byte{};
  while (text.size() < count && child.receive(std::span(&byte, 1), patience)) {
    text += static_cast<char>(byte);
  }
  return text;
}

std::size_t descriptors_of_this_process() {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    static_cast<void>(entry);
    ++count;
  }
  return count;
}

}  // namespace

TEST_CASE("A forked child has the memory of the moment and reports what is in it", "[posix_child]") {
  const TemporaryDirectory directory;
  const OpenFile file(directory / "kept");
  std::string memory = "then";
  PosixChild child(file.descriptor(), [&](const PosixChild::Report& report) { send(report, memory); });
  memory = "now!";
  CHECK(received(child, 4) == "then");
}

TEST_CASE("A forked child writes the file that it was given and holds no other open", "[posix_child]") {
  const TemporaryDirectory directory;
  const OpenFile other(directory / "other");
  const OpenFile file(directory / "kept");
  PosixChild child(file.descriptor(), [&](const PosixChild::Report& report) {
    std::string open;
    for (int descriptor = 0; descriptor < 256; ++descriptor) {
      open += ::fcntl(descriptor, F_GETFD) != -1 ? '1' : '0';
    }
    static_cast<void>(::write(file.descriptor(), "written", 7));
    send(report, open);
  });
  const std::string open = received(child, 256);
  REQUIRE(open.size() == 256);
  CHECK(std::count(open.begin(), open.end(), '1') == 2);  // the file, and the socket
  CHECK(open.at(static_cast<std::size_t>(file.descriptor())) == '1');
  CHECK(std::filesystem::file_size(directory / "kept") == 7);
}

TEST_CASE("A child that ends without a word is told from one that has reported", "[posix_child]") {
  const TemporaryDirectory directory;
  const OpenFile file(directory / "kept");
  SECTION("it returns") {
    PosixChild child(file.descriptor(), [](const PosixChild::Report& report) { send(report, "abc"); });
    CHECK(received(child, 10) == "abc");
  }
  SECTION("it throws") {
    PosixChild child(file.descriptor(),
                     [](const PosixChild::Report&) { throw 1; });  // NOLINT(hicpp-exception-baseclass)
    CHECK(received(child, 10).empty());
  }
  SECTION("it is killed") {
    PosixChild child(file.descriptor(), [](const PosixChild::Report& report) {
      send(report, "ab");
      ::raise(SIGKILL);
    });
    CHECK(received(child, 10) == "ab");
  }
}

TEST_CASE("A child that is silent is not waited for longer than asked and ends with its object", "[posix_child]") {
  const TemporaryDirectory directory;
  const OpenFile file(directory / "kept");
  ::pid_t number = 0;
  {
    PosixChild child(file.descriptor(), [](const PosixChild::Report& report) {
      const ::pid_t self = ::getpid();
      report(std::as_bytes(std::span(&self, 1)));
      for (;;) {
        ::pause();
      }
    });
    REQUIRE(child.receive(std::as_writable_bytes(std::span(&number, 1)), long_enough));
    CHECK(received(child, 1, 20ms).empty());
    CHECK(::kill(number, 0) == 0);
  }
  CHECK(::kill(number, 0) == -1);  // it was killed and reaped
}

TEST_CASE("A child is told once for all signs that its parent gave since it last looked", "[posix_child]") {
  const TemporaryDirectory directory;
  const OpenFile file(directory / "kept");
  PosixChild child(file.descriptor(), [](const PosixChild::Report& report) {
    send(report, report.was_told() ? "told" : "none");
    while (!report.was_told()) {
      std::this_thread::yield();
    }
    send(report, "told");
    std::string later = "none";
    for (int look = 0; look < 100; ++look) {
      later = report.was_told() ? "told" : later;
    }
    send(report, later);
  });
  CHECK(received(child, 4) == "none");
  child.tell();
  CHECK(received(child, 8) == "toldnone");
}

TEST_CASE("A parent may give signs that nobody reads", "[posix_child]") {
  const TemporaryDirectory directory;
  const OpenFile file(directory / "kept");
  PosixChild child(file.descriptor(), [](const PosixChild::Report& report) { send(report, "a"); });
  CHECK(received(child, 2) == "a");  // it has ended
  constexpr int more_than_fit = 10'000;
  for (int sign = 0; sign < more_than_fit; ++sign) {
    child.tell();
  }
}

TEST_CASE("A child leaves no descriptor behind in its parent", "[posix_child]") {
  const TemporaryDirectory directory;
  const OpenFile file(directory / "kept");
  const std::size_t before = descriptors_of_this_process();
  {
    PosixChild child(file.descriptor(), [](const PosixChild::Report& report) { send(report, "x"); });
    CHECK(received(child, 1) == "x");
  }
  CHECK(descriptors_of_this_process() == before);
}

TEST_CASE("No handler of the program runs in a child", "[posix_child]") {
  const TemporaryDirectory directory;
  const OpenFile file(directory / "kept");
  struct ::sigaction ours {};
  struct ::sigaction before {};
  ours.sa_handler = [](int) { ::_exit(7); };
  REQUIRE(::sigaction(SIGTERM, &ours, &before) == 0);
  PosixChild child(file.descriptor(), [](const PosixChild::Report& report) {
    ::raise(SIGTERM);
    send(report, "goes on");
  });
  CHECK(received(child, 7) == "goes on");
  REQUIRE(::sigaction(SIGTERM, &before, nullptr) == 0);
}

TEST_CASE("The signals that a thread blocks are the same after it has made a child", "[posix_child]") {
  const TemporaryDirectory directory;
  const OpenFile file(directory / "kept");
  ::sigset_t blocked{};
  ::sigemptyset(&blocked);
  ::sigaddset(&blocked, SIGUSR2);
  ::sigset_t before{};
  ::pthread_sigmask(SIG_SETMASK, &blocked, &before);
  {
    PosixChild child(file.descriptor(), [](const PosixChild::Report&) {});
  }
  ::sigset_t after{};
  ::pthread_sigmask(SIG_SETMASK, &before, &after);
  CHECK(::sigismember(&after, SIGUSR2) == 1);
  CHECK(::sigismember(&after, SIGTERM) == 0);
}

TEST_CASE("A program that ignores the end of its children gets the reports all the same", "[posix_child]") {
  const TemporaryDirectory directory;
  const OpenFile file(directory / "kept");
  CHECK(iqdb_test::in_child([&] {
          ::signal(SIGCHLD, SIG_IGN);
          PosixChild child(file.descriptor(), [](const PosixChild::Report& report) { send(report, "done"); });
          return received(child, 4);
        }) == "done");
}

TEST_CASE("A program that reaps every child gets the reports all the same", "[posix_child]") {
  const TemporaryDirectory directory;
  const OpenFile file(directory / "kept");
  CHECK(iqdb_test::in_child([&] {
          std::string text;
          {
            PosixChild child(file.descriptor(), [](const PosixChild::Report& report) { send(report, "done"); });
            while (::waitpid(-1, nullptr, 0) == -1 && errno == EINTR) {
            }
            text = received(child, 10);
          }
          return text;
        }) == "done");
}

TEST_CASE("A child does not outlive a parent that is killed", "[posix_child]") {
  iqdb_test::Pipe alive;
  iqdb_test::ChildProcess parent([&] {
    // The child keeps the pipe: it is at its end once both processes are dead.
    PosixChild child(alive.writing_end(), [](const PosixChild::Report& report) {
      send(report, "x");
      for (;;) {
        ::pause();
      }
    });
    const std::string first = received(child, 1);
    alive.write(first);
    for (;;) {
      ::pause();
    }
    return 0;
  });
  alive.close_writing();
  REQUIRE(alive.wait_for_byte());
  parent.kill();
  CHECK(!alive.wait_for_byte());
}

TEST_CASE("A child ends when the thread that made it ends", "[posix_child]") {
  const TemporaryDirectory directory;
  const OpenFile file(directory / "kept");
  std::unique_ptr<PosixChild> child;
  std::thread([&] {
    child = std::make_unique<PosixChild>(file.descriptor(), [](const PosixChild::Report& report) {
      send(report, "x");
      for (;;) {
        ::pause();
      }
    });
    CHECK(received(*child, 1) == "x");
  }).join();
  CHECK(!child->is_silent_for(long_enough));
  CHECK(received(*child, 1).empty());
}

TEST_CASE("A child can be made while other threads hold locks of the allocator", "[posix_child]") {
  const TemporaryDirectory directory;
  const OpenFile file(directory / "kept");
  std::atomic<bool> stop = false;
  std::thread busy([&] {
    while (!stop) {
      const auto memory = std::make_unique<std::string>(5000, 'x');
    }
  });
  for (int round = 0; round < 20; ++round) {
    PosixChild child(file.descriptor(),
                     [](const PosixChild::Report& report) { send(report, std::string(3000, 'y').substr(2999)); });
    CHECK(received(child, 1) == "y");
  }
  stop = true;
  busy.join();
}
