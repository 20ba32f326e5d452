// A forked process, which has the memory of its parent at one moment and works on it while the parent goes on.
//
// Invariants: the child keeps no descriptor but two, so that it holds no lock of its parent. It does not outlive the thread
// that made it. When the object is destroyed, the child has ended. Another child of its parent leaves it alone.
#pragma once

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <functional>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>

#include "iqdb/persist/process_mark.hpp"
#include "iqdb/persist/storage/no_child.hpp"
#include "iqdb/persist/version.hpp"

#ifdef __linux__
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#endif
#include <unistd.h>

namespace iqdb::inline IQDB_PERSIST_ABI {

#ifdef __linux__

/// A forked process that reports over a socket. One thread makes, uses and destroys it: the system kills the child when
/// that thread ends.
class PosixChild {
 public:
  /// Sends `bytes` to the parent. Ends the child if the parent is gone.
  class Report {
   public:
    explicit Report(int socket) noexcept : socket_(socket) {}

    void operator()(std::span<const std::byte> bytes) const noexcept {
      while (!bytes.empty()) {
        const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (sent < 0 && errno != EINTR) {
          ::_exit(1);
        }
        bytes = bytes.subspan(sent < 0 ? 0 : static_cast<std::size_t>(sent));
      }
    }

    /// Whether the parent has called tell() since the last time.
    [[nodiscard]] bool was_told() const noexcept {
      std::array<char, 64> told{};
      return ::recv(socket_, told.data(), told.size(), MSG_DONTWAIT) > 0;
    }

   private:
    int socket_;
  };

  /// Forks. The child calls `work(report)` and ends; of the descriptors it keeps `kept`. `work` must take no lock that
  /// another thread of the parent may hold, start no thread, and touch nothing outside of memory but `kept`. Throws
  /// std::system_error if the system makes no such child; then there is none.
  template <class Work>
  PosixChild(int kept, Work&& work) {
    // Asked for before the fork: the child must be able to let all other descriptors go.
    if (::syscall(SYS_close_range, ~0U, ~0U, 0U) != 0) {
      fail("close_range");
    }
    std::array<int, 2> sockets{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets.data()) != 0) {
      fail("socketpair");
    }
    socket_ = sockets[0];
    const ::pid_t parent = ::getpid();
    // No handler of the program may run in the child.
    ::sigset_t all{};
    ::sigset_t before{};
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    const ::pid_t child = ::fork();
    if (child == 0) {
      live(parent, kept, sockets[1], std::forward<Work>(work));
    }
    const int fork_error = errno;
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    ::close(sockets[1]);
    if (child < 0) {
      close_all();
      errno = fork_error;
      fail("fork");
    }
    // The child waits for its first byte, so that the number is still its own, even if the program reaps all children.
    handle_ = static_cast<int>(::syscall(SYS_pidfd_open, child, 0U));
    if (handle_ < 0 || ::send(socket_, "!", 1, MSG_NOSIGNAL) != 1) {
      const int error = errno;
      close_all();  // the child reads the end of the socket, and ends
      ::waitpid(child, nullptr, 0);
      errno = error;
      fail("pidfd_open");
    }
  }
  PosixChild(const PosixChild&) = delete;
  PosixChild& operator=(const PosixChild&) = delete;
  ~PosixChild() {
    if (!made_in_.inherited()) {
      ::syscall(SYS_pidfd_send_signal, handle_, SIGKILL, nullptr, 0U);
      wait_for_end();
    }
    close_all();
  }

  /// Whether the child reports nothing, and lives, for `time`.
  [[nodiscard]] bool is_silent_for(std::chrono::milliseconds time) const noexcept {
    auto both = events();
    return poll_until(std::chrono::steady_clock::now() + time, both) == 0;
  }

  /// Gives the child a sign, see Report::was_told. It is lost if the child has too many already, or has ended.
  void tell() const noexcept { std::ignore = ::send(socket_, "!", 1, MSG_NOSIGNAL | MSG_DONTWAIT); }

