// A child process that is forked in a callback of the library, and returns from the callback into the call of its parent.
#pragma once

#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

#include "support/child_process.hpp"
#include "support/shared_calls.hpp"

namespace iqdb_test {

/// Forks once, in the middle of a call.
class ReturningChild {
 public:
  /// Called in a callback. The first time, forks, and returns in both processes: in the child at once, in the parent when the
  /// child has ended. So what the child does wrong is done when the parent goes on.
  void fork() {
    if (id_ != -1) {
      return;
    }
    id_ = ::fork();
    if (id_ == -1) {
      throw std::system_error(errno, std::system_category(), "fork");
    }
    if (id_ == 0) {
      ::alarm(30);
      return;
    }
    while (::waitpid(id_, &status_, 0) == -1) {
      if (errno != EINTR) {
        throw std::system_error(errno, std::system_category(), "waitpid");
      }
    }
    is_over_ = true;
  }

  /// Whether this process is the child.
  [[nodiscard]] bool is_child() const noexcept { return id_ == 0; }

  /// Whether it has forked, and the child has ended. Any thread may ask it.
  [[nodiscard]] bool is_over() const noexcept { return is_over_; }

  /// What `call` comes to in both processes, in words: "ok, in the child: poisoned". A child that did not come back to the call's
  /// end is told of by its status.
  template <class Call>
  std::string outcomes(Call&& call) {
    const std::string here = word_of(std::forward<Call>(call));
    if (id_ == 0) {
      said_.write(here);
      ::_exit(0);
    }
    if (id_ == -1) {
      return here + ", without a child";
    }
    said_.close_writing();
    const std::string there = said_.read_all();
    const int status = WIFEXITED(status_) ? WEXITSTATUS(status_) : -WTERMSIG(status_);
    return here + ", in the child: " + there + (status == 0 ? "" : "ended with " + std::to_string(status));
  }

 private:
  Pipe said_;
  ::pid_t id_ = -1;
  int status_ = 0;
  std::atomic<bool> is_over_ = false;
};

}  // namespace iqdb_test
