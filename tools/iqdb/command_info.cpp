// iqdb info PATH: what the files of an index are.
#include <filesystem>
#include <memory>
#include <string>

#include "commands.hpp"
#include "iqdb/persist/inspect.hpp"

namespace iqdb_tool {

namespace {

struct InfoOptions {
  std::string path;
};

ExitCode info(Output& out, const InfoOptions& options) {
  const iqdb::FileHeader header = iqdb::read_header(options.path);
  if (out.json()) {
    out.document({{"path", options.path},
                  {"snapshot",
                   {{"type", header.index_type},
                    {"dimensions", header.dim},
                    {"metric", to_string(header.metric)},
                    {"vectors", header.vectors}}}});
    return ExitCode::fine;
  }
  out.line(out.bold(harmless(options.path)));
  out.field("type", harmless(header.index_type));
  out.field("dimensions", std::to_string(header.dim));
  out.field("metric", to_string(header.metric));
  out.field("vectors", std::to_string(header.vectors));
  return ExitCode::fine;
}

}  // namespace

void add_info(Program& program) {
  auto options = std::make_shared<InfoOptions>();
  CLI::App& command =
      program.add("info", "Say what the files of an index are", [options](Output& out) { return info(out, *options); });
  command.add_option("path", options->path, "The snapshot, or its log")->required();
}

}  // namespace iqdb_tool
