#include "program.hpp"

#include <csignal>
#include <cstdio>
#include <exception>
#include <map>
#include <string_view>
#include <utility>

#include "iqdb/persist/codec/compression_scheme.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/wal_format.hpp"
#include "iqdb/text.hpp"
#include "object_place.hpp"
#include "progress.hpp"

namespace iqdb_tool {

namespace {

std::string version_text() {
  std::string text = "iqdb " + std::to_string(IQDB_PERSIST_VERSION_MAJOR) + "." +
                     std::to_string(IQDB_PERSIST_VERSION_MINOR) + "." + std::to_string(IQDB_PERSIST_VERSION_PATCH);
  text += "\nformats: snapshots 1 to " + std::to_string(iqdb::snapshot_version) + ", logs 1 to " +
          std::to_string(iqdb::log_version);
  text += "\ncodecs: none";
  text += IQDB_PERSIST_HAS_ZSTD != 0 ? ", zstd" : "";
  text += IQDB_PERSIST_HAS_LZ4 != 0 ? ", lz4" : "";
  text += "\nindexes: flat, iqdb-core";
#ifdef IQDB_TOOL_HAS_HNSWLIB
  text += ", hnswlib";
#endif
#ifdef IQDB_TOOL_HAS_FAISS
  text += ", faiss";
#endif
#ifdef IQDB_TOOL_HAS_USEARCH
  text += ", usearch";
#endif
  text += "\nstores: files, dir";
#ifdef IQDB_TOOL_HAS_S3
  text += ", s3";
#endif
  return text;
}

// Whether the options ask for JSON, also where they cannot be read.
bool asks_for_json(int argc, const char* const* argv) {
  for (int at = 1; at < argc && std::string_view(argv[at]) != "--"; ++at) {
    if (std::string_view(argv[at]) == "--json") {
      return true;
    }
  }
  return false;
}

}  // namespace

Program::Program()
    : app_("Looks into the files of vector indexes that iqdb-persist keeps, repairs and converts them.", "iqdb") {
  app_.set_version_flag("--version", version_text, "Print the version, formats, codecs and indexes, and exit");
  app_.set_help_flag("-h,--help", "Print this help and exit");
  app_.require_subcommand(1);
  app_.footer("Exit codes: 0 fine, 1 damaged or refused, 2 wrong usage, 3 the system failed.\nSee also: man iqdb");
  app_.get_formatter()->column_width(28);
  add_common_options(app_);
}

void Program::add_common_options(CLI::App& command) {
  static const std::map<std::string, Colour> colours{
      {"auto", Colour::automatic}, {"always", Colour::always}, {"never", Colour::never}};
  command.add_flag("--json", json_, "Answer with JSON on standard output, errors too");
  command
      .add_option_function<std::string>(
          "--color", [this](const std::string& when) { colour_ = colours.at(when); },
          "When to use colours: auto (on a terminal), always, never")
      ->check(CLI::IsMember({"auto", "always", "never"}))
      ->option_text("WHEN");
  StoreOptions& store = store_options();
  command.add_option("--endpoint", store.endpoint, "Where the store of s3:// is; by default AWS_ENDPOINT_URL")
      ->option_text("URL");
  command.add_option("--region", store.region, "The region of s3://; by default AWS_REGION")->option_text("REGION");
  command.add_option("--style", store.style, "Where the bucket stands in an address of s3://: path or host")
      ->check(CLI::IsMember({"path", "host"}))
      ->option_text("STYLE");
}

CLI::App& Program::add(const std::string& name, const std::string& description, Run run) {
  CLI::App& command = *app_.add_subcommand(name, description);
  command.callback([this, run = std::move(run)] { chosen_ = run; });
  add_common_options(command);
  return command;
}

int Program::run(int argc, const char* const* argv) {
  try {
    app_.parse(argc, argv);
  } catch (const CLI::Success& asked) {  // --help, --version
    app_.exit(asked);
    return static_cast<int>(ExitCode::fine);
  } catch (const CLI::ParseError& error) {
    Output out(asks_for_json(argc, argv), colour_);
    const auto chosen = app_.get_subcommands();
    const std::string help = "iqdb " + (chosen.empty() ? "" : chosen.front()->get_name() + " ") + "--help";
    std::string message = error.what();
    for (int at = 1; chosen.empty() && at < argc; ++at) {
      if (argv[at][0] != '-') {
        message = "there is no command " + iqdb::printable(argv[at]);
        break;
      }
    }
    out.failure(
        {.code = ExitCode::usage, .kind = "usage", .message = message + "; see " + help, .path = {}, .offset = {}});
    return static_cast<int>(ExitCode::usage);
  }
  Output out(json_, colour_);
  try {
    const ExitCode code = chosen_(out);
    out.flush();
    return static_cast<int>(code);
  } catch (const Interrupted& interrupted) {
    std::fflush(stdout);
    std::signal(interrupted.signal, SIG_DFL);
    std::raise(interrupted.signal);  // so that a shell sees why the program ended
    return static_cast<int>(ExitCode::io);
  } catch (...) {
    const Failure failure = Failure::current();
    out.failure(failure);
    std::fflush(stdout);
    return static_cast<int>(failure.code);
  }
}

}  // namespace iqdb_tool
