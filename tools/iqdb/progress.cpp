#include "progress.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <memory>
#include <utility>

namespace iqdb_tool {

namespace {

volatile std::sig_atomic_t received_signal = 0;

void note_signal(int signal) {
  received_signal = signal;
  std::signal(signal, SIG_DFL);  // the next one ends the program
}

std::size_t terminal_width() {
  ::winsize size{};
  constexpr std::size_t usual = 80;
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : usual;
}

}  // namespace

ProgressBar::ProgressBar(std::string what, std::uint64_t total)
    : what_(std::move(what)), total_(total), on_terminal_(::isatty(STDERR_FILENO) == 1) {}

ProgressBar::~ProgressBar() {
  if (drawn_) {
    std::fputs("\r\x1b[K", stderr);
    std::fflush(stderr);
  }
}

void ProgressBar::advance(std::uint64_t bytes) {
  if (!on_terminal_) {
    return;
  }
  const std::lock_guard guard(mutex_);
  done_ += bytes;
  const auto now = Clock::now();
  constexpr std::chrono::milliseconds pause{100};
  if (now - began_ >= std::chrono::seconds(1) && now - drawn_at_ >= pause) {
    draw(now);
  }
}

void ProgressBar::draw(Clock::time_point now) {
  const double seconds = std::chrono::duration<double>(now - began_).count();
  constexpr double mebibyte = 1024.0 * 1024.0;
  const double speed = static_cast<double>(done_) / seconds;
  std::array<char, 96> numbers{};
  std::string bar;
  if (total_ > 0) {
    const double share = std::min(1.0, static_cast<double>(done_) / static_cast<double>(total_));
    const double left = share > 0 ? seconds / share - seconds : 0;
    std::snprintf(numbers.data(), numbers.size(), " %3.0f %%  %.0f MiB/s  %.0f s left", 100 * share, speed / mebibyte,
                  left);
    constexpr std::size_t width = 20;
    const auto full = static_cast<std::size_t>(share * width);
    bar = " [" + std::string(full, '#') + std::string(width - full, '.') + "]";
  } else {
    std::snprintf(numbers.data(), numbers.size(), " %.0f MiB  %.0f MiB/s", static_cast<double>(done_) / mebibyte,
                  speed / mebibyte);
  }
  // A line that is longer than the terminal would not be wiped out.
  const std::string tail = bar + numbers.data();
  const std::size_t width = terminal_width() - 1;
  std::string text = what_.substr(0, width > tail.size() ? width - tail.size() : 0) + tail;
  text.resize(std::min(text.size(), width));
  std::fprintf(stderr, "\r%s\x1b[K", text.c_str());
  std::fflush(stderr);
  drawn_ = true;
  drawn_at_ = now;
}

std::function<void(const iqdb::Progress&)> advancing(ProgressBar& bar) {
  struct Phase {
    iqdb::Progress::Phase phase{};
    std::uint64_t done = 0;
  };
  return [&bar, last = std::make_shared<Phase>()](const iqdb::Progress& progress) {
    stop_if_interrupted();
    if (progress.phase != last->phase || progress.done < last->done) {
      *last = {.phase = progress.phase, .done = 0};
    }
    bar.advance(progress.done - std::exchange(last->done, progress.done));
  };
}

InterruptGuard::InterruptGuard() {
  std::signal(SIGINT, note_signal);
  std::signal(SIGTERM, note_signal);
}

InterruptGuard::~InterruptGuard() {
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
}

bool interruption_requested() noexcept { return received_signal != 0; }

void stop_if_interrupted() {
  if (interruption_requested()) {
    throw Interrupted{.signal = received_signal};
  }
}

}  // namespace iqdb_tool
