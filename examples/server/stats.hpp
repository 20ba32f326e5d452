// What an operator asks: how the index stands, as JSON and as Prometheus reads it.
#pragma once

#include <iqdb/index/flat.hpp>
#include <iqdb/persist/follower.hpp>
#include <iqdb/persist/shared_index.hpp>
#include <iqdb/persist/stats.hpp>

#include <nlohmann/json.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <ostream>
#include <sstream>
#include <string>
#include <vector>

namespace server {

using nlohmann::json;

struct Measurement {
  std::string name;
  bool grows;  // a counter for Prometheus, whose name then ends in "_total"; else a gauge
  json value;
  std::string help;
};

inline double seconds(std::chrono::nanoseconds time) { return std::chrono::duration<double>(time).count(); }

template <class Database>
std::vector<Measurement> measurements(const Database& db, const iqdb::Stats& stats) {
  const iqdb::WaitingThreads waiting = db.waiting();
  const iqdb::RecoveryReport& recovery = db.recovery();
  const iqdb::Stats::Checkpoint& last = stats.last_checkpoint;
  return {
      {"vectors", false, db.read([](const iqdb::FlatIndex& index) { return index.size(); }), "Vectors in the index."},
      {"lsn", false, stats.lsn, "Number of the last mutation."},
      {"poisoned", false, stats.poisoned ? 1 : 0, "1 if nothing can be logged any more: start the server again."},
      {"mutations", true, stats.mutations, "Mutations that were logged since the start."},
      {"groups", true, stats.groups, "Records in which they were logged."},
      {"logged_bytes", true, stats.logged_bytes, "Bytes of these records."},
      {"log_bytes", false, stats.log_bytes, "Size of the log."},
      {"replay_estimate_seconds", false, seconds(stats.replay_estimate), "About how long a replay of the log takes."},
      {"checkpoints", true, stats.checkpoints, "Checkpoints since the start."},
      {"failed_checkpoints", true, stats.failed_checkpoints, "Checkpoints that failed."},
      {"last_checkpoint_timestamp_seconds", false, seconds(last.when.time_since_epoch()), "When the last one ended."},
      {"last_checkpoint_seconds", false, seconds(last.elapsed), "How long it took."},
      {"last_checkpoint_pause_seconds", false, seconds(last.pause), "How long it kept mutations waiting at most."},
      {"last_checkpoint_bytes", false, last.bytes, "Size of its snapshot."},
      {"waiting_mutations", false, waiting.calls, "Mutations that wait for the disk."},
      {"waiting_searches", false, waiting.readers, "Searches that wait for a mutation."},
      {"longest_mutation_wait_seconds", false, seconds(stats.longest_write_wait), "Longest wait for searches to end."},
      {"longest_search_wait_seconds", false, seconds(stats.longest_read_wait), "Longest wait of a search."},
      {"recovery_replayed", false, recovery.replayed, "Mutations taken from the log at the start."},
      {"recovery_dropped_bytes", false, recovery.dropped_bytes, "Bytes of a torn record, dropped at the start."},
      {"recovery_seconds", false, seconds(recovery.elapsed), "How long the start took."},
  };
}

// Of one that follows.
template <class Follower>
std::vector<Measurement> measurements(const Follower& follower, const iqdb::FollowerStats& stats) {
  return {
      {"vectors", false, follower.size(), "Vectors in the index."},
      {"lsn", false, stats.lsn, "Number of the last mutation."},
      {"behind_seconds", false, seconds(stats.behind), "How long ago it was known to hold what the writer had made."},
      {"failing", false, stats.why_failing.empty() ? 0 : 1, "1 if the last look for more failed."},
      {"catch_ups", true, stats.catch_ups, "Looks for more since the start."},
      {"reloads", true, stats.reloads, "How often the index was loaded anew."},
      {"longest_catch_up_seconds", false, seconds(stats.longest_catch_up), "The longest that a look for more took."},
  };
}

template <class Index, class Stats>
json measured_as_json(const Index& index, const Stats& stats, const char* role) {
  json answer = index.read([](const iqdb::FlatIndex& held) {
    return json{{"dim", held.dim()}, {"metric", to_string(held.metric())}};
  });
  answer["role"] = role;
  for (const Measurement& measurement : measurements(index, stats)) {
    answer[measurement.name] = measurement.value;
  }
  return answer;
}

template <class Storage>
json stats_as_json(const iqdb::Follower<iqdb::FlatIndex, Storage>& follower) {
  const iqdb::FollowerStats stats = follower.stats();
  json answer = measured_as_json(follower, stats, "follower");
  answer["why_failing"] = stats.why_failing;
  return answer;
}

template <class Storage>
json stats_as_json(const iqdb::SharedIndex<iqdb::FlatIndex, Storage>& db) {
  const iqdb::Stats stats = db.stats();
  json answer = measured_as_json(db, stats, "writer");
  answer["why_poisoned"] = stats.why_poisoned;
  answer["syncs"] = {{"count", stats.syncs.count()},
                     {"seconds", seconds(stats.syncs.total())},
                     {"longest_seconds", seconds(stats.syncs.longest())}};
  return answer;
}

inline void print_for_prometheus(std::ostream& out, const std::vector<Measurement>& all) {
  out.precision(15);  // all digits of a number of nanoseconds
  for (const auto& [name, grows, value, help] : all) {
    const std::string full_name = "iqdb_" + name + (grows ? "_total" : "");
    out << "# HELP " << full_name << ' ' << help << "\n# TYPE " << full_name << (grows ? " counter\n" : " gauge\n")
        << full_name << ' ' << value << '\n';
  }
}

template <class Storage>
std::string stats_for_prometheus(const iqdb::Follower<iqdb::FlatIndex, Storage>& follower) {
  std::ostringstream out;
  print_for_prometheus(out, measurements(follower, follower.stats()));
  return out.str();
}

template <class Storage>
std::string stats_for_prometheus(const iqdb::SharedIndex<iqdb::FlatIndex, Storage>& db) {
  const iqdb::Stats stats = db.stats();
  std::ostringstream out;
  print_for_prometheus(out, measurements(db, stats));
  out << "# HELP iqdb_sync_seconds How long syncs of the log took.\n# TYPE iqdb_sync_seconds histogram\n";
  using Counts = iqdb::DurationCounts;
  std::uint64_t shorter = 0;
  for (std::size_t bucket = 0; bucket + 1 < Counts::bucket_count; ++bucket) {
    shorter += stats.syncs.buckets().at(bucket);
    const std::chrono::nanoseconds end = Counts::least(bucket + 1);
    if (end > std::chrono::microseconds(10) && end < std::chrono::seconds(20)) {  // no disk is faster or slower
      out << "iqdb_sync_seconds_bucket{le=\"" << seconds(end) << "\"} " << shorter << '\n';
    }
  }
  out << "iqdb_sync_seconds_bucket{le=\"+Inf\"} " << stats.syncs.count() << "\niqdb_sync_seconds_sum "
      << seconds(stats.syncs.total()) << "\niqdb_sync_seconds_count " << stats.syncs.count() << '\n';
  return out.str();
}

// What the start found, in words.
template <class Database>
std::string what_was_found(const Database& db) {
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