  /// Fills `into` with what the child has reported. Returns false if it reports less: it has ended, or is silent for
  /// `patience`.
  [[nodiscard]] bool receive(std::span<std::byte> into, std::chrono::milliseconds patience) noexcept {
    const auto until = std::chrono::steady_clock::now() + patience;
    while (!into.empty()) {
      auto both = events();
      if (poll_until(until, both) <= 0) {
        return false;
      }
      const ssize_t received = ::recv(socket_, into.data(), into.size(), MSG_DONTWAIT);
      if (received > 0) {
        into = into.subspan(static_cast<std::size_t>(received));
      } else if (received == 0 || (errno != EINTR && errno != EAGAIN) || both[1].revents != 0) {
        return false;
      }
    }
    return true;
  }

 private:
  // What is waited for. The child's end is, too: another process may hold the other end of the socket open.
  [[nodiscard]] std::array<::pollfd, 2> events() const noexcept {
    return {{{.fd = socket_, .events = POLLIN, .revents = 0}, {.fd = handle_, .events = POLLIN, .revents = 0}}};
  }

  // What poll(2) answers, behind any signal.
  [[nodiscard]] static int poll_until(std::chrono::steady_clock::time_point until,
                                      std::array<::pollfd, 2>& both) noexcept {
    int ready = 0;
    do {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
      ready =
          ::poll(both.data(), both.size(), static_cast<int>(std::max<std::chrono::milliseconds::rep>(left.count(), 0)));
    } while (ready < 0 && errno == EINTR);
    return ready;
  }

  [[noreturn]] static void fail(const char* call) { throw std::system_error(errno, std::system_category(), call); }

  template <class Work>
  [[noreturn]] static void live(::pid_t parent, int kept, int socket, Work&& work) noexcept {
    // From here on all signals stay blocked: what a terminal sends to all processes is the parent's to answer.
    if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || ::getppid() != parent) {
      ::_exit(1);
    }
    // Without this the lock would be held for as long as the child lives, also beyond a parent that was killed.
    const auto low = static_cast<unsigned>(std::min(kept, socket));
    const auto high = static_cast<unsigned>(std::max(kept, socket));
    close_range(0, low);
    close_range(low + 1, high);
    close_range(high + 1, ~0U);
    offer_to_be_killed();
    char go = 0;
    ssize_t got = 0;
    do {
      got = ::recv(socket, &go, 1, 0);
    } while (got < 0 && errno == EINTR);
    if (got == 1) {
      try {
        std::forward<Work>(work)(Report(socket));
      } catch (...) {
        // The parent sees that no last report has come.
      }
    }
    ::_exit(0);  // no destructor runs: what they would release is the parent's
  }

  // Closes the descriptors from `first` to the one before `end`.
  static void close_range(unsigned first, unsigned end) noexcept {
    if (first < end) {
      ::syscall(SYS_close_range, first, end - 1, 0U);
    }
  }

  // If memory runs out, the child is killed and not its parent.
  static void offer_to_be_killed() noexcept {
    const int file = ::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (file >= 0) {
      constexpr std::string_view most = "1000";
      [[maybe_unused]] const ssize_t ignored = ::write(file, most.data(), most.size());
      ::close(file);
    }
  }

  void wait_for_end() const noexcept {
    ::pollfd ended{.fd = handle_, .events = POLLIN, .revents = 0};
    while (::poll(&ended, 1, -1) < 0 && errno == EINTR) {
    }
    // Fails if the program ignores SIGCHLD, or has reaped it: then nothing is left to do.
    ::siginfo_t ignored{};
    while (::waitid(static_cast<::idtype_t>(P_PIDFD), static_cast<::id_t>(handle_), &ignored, WEXITED) < 0 &&
           errno == EINTR) {
    }
  }

  void close_all() noexcept {
    for (int* const each : {&socket_, &handle_}) {
      if (*each >= 0) {
        ::close(std::exchange(*each, -1));
      }
    }
  }

  ProcessMark made_in_;
  int socket_ = -1;
  int handle_ = -1;  // a pidfd: the number of the child may be that of a stranger later
};

#else

/// Elsewhere no child is made.
using PosixChild = NoChild;

#endif

}  // namespace iqdb
