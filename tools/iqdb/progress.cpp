#include "progress.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <utility>

namespace iqdb_tool {

namespace {

volatile std::sig_atomic_t received_signal = 0;
volatile std::sig_atomic_t is_guarded = 0;  // an InterruptGuard exists
volatile std::sig_atomic_t line_is_drawn = 0;

constexpr std::array<char, 4> wiping{'\r', '\x1b', '[', 'K'};

// Leaves a terminal as it was, and ends the program.
void wipe_and_end(int signal) {
  if (line_is_drawn != 0) {
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, wiping.data(), wiping.size());
  }
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

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
    : what_(std::move(what)), total_(total), on_terminal_(::isatty(STDERR_FILENO) == 1) {
  if (on_terminal_ && is_guarded == 0) {
    std::signal(SIGINT, wipe_and_end);
    std::signal(SIGTERM, wipe_and_end);
  }
}

ProgressBar::~ProgressBar() {
  if (line_is_drawn != 0) {
    std::fwrite(wiping.data(), 1, wiping.size(), stderr);
    std::fflush(stderr);
    line_is_drawn = 0;
  }
  if (on_terminal_ && is_guarded == 0) {
    std::signal(SIGINT, SIG_DFL);
    std::signal(SIGTERM, SIG_DFL);
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
  line_is_drawn = 1;
  std::fprintf(stderr, "\r%s\x1b[K", text.c_str());
  std::fflush(stderr);
  drawn_at_ = now;
}

std::function<void(const iqdb::Progress&)> advancing(ProgressBar& bar, std::uint64_t bytes) {
  return [&bar, bytes, told = std::uint64_t{0}](const iqdb::Progress& progress) mutable {
    stop_if_interrupted();
    if (progress.total == 0) {
      return;
    }
    const double share = std::min(1.0, static_cast<double>(progress.done) / static_cast<double>(progress.total));
    const auto now = static_cast<std::uint64_t>(share * static_cast<double>(bytes));
    if (now > told) {
      bar.advance(now - std::exchange(told, now));
    }
  };
}

InterruptGuard::InterruptGuard() {
  is_guarded = 1;
  std::signal(SIGINT, note_signal);
  std::signal(SIGTERM, note_signal);
}

InterruptGuard::~InterruptGuard() {
  is_guarded = 0;
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
