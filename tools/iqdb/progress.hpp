// The progress of what takes long: a bar on a terminal, nothing elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>

#include "iqdb/persist/config.hpp"

namespace iqdb_tool {

/// A line on standard error that says how far something is, how fast it goes and when it will be done. It appears after
/// a second, only if standard error is a terminal, and is wiped out when the object is destroyed, and when a signal ends the
/// program. Several threads may call advance() at the same time. One exists at a time.
class ProgressBar {
 public:
  /// `total` bytes are to be done; 0 if that is not known. `what` stands at the beginning of the line.
  explicit ProgressBar(std::string what, std::uint64_t total = 0);
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  ~ProgressBar();

  /// Adds to what is done, in bytes.
  void advance(std::uint64_t bytes);

 private:
  using Clock = std::chrono::steady_clock;

  void draw(Clock::time_point now);

  std::mutex mutex_;
  std::string what_;
  std::uint64_t total_;
  std::uint64_t done_ = 0;
  Clock::time_point began_ = Clock::now();
  Clock::time_point drawn_at_ = began_;
  bool on_terminal_;
};

/// Turns Progress of the library, which counts the bytes of a phase, into advances of a bar: `bytes` in all when the phase
/// is at its end, e.g. the size of a file whose payload is compressed. It also stops the call if that was asked for, see
/// stop_if_interrupted(). An object is for one call of the library.
[[nodiscard]] std::function<void(const iqdb::Progress&)> advancing(ProgressBar& bar, std::uint64_t bytes);

/// For commands that write. While one exists, Ctrl-C and SIGTERM do not end the program at once: interruption_requested()
/// tells of them, and the command stops where nothing is half done. A second signal ends it at once. Make it before a
/// ProgressBar.
class InterruptGuard {
 public:
  InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;
  ~InterruptGuard();
};

/// Whether a signal asks the command to stop.
[[nodiscard]] bool interruption_requested() noexcept;

/// Thrown to stop a command. The program then ends as if by the signal itself.
struct Interrupted {
  int signal = 0;
};

/// Throws Interrupted if interruption_requested().
void stop_if_interrupted();

}  // namespace iqdb_tool
