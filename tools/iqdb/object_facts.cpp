#include "object_facts.hpp"

#include <string_view>
#include <utility>

#include "iqdb/persist/snapshot/snapshot_file.hpp"
#include "iqdb/persist/wal/object_history.hpp"
#include "iqdb/persist/wal/object_history_search.hpp"
#include "iqdb/persist/wal/object_log_image.hpp"
#include "iqdb/persist/wal/object_snapshot.hpp"
#include "log_facts.hpp"
#include "payload_head.hpp"
#include "snapshot_facts.hpp"

namespace iqdb_tool {

namespace {

constexpr std::size_t log_piece_bytes = std::size_t{256} * 1024;

// What lies in the store, whether a load needs it or not.
struct StoredObjects {
  std::uint64_t log = 0;
  std::uint64_t snapshots = 0;
};

struct ObjectIndexFacts {
  ObjectLogFacts log = {};
  std::optional<iqdb::PublishedSnapshot> published = {};
  std::optional<iqdb::FileHeader> header = {};
  std::uint64_t snapshot_bytes = 0;
  std::optional<iqdb::RegionPreamble> preamble = {};
  std::optional<PayloadHead> payload = {};
  StoredObjects stored = {};
  std::size_t older_states = 0;  // in the history
  std::vector<iqdb::PersistError> problems = {};
};

void look_at_snapshot(ObjectPlace& place, ObjectIndexFacts& facts) {
  const std::string where = facts.published->key;
  try {
    iqdb::naming_file(where, [&] {
      iqdb::ObjectSnapshot<AnyObjectStore> file(place.store, facts.published->key,
                                                facts.published->fingerprint.file_bytes, how_it_is_asked());
      facts.header = iqdb::snapshot::read_header_of(file);
      facts.snapshot_bytes = file.size();
      if (!(iqdb::fingerprint(*facts.header, file.size()) == facts.published->fingerprint)) {
        iqdb::throw_persist_error(iqdb::PersistErrorKind::log_mismatch,
                                  "the object is not the snapshot that the log names; put it back from a copy, as a "
                                  "store with versions keeps one");
      }
      facts.preamble = preamble_of(file, *facts.header);
      facts.payload = payload_head_of(file, *facts.header);
      if (facts.payload) {
        compare(where, *facts.header, *facts.payload, facts.problems);
      }
    });
  } catch (const iqdb::PersistError& error) {
    if (error.kind() == iqdb::PersistErrorKind::io) {
      throw;
    }
    facts.problems.push_back(error);
  }
}

StoredObjects stored_at(ObjectPlace& place) {
  StoredObjects stored;
  const iqdb::ObjectLogOptions options = how_it_is_asked();
  const std::string& name = place.address.name;
  stored.log = iqdb::list_log_objects(place.store, name, options).size();
  const std::string snapshots = iqdb::object_snapshot_prefix(name);
  iqdb::object_requests::for_each_key(place.store, snapshots, snapshots, options, [&](const std::string& key) {
    stored.snapshots += iqdb::parts_of_object_snapshot(name, key) ? 1U : 0U;
  });
  return stored;
}

ObjectIndexFacts gather(ObjectPlace& place) {
  ObjectIndexFacts facts;
  iqdb::ObjectRun run = run_at(place);
  if (run.checkpoint) {
    facts.published = run.objects[*run.checkpoint].snapshot;
    look_at_snapshot(place, facts);
  }
  const auto look = [&](auto&& at) {
    try {
      at();
    } catch (const iqdb::PersistError& error) {
      facts.problems.push_back(error);
    }
  };
  look([&] { facts.log = facts_of(std::move(run), place); });
  look([&] {
    const auto history = facts.published ? iqdb::read_object_history(place.store, place.address.name,
                                                                     facts.published->key, how_it_is_asked())
                                         : std::nullopt;
    facts.older_states = history ? history->states.size() : 0;
  });
  facts.stored = stored_at(place);
  return facts;
}

Json json_of(const ObjectPlace& place, const ObjectIndexFacts& facts) {
  Json document{{"path", place.text}, {"kind", "object_index"}, {"snapshot", nullptr}};
  if (facts.published) {
    document["snapshot"] = {{"key", facts.published->key}};
    if (facts.header) {
      add_snapshot(document["snapshot"], *facts.header, facts.snapshot_bytes, facts.preamble, facts.payload);
    }
  }
  document["log"] = json_of(facts.log);
  document["stored"] = {{"log_objects", facts.stored.log}, {"snapshots", facts.stored.snapshots}};
  document["older_states"] = facts.older_states;
  document["problems"] = json_of_problems(facts.problems);
  return document;
}

void print(Output& out, const ObjectPlace& place, const ObjectIndexFacts& facts) {
  out.line(out.bold(harmless(place.text)));
  if (facts.header) {
    print_snapshot(out, *facts.header, facts.snapshot_bytes, facts.preamble, facts.payload);
    out.field("object", harmless(facts.published->key));
  } else if (!facts.published) {
    out.line(out.bold("snapshot"));
    out.field("none", "the index was opened, and nothing was stored yet");
  }
  out.line(out.bold("log"));
  print_log(out, facts.log);
  out.line(out.bold("stored"));
  out.field("objects",
            count_text(facts.stored.log, "object") + " of the log, " + count_text(facts.stored.snapshots, "snapshot"));
  if (facts.older_states > 0) {
    out.field("older states", std::to_string(facts.older_states) + "; iqdb history lists them");
  }
  print_problems(out, facts.problems);
}

}  // namespace

ObjectLogFacts facts_of(iqdb::ObjectRun run, const ObjectPlace& place) {
  const iqdb::LogObjectHeader last = run.objects.back().header;
  ObjectLogFacts facts{.first_object = run.objects.front().header.number,
                       .last_object = last.number,
                       .writer = last.fence,
                       .history_id = last.history_id,
                       .covered_lsn = run.snapshot_lsn(),
                       .lsn = run.next_lsn() - 1,
                       .closed = run.is_closed()};
  const auto snapshot = run.checkpoint ? run.objects[*run.checkpoint].snapshot.fingerprint : iqdb::Fingerprint();
  if (auto image = iqdb::image_of_object_log(std::move(run), place.address.name, last.nonce)) {
    facts.scan = iqdb::scan_log(*image, snapshot, log_piece_bytes);
  }
  return facts;
}

Json json_of(const ObjectLogFacts& log) {
  return {{"first_object", log.first_object},
          {"last_object", log.last_object},
          {"base_lsn", log.covered_lsn},
          {"lsn", log.lsn},
          {"mutations", log.mutations()},
          {"aborted", log.aborted()},
          {"closed", log.closed},
          {"writer", log.writer},
          {"history_id", name_of_id(log.history_id)}};
}

void print_log(Output& out, const ObjectLogFacts& log) {
  out.field("objects",
            std::to_string(log.first_object) + " to " + std::to_string(log.last_object) + " are what a load reads");
  out.field("mutations", std::to_string(log.mutations()) + " behind the snapshot" +
                             (log.aborted() > 0 ? ", and " + std::to_string(log.aborted()) + " aborted" : ""));
  out.field("last LSN", std::to_string(log.lsn) + (log.lsn != log.covered_lsn ? "; the snapshot holds those up to " +
                                                                                    std::to_string(log.covered_lsn)
                                                                              : ""));
  out.field("history", name_of_id(log.history_id));
  out.field("closed", log.closed ? "in order"
                                 : "no: its writer, whose fence is number " + std::to_string(log.writer) +
                                       ", is at work or was killed; the store does not know which");
}

ExitCode info_of_objects(Output& out, const std::string& address) {
  ObjectPlace place = object_place(address, Access::reads);
  const ObjectIndexFacts facts = gather(place);
  if (out.json()) {
    out.document(json_of(place, facts));
  } else {
    print(out, place, facts);
  }
  return facts.problems.empty() ? ExitCode::fine : ExitCode::damaged;
}

}  // namespace iqdb_tool
