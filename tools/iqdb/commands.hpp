// The commands of iqdb. To add one named NAME:
//
//   1. Write command_NAME.cpp. The build finds it. It defines add_NAME(Program&), which makes a struct of options in a
//      shared_ptr, calls
//
//          CLI::App& command = program.add("NAME", "What it does, in one line", [options](Output& out) { return …; });
//
//      and binds its arguments: command.add_option("path", options->path, "What it is")->required(). What runs returns
//      an ExitCode, prints with Output (a document where out.json(), else lines), shows what takes long with a
//      ProgressBar, and lets PersistErrors pass: main.cpp prints them as text or JSON and ends with their code.
//   2. Declare it below, and add it to add_commands(), in the order of --help.
//   3. Describe it and each of its options in iqdb.1: a test compares that page with --help. Completions follow from the
//      options by themselves.
//
// A command never changes a file that it was not told to change, and overwrites none without --force.
#pragma once

#include "program.hpp"

namespace iqdb_tool {

void add_info(Program& program);
void add_verify(Program& program);
void add_log(Program& program);
void add_recover(Program& program);
void add_backup(Program& program);
void add_restore(Program& program);
void add_history(Program& program);
void add_search(Program& program);
void add_convert(Program& program);
void add_checkpoint(Program& program);
void add_bench(Program& program);
void add_completion(Program& program);

inline void add_commands(Program& program) {
  add_info(program);
  add_verify(program);
  add_log(program);
  add_recover(program);
  add_backup(program);
  add_restore(program);
  add_history(program);
  add_search(program);
  add_convert(program);
  add_checkpoint(program);
  add_bench(program);
  add_completion(program);
}

}  // namespace iqdb_tool
