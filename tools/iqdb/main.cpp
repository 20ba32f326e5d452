// iqdb: looks into the files of indexes, from the command line. iqdb.1 is its manual.
#include "commands.hpp"
#include "program.hpp"

int main(int argc, char** argv) {
  iqdb_tool::Program program;
  iqdb_tool::add_commands(program);
  return program.run(argc, argv);
}
