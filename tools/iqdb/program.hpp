// The command line of iqdb: its commands, and the options that all of them have.
#pragma once

#include <CLI/CLI.hpp>

#include <functional>
#include <string>

#include "exit_code.hpp"
#include "output.hpp"

namespace iqdb_tool {

/// What a command does once the whole command line was read. What it throws ends the program with the error's code.
using Run = std::function<ExitCode(Output&)>;

/// The tree of commands and options, and what was chosen of it.
class Program {
 public:
  Program();

  /// Adds a command, with the options that all commands have, and returns it for its own options. `run` is called if
  /// it was chosen; the variables to which its options are bound must live as long as `run`.
  CLI::App& add(const std::string& name, const std::string& description, Run run);

  /// Reads the command line and does what it says. Returns the status of the program.
  int run(int argc, const char* const* argv);

  /// The tree, for the command that makes completions from it.
  [[nodiscard]] CLI::App& tree() noexcept { return app_; }

 private:
  void add_common_options(CLI::App& command);

  CLI::App app_;
  bool json_ = false;
  Colour colour_ = Colour::automatic;
  Run chosen_;
};

}  // namespace iqdb_tool
