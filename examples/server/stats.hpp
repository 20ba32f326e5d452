// What an operator asks: how the index stands, as JSON and as Prometheus reads it.
#pragma once

#include <iqdb/index/flat.hpp>
#include <iqdb/persist/shared_index.hpp>

#include <nlohmann/json.hpp>

#include <chrono>
#include <sstream>
#include <string>
#include <vector>

namespace server {

using Database = iqdb::SharedIndex<iqdb::FlatIndex>;
using nlohmann::json;

struct Measurement {
  std::string name;
  bool grows;  // a counter for Prometheus; else a gauge
  json value;
  std::string help;
};

inline std::vector<Measurement> measurements(const Database& db) {
  const iqdb::WaitingThreads waiting = db.waiting();
  const iqdb::RecoveryReport& recovery = db.recovery();
  return {
      {"vectors", false, db.read([](const iqdb::FlatIndex& index) { return index.size(); }), "vectors in the index"},
      {"lsn", true, db.lsn(), "number of the last mutation"},
      {"log_bytes", false, db.log_bytes(), "size of the log"},
      {"poisoned", false, db.poisoned() ? 1 : 0, "1 if nothing can be logged any more: start the server again"},
      {"waiting_mutations", false, waiting.calls, "mutations that wait for the disk"},
      {"waiting_searches", false, waiting.readers, "searches that wait for a mutation"},
      {"recovery_replayed", false, recovery.replayed, "mutations taken from the log at the start"},
      {"recovery_dropped_bytes", false, recovery.dropped_bytes, "bytes of a torn record, dropped at the start"},
      {"recovery_seconds", false, std::chrono::duration<double>(recovery.elapsed).count(), "time that the start took"},
  };
}

inline json stats(const Database& db) {
  json answer = db.read([](const iqdb::FlatIndex& index) {
    return json{{"dim", index.dim()}, {"metric", to_string(index.metric())}};
  });
  for (const Measurement& measurement : measurements(db)) {
    answer[measurement.name] = measurement.value;
  }
  return answer;
}

inline std::string metrics(const Database& db) {
  std::ostringstream out;
  for (const auto& [name, grows, value, help] : measurements(db)) {
    out << "# HELP iqdb_" << name << ' ' << help << "\n# TYPE iqdb_" << name << (grows ? " counter" : " gauge")
        << "\niqdb_" << name << ' ' << value << '\n';
  }
  return out.str();
}

// What the start found, in words.
inline std::string what_was_found(const Database& db) {
  const iqdb::RecoveryReport& recovery = db.recovery();
  std::ostringstream out;
  out << db.read([](const iqdb::FlatIndex& index) { return index.size(); }) << " vectors; " << recovery.replayed
      << " mutations replayed from the log, " << recovery.dropped_bytes << " bytes of a torn record dropped";
  if (!recovery.torn_log.empty()) {
    out << " (kept in " << recovery.torn_log.string() << ")";
  }
  return out.str();
}

}  // namespace server
