// iqdb backup PATH DIRECTORY and iqdb restore BACKUP PATH: a snapshot with its log, copied, also beside a program that
// writes them.
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "any_index.hpp"
#include "commands.hpp"
#include "given_path.hpp"
#include "index_settings.hpp"
#include "iqdb/persist/snapshot/verify.hpp"
#include "iqdb/persist/storage/file_storage.hpp"
#include "iqdb/persist/wal/backup.hpp"
#include "object_place.hpp"
#include "progress.hpp"
#include "read_storage.hpp"
#include "utc_time.hpp"

namespace iqdb_tool {

namespace {

namespace fs = std::filesystem;

struct CopyOptions {
  std::string from;
  std::string to;
  bool copies = false;
  bool verifies = false;
  std::optional<std::uint64_t> up_to = {};
  std::optional<std::chrono::system_clock::time_point> up_to_time = {};
};

// `path` is where it was made, as the command line has it.
ExitCode tell(Output& out, const iqdb::BackupInfo& made, const fs::path& path, const std::string& what,
              const CopyOptions& options) {
  if (out.json()) {
    out.document({{"path", path.string()},
                  {"lsn", made.lsn},
                  {"snapshot_bytes", made.snapshot_bytes},
                  {"log_bytes", made.log_bytes},
                  {"linked", made.linked},
                  {"verified", options.verifies},
                  {"seconds", std::chrono::duration<double>(made.elapsed).count()}});
    return ExitCode::fine;
  }
  out.line(out.bold(harmless(path.string())));
  out.field(what, made.log_bytes == 0 ? "a snapshot without a log" : "up to LSN " + std::to_string(made.lsn));
  out.field("snapshot", bytes_text(made.snapshot_bytes) + (made.linked ? ", the same file under a second name" : ""));
  if (made.log_bytes > 0) {
    out.field("log", bytes_text(made.log_bytes));
  }
  if (options.verifies) {
    out.field("verified", out.good("read again, and its checksums are right"));
  }
  return ExitCode::fine;
}

template <iqdb::Storage S>
iqdb::BackupInfo copied(S& storage, const fs::path& from, const fs::path& to, const CopyOptions& options) {
  const fs::path source = storage.resolve(from);
  std::error_code unknown;
  const std::uint64_t bytes = fs::file_size(source, unknown);
  const InterruptGuard guard;
  ProgressBar bar("copy", unknown ? 0 : bytes);
  iqdb::PersistConfig config{.path = source, .helper_threads = 0};
  config.on_progress = advancing(bar, unknown ? 0 : bytes);
  return iqdb::back_up_files(storage, source, to,
                             {.links = !options.copies,
                              .verifies = options.verifies,
                              .up_to = options.up_to,
                              .up_to_time = options.up_to_time},
                             config);
}

// The name of the files that an index gets.
fs::path name_of(const fs::path& from) {
  return iqdb::is_object_address(from.native()) ? fs::path(iqdb::parse_object_address(from.native()).name).filename()
                                                : from.filename();
}

// Copies the index to files, from files or from an object store.
iqdb::BackupInfo copied_to_files(const fs::path& from, const fs::path& to, const CopyOptions& options) {
  if (iqdb::is_object_address(from.native())) {
    ReadStorage storage;
    return copied(storage, from, to, options);
  }
  iqdb::FileStorage storage;
  return copied(storage, from, to, options);
}

ExitCode backup(Output& out, const CopyOptions& options) {
  require_files(options.to, "a backup lies in files", "iqdb restore makes an index there of any other");
  const fs::path from = index_at(options.from);
  iqdb::FileStorage().create_directory(options.to);
  const fs::path to = fs::path(options.to) / name_of(from);
  return tell(out, copied_to_files(from, to, options), to, "holds", options);
}

// Makes an index on an object store of one that is loaded. The log is a part of its snapshot there: its mutations are numbered
// anew.
ExitCode restore_to_objects(Output& out, const CopyOptions& options) {
  if (options.up_to_time) {
    iqdb::throw_persist_error(iqdb::PersistErrorKind::unsupported,
                              "--up-to-time is for files; restore to files first, and that to the object store",
                              {.path = options.to, .code = {}, .offset = {}});
  }
  const auto began = std::chrono::steady_clock::now();
  const InterruptGuard guard;
  const std::unique_ptr<AnyIndex> index =
      load_index(index_at(options.from), iqdb::PersistConfig().helper_threads, options.up_to);
  const ObjectPlace place = object_place(options.to, Access::writes);
  ObjectStorage storage = place.storage();
  iqdb::PersistConfig config{.path = place.address.name};
  {
    ReadStorage source;
    if (auto file = source.open(source.resolve(index_at(options.from)))) {
      config.compression = compression_like(*file);
    }
  }
  ProgressBar bar("store");
  config.on_progress = advancing(bar, 0);
  const iqdb::SnapshotInfo made = index->store(storage, config);
  if (options.verifies) {
    auto file = storage.open(storage.resolve(config.path));
    if (!file || iqdb::snapshot::verified(*file, {}).header.vectors != index->size()) {
      iqdb::throw_persist_error(iqdb::PersistErrorKind::checksum_mismatch,
                                "what was stored is not what was restored; delete its objects, and restore it again",
                                {.path = place.text, .code = {}, .offset = {}});
    }
  }
  return tell(
      out, {.path = place.text, .snapshot_bytes = made.file_bytes, .elapsed = std::chrono::steady_clock::now() - began},
      place.text, "restored", options);
}

ExitCode restore(Output& out, const CopyOptions& options) {
  if (iqdb::is_object_address(options.to)) {
    return restore_to_objects(out, options);
  }
  const fs::path from = index_at(options.from);
  if (fs::is_directory(options.to)) {
    iqdb::throw_persist_error(iqdb::PersistErrorKind::invalid_config,
                              "this is a directory; name the file that the index gets, e.g. '" +
                                  (fs::path(options.to) / name_of(from)).string() + "'",
                              {.path = options.to, .code = {}, .offset = {}});
  }
  return tell(out, copied_to_files(from, options.to, options), options.to, "restored", options);
}

void add_options(CLI::App& command, CopyOptions& options) {
  command.add_flag("--copy", options.copies, "Copy the bytes of the snapshot, also where a second name would do");
  command.add_flag("--verify", options.verifies, "Read the result again and compare its checksums");
  command.add_option("--up-to", options.up_to, "The last mutation to take, by its LSN")->type_name("LSN");
  command
      .add_option_function<std::string>(
          "--up-to-time", [&options](const std::string& text) { options.up_to_time = end_of_second(text); },
          "The last second to take, in UTC, where a history was kept")
      ->type_name("TIME")
      ->excludes("--up-to");
}

}  // namespace

void add_backup(Program& program) {
  auto options = std::make_shared<CopyOptions>();
  CLI::App& command = program.add("backup", "Copy an index into a directory, also while a program writes it",
                                  [options](Output& out) { return backup(out, *options); });
  command.add_option("path", options->from, "The snapshot of the index, or its address on an object store")->required();
  command.add_option("directory", options->to, "Where the backup goes; it is created, in a directory that exists")
      ->required();
  add_options(command, *options);
}

void add_restore(Program& program) {
  auto options = std::make_shared<CopyOptions>();
  CLI::App& command = program.add("restore", "Make an index of a backup, where there is none yet",
                                  [options](Output& out) { return restore(out, *options); });
  command.add_option("backup", options->from, "The snapshot of the backup, or an address")->required();
  command
      .add_option("path", options->to,
                  "The snapshot of the index to make, or its address on an object store; nothing may be there")
      ->required();
  add_options(command, *options);
}

}  // namespace iqdb_tool
