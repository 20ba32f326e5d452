// Work done in a child process: as another user, with another limit, or until it is killed.
#pragma once

#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

namespace iqdb_test {

/// A child process, killed at the latest when this goes.
class ChildProcess {
 public:
  /// Forks; the child calls `work()` and ends with what it returns as its exit status, or with 120 for an exception.
  /// Nothing of the parent's is destroyed or flushed in the child.
  template <class Work>
  explicit ChildProcess(Work&& work) : id_(::fork()) {
    if (id_ == -1) {
      throw std::system_error(errno, std::system_category(), "fork");
    }
    if (id_ == 0) {
      int status = failed;
      try {
        status = work();
      } catch (...) {
        status = failed;
      }
      ::_exit(status);
    }
  }

  ChildProcess(ChildProcess&& other) noexcept : id_(std::exchange(other.id_, 0)) {}
  ChildProcess& operator=(ChildProcess&&) = delete;
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;
  ~ChildProcess() {
    if (id_ > 0) {
      kill();
    }
  }

  static constexpr int failed = 120;

  /// Waits for its end. Returns the exit status, or minus the number of the signal that ended it.
  int wait() {
    int status = 0;
    while (::waitpid(id_, &status, 0) == -1) {
      if (errno != EINTR) {
        throw std::system_error(errno, std::system_category(), "waitpid");
      }
    }
    id_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

  /// Ends it as a crash would.
  int kill() {
    ::kill(id_, SIGKILL);
    return wait();
  }

  [[nodiscard]] pid_t id() const noexcept { return id_; }

 private:
  pid_t id_;
};

/// A pipe, for one process to wait for another.
class Pipe {
 public:
  Pipe() {
    if (::pipe(ends_) == -1) {
      throw std::system_error(errno, std::system_category(), "pipe");
    }
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  ~Pipe() {
    close_reading();
    close_writing();
  }

  void write(const std::string& text) const {
    std::size_t written = 0;
    while (written < text.size()) {
      const ssize_t count = ::write(ends_[1], text.data() + written, text.size() - written);
      if (count == -1 && errno != EINTR) {
        throw std::system_error(errno, std::system_category(), "write to a pipe");
      }
      written += count > 0 ? static_cast<std::size_t>(count) : 0;
    }
  }

  /// Waits until a byte comes or nobody is left who could send one.
  bool wait_for_byte() const {
    char byte = 0;
    for (;;) {
      const ssize_t count = ::read(ends_[0], &byte, 1);
      if (count != -1 || errno != EINTR) {
        return count == 1;
      }
    }
  }

  /// Everything that comes until nobody is left who could send more.
  [[nodiscard]] std::string read_all() const {
    std::string text;
    char byte = 0;
    for (;;) {
      const ssize_t count = ::read(ends_[0], &byte, 1);
      if (count == 1) {
        text += byte;
      } else if (count == 0 || errno != EINTR) {
        return text;
      }
    }
  }

  [[nodiscard]] int writing_end() const noexcept { return ends_[1]; }

  void close_reading() { close(ends_[0]); }
  void close_writing() { close(ends_[1]); }

 private:
  static void close(int& end) {
    if (end != -1) {
      ::close(end);
      end = -1;
    }
  }

  int ends_[2] = {-1, -1};  // NOLINT(*-avoid-c-arrays): as pipe(2) wants it
};

/// Calls `work`, which returns a string, in a child process, and returns that string.
template <class Work>
std::string in_child(Work&& work) {
  Pipe answer;
  ChildProcess child([&] {
    std::string text;
    try {
      text = work();
    } catch (const std::exception& error) {
      text = std::string("exception: ") + error.what();
    }
    answer.write(text);
    return 0;
  });
  answer.close_writing();
  std::string text = answer.read_all();
  if (const int status = child.wait(); status != 0) {
    text += " (the child ended with " + std::to_string(status) + ")";
  }
  return text;
}

/// The user `nobody` of every system, by number.
inline constexpr unsigned nobody = 65534;

/// As in_child, by a user who is not the superuser.
template <class Work>
std::string in_child_without_privileges(Work&& work) {
  return in_child([&]() -> std::string {
    if (::geteuid() == 0 && (::setgid(nobody) != 0 || ::setuid(nobody) != 0)) {
      return "could not become another user";
    }
    return work();
  });
}

}  // namespace iqdb_test
