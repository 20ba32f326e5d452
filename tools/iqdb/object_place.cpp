#include "object_place.hpp"

#include <system_error>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/storage/directory_object_store.hpp"
#include "iqdb/persist/wal/object_history.hpp"
#include "iqdb/persist/wal/object_history_search.hpp"
#include "iqdb/text.hpp"

namespace iqdb_tool {

namespace {

using iqdb::PersistErrorKind;

[[noreturn]] void throw_no_index(const ObjectPlace& place) {
  if (const auto older = iqdb::history_state_named(place.address.name)) {
    iqdb::throw_persist_error(PersistErrorKind::unsupported,
                              "this is the name of an older state of the index " + iqdb::printable(older->index) +
                                  ", which iqdb search, backup and restore take; give the address of the index itself",
                              {.path = place.text, .code = {}, .offset = {}});
  }
  iqdb::throw_persist_error(
      PersistErrorKind::io, "there is no index of this name in the store; check the address",
      {.path = place.text, .code = std::make_error_code(std::errc::no_such_file_or_directory), .offset = {}});
}

// The checkpoint names its snapshot by the key that the store of its writer has, in which the index may have a longer or a
// shorter name than the address says.
void require_own_name(const iqdb::ObjectRun& run, const ObjectPlace& place) {
  if (!run.checkpoint) {
    return;
  }
  const std::string& key = run.objects[*run.checkpoint].snapshot.key;
  const std::size_t end = key.rfind("/snapshot/");
  const std::string name = key.substr(0, end);
  const bool is_s3 = place.address.kind == iqdb::ObjectAddress::Kind::s3;
  const std::string full = (is_s3 ? place.address.prefix : place.address.place + "/") + place.address.name;
  if (end == std::string::npos || name == place.address.name || !full.ends_with(name)) {
    return;
  }
  const std::string front = full.substr(0, full.size() - name.size());
  iqdb::throw_persist_error(PersistErrorKind::invalid_config,
                            "the program that writes this index calls it " + iqdb::printable(name) + "; write " +
                                (is_s3 ? "s3://" + place.address.place + "/" : "dir:") + front + "/" + name,
                            {.path = place.text, .code = {}, .offset = {}});
}

}  // namespace

StoreOptions& store_options() noexcept {
  static StoreOptions options;
  return options;
}

void AnyObjectStore::require_writes() const {
  if (access_ == Access::reads) {
    iqdb::throw_persist_error(PersistErrorKind::read_only,
                              "a command that only looks was about to change the store, and has not done it; this is a "
                              "defect of the program: report it");
  }
}

ObjectPlace object_place(std::string_view text, Access access) {
  constexpr std::string_view log_ending = ".wal";
  if (text.ends_with(log_ending)) {
    text.remove_suffix(log_ending.size());
  }
  iqdb::ObjectAddress address = iqdb::parse_object_address(text);
  std::unique_ptr<AnyObjectStore::Calls> calls =
      address.kind == iqdb::ObjectAddress::Kind::s3
          ? s3_calls(address, store_options())
          : std::make_unique<CallsOf<iqdb::DirectoryObjectStore>>(iqdb::DirectoryObjectStore(address.place));
  return {.text = std::string(text), .address = std::move(address), .store = AnyObjectStore(std::move(calls), access)};
}

void require_files(const std::string& path, const std::string& what, const std::string& instead) {
  if (iqdb::is_object_address(path)) {
    iqdb::throw_persist_error(PersistErrorKind::unsupported, what + ", and this is an object store; " + instead,
                              {.path = path, .code = {}, .offset = {}});
  }
}

iqdb::ObjectRun run_at(ObjectPlace& place) {
  const auto name = place.storage().resolve(place.address.name).generic_string();
  iqdb::ObjectRun run =
      iqdb::naming_file(place.text, [&] { return iqdb::read_object_run(place.store, name, how_it_is_asked()); });
  if (run.objects.empty()) {
    throw_no_index(place);
  }
  require_own_name(run, place);
  return run;
}

}  // namespace iqdb_tool
