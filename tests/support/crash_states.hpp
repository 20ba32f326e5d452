// The files as a crash between any two calls would leave them, as far as those go that a killed process leaves.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "support/faulty_file_system.hpp"
#include "support/raw_log.hpp"

namespace iqdb_test {

/// What was there before one call.
struct CrashState {
  std::string when;
  FileSet files;
};

/// The files in `directory` before each call that `action` makes, where they differ from those before, and at its end.
template <class Action>
std::vector<CrashState> states_during(FaultyFileSystem& system, const std::filesystem::path& directory,
                                      Action&& action) {
  std::vector<CrashState> states;
  const auto look = [&](const std::string& when) {
    FileSet files = files_in(directory);
    if (states.empty() || states.back().files != files) {
      states.push_back({when, std::move(files)});
    }
  };
  system.plan([&](const CallRecord& call) {
    look("before " + call.text());
    return Fault{};
  });
  std::forward<Action>(action)();
  system.plan({});
  look("at the end");
  return states;
}

/// The calls as texts. A file keeps the name that it was opened by: a log that is appended to is called by the
/// temporary one that it was written under.
[[nodiscard]] inline std::vector<std::string> texts_of(const std::vector<CallRecord>& calls) {
  std::vector<std::string> all;
  for (const CallRecord& call : calls) {
    all.push_back(call.text());
  }
  return all;
}

/// Of the calls those that change something or make it durable, one for each run of writes to the same file and without
/// their offsets.
[[nodiscard]] inline std::vector<std::string> changes_in(const std::vector<CallRecord>& calls) {
  std::vector<std::string> all;
  for (const CallRecord& call : calls) {
    std::string text;
    switch (call.call) {
      case FileCall::write:
        text = "write " + call.file;
        break;
      case FileCall::truncate:
        text = "truncate " + call.file;
        break;
      case FileCall::create:
      case FileCall::sync:
      case FileCall::sync_data:
      case FileCall::sync_directory:
      case FileCall::rename:
      case FileCall::link:
        text = call.text();
        break;
      default:
        continue;
    }
    if (call.call != FileCall::write || all.empty() || all.back() != text) {
      all.push_back(std::move(text));
    }
  }
  return all;
}

}  // namespace iqdb_test
