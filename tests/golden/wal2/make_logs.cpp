// Writes the logs of format version 2 beside this file, and what the release that wrote version 2 makes of them. It is
// compiled against the headers of that release, 0.1.0, not of this one:
//
//   g++ -std=c++20 -I <headers of 0.1.0> -DIQDB_PERSIST_HAS_ZSTD=1 -DIQDB_PERSIST_HAS_LZ4=1 make_logs.cpp -lz -lzstd -llz4
//   ./a.out <directory>
//
// The log ids are not random, so each run writes the same bytes.
#include <bit>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iomanip>
#include <iostream>
#include <iterator>
#include <limits>
#include <optional>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"

static_assert(iqdb::log_version == 2);

namespace {

namespace fs = std::filesystem;
using namespace std::string_literals;
using iqdb::FlatIndex;
using iqdb::Metadata;
using iqdb::PersistConfig;
using iqdb::VectorId;

struct Repeatable : iqdb::FileStorage {
  // Direct writes are of whole blocks, with zeros behind the last frame, where the file system can do them.
  explicit Repeatable(bool direct_io = false) : iqdb::FileStorage({}, {.direct_io = direct_io}) {}
  static std::uint64_t new_log_id() {
    static std::uint64_t next = 0x1122334455660000;
    return ++next;
  }
};
using Db = iqdb::PersistedIndex<FlatIndex, Repeatable>;

constexpr std::size_t dim = 3;
fs::path output;

// ---- Files ----------------------------------------------------------------------------------------------------------

std::string bytes_of_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_file(const fs::path& path, std::string_view bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.exceptions(std::ios::failbit);
  file.close();
}

fs::path log_of(const fs::path& path) { return path.string() + ".wal"; }

// ---- The dump of what a load gives: tests/golden/README.md ------------------------------------------------------------

std::string hex(std::string_view bytes) {
  std::ostringstream text;
  for (const char byte : bytes) {
    text << std::hex << std::setw(2) << std::setfill('0') << static_cast<unsigned>(static_cast<unsigned char>(byte));
  }
  return text.str();
}

// Keys and texts of the cases need no escapes.
std::string dump(const iqdb::Value& value) {
  struct Visitor {
    std::string operator()(const std::string& text) const { return R"({"string": ")" + text + "\"}"; }
    std::string operator()(std::int64_t integer) const { return R"({"int": )" + std::to_string(integer) + "}"; }
    std::string operator()(double number) const {
      std::ostringstream text;
      text << std::hex << std::setw(16) << std::setfill('0') << std::bit_cast<std::uint64_t>(number);
      return R"({"float": ")" + text.str() + "\"}";
    }
    std::string operator()(bool truth) const { return truth ? R"({"bool": true})" : R"({"bool": false})"; }
    std::string operator()(iqdb::Null) const { return R"({"null": null})"; }
  };
  return std::visit(Visitor{}, value);
}

std::string dump(const std::optional<Metadata>& metadata) {
  if (!metadata) {
    return "null";
  }
  std::string text = "{";
  for (const auto& [key, value] : *metadata) {
    text += (text.size() > 1 ? ", \"" : "\"") + key + "\": " + dump(value);
  }
  return text + "}";
}

std::string dump(const Db& db) {
  const FlatIndex& index = db.index();
  std::string rows;
  index.for_each([&](const VectorId& id, std::span<const float> vector, const std::optional<Metadata>& metadata) {
    std::string components;
    for (const float component : vector) {
      components += (components.empty() ? "" : ", ") + std::to_string(std::bit_cast<std::uint32_t>(component));
    }
    rows += (rows.empty() ? "" : ",") +
            ("\n  {\"id\": " + (id.is_integer() ? "{\"u64\": " + std::to_string(id.integer())
                                                : "{\"bytes\": \"" + hex(id.bytes()) + "\"")) +
            "}, \"vec\": [" + components + "], \"meta\": " + dump(metadata) + "}";
  });
  return R"({"index_type": "flat", "dim": 3, "metric": "euclidean", "n": )" + std::to_string(index.size()) +
         ", \"lsn\": " + std::to_string(db.lsn()) +
         ", \"dropped_bytes\": " + std::to_string(db.recovery().dropped_bytes) +
         ", \"tolerated\": " + std::to_string(db.recovery().tolerated) + ", \"rows\": [" + rows + "\n]}\n";
}

// Keeps snapshot and log as a case, and what a load of copies of them gives.
void keep(const std::string& name, std::string_view snapshot, std::string_view log) {
  const fs::path path = output / (name + ".iqdb");
  write_file(path, snapshot);
  write_file(log_of(path), log);
  const fs::path copy = output / "copy" / "case.iqdb";
  fs::create_directory(copy.parent_path());
  write_file(copy, snapshot);
  write_file(log_of(copy), log);
  write_file(path.string() + ".json", dump(Db::load({.path = copy, .wal_enabled = true}, Repeatable())));
  fs::remove_all(copy.parent_path());
}

// ---- Lives ----------------------------------------------------------------------------------------------------------

std::vector<float> vector(int number) {
  return {static_cast<float>(number), 0.1F * static_cast<float>(number), -1.0F / static_cast<float>(number + 1)};
}

template <class M>
void insert(M& db, VectorId id, int number, std::optional<Metadata> metadata = {}) {
  const std::vector<float> components = vector(number);
  db.insert(std::move(id), std::span<const float>(components), std::move(metadata));
}

template <class Action>
void rejected(Action&& action) {
  try {
    std::forward<Action>(action)();
  } catch (const iqdb::IndexError&) {
    return;
  }
  throw std::logic_error("the index has taken it");
}

// An index in a directory of its own, whose files can be looked at while it is open.
struct Life {
  explicit Life(PersistConfig config = {}, bool direct_io = false) : path(output / "life" / "index.iqdb") {
    fs::remove_all(path.parent_path());
    fs::create_directory(path.parent_path());
    config.path = path;
    config.wal_enabled = true;
    db.emplace(Db::open_with(FlatIndex(dim, iqdb::DistanceMetric::euclidean), config, Repeatable(direct_io)));
  }
  Life(const Life&) = delete;
  Life& operator=(const Life&) = delete;
  ~Life() {
    db.reset();
    fs::remove_all(path.parent_path());
  }

  [[nodiscard]] std::string snapshot() const { return bytes_of_file(path); }
  [[nodiscard]] std::string log() const { return bytes_of_file(log_of(path)); }
  void keep_as(const std::string& name) const { keep(name, snapshot(), log()); }

  fs::path path;
  std::optional<Db> db;
};

PersistConfig without_space() {
  PersistConfig config;
  config.log_extent_bytes = 0;
  return config;
}

void empty_logs() {
  Life life(without_space());
  life.keep_as("empty");
  life.db->close();
  life.keep_as("empty_closed");
}

void inserts() {
  Life life(without_space());
  const std::vector<VectorId> ids = {0,
                                     1,
                                     std::numeric_limits<std::uint64_t>::max(),
                                     VectorId::from_bytes("a"),
                                     VectorId::from_bytes("\0\xFF\0"s),
                                     VectorId::from_bytes(std::string(300, 'x'))};
  for (const VectorId& id : ids) {
    insert(*life.db, id, static_cast<int>(life.db->index().size()));
  }
  life.keep_as("inserts");
  life.db->close();
  life.keep_as("inserts_closed");
}

void metadata() {
  Life life(without_space());
  insert(*life.db, 1, 1, Metadata{});
  insert(*life.db, 2, 2,
         Metadata{{"text", "some text"s},
                  {"integer", std::numeric_limits<std::int64_t>::min()},
                  {"double", -0.0},
                  {"truth", true},
                  {"untruth", false},
                  {"nothing", iqdb::Null{}},
                  {"", "the empty key"s}});
  insert(*life.db, VectorId::from_bytes("bytes"), 3, Metadata{{"double", std::numeric_limits<double>::infinity()}});
  life.keep_as("metadata");
}

void erases() {
  Life life(without_space());
  for (int number = 1; number <= 5; ++number) {
    insert(*life.db, static_cast<std::uint64_t>(number), number);
  }
  insert(*life.db, VectorId::from_bytes("bytes"), 6);
  life.db->erase(2);
  life.db->erase(VectorId::from_bytes("bytes"));
  insert(*life.db, 2, 7);
  life.db->erase(5);
  life.keep_as("erases");
}

void batches() {
  Life life(without_space());
  iqdb::WriteBatch batch;
  insert(batch, 1, 1);
  insert(batch, VectorId::from_bytes("two"), 2, Metadata{{"page", std::int64_t{2}}});
  batch.erase(1);
  insert(batch, 3, 3);
  life.db->apply(batch);
  life.keep_as("batch");
  iqdb::WriteBatch other;
  other.erase(3);
  insert(other, 1, 4);
  life.db->apply(other);
  life.db->close();
  life.keep_as("batches_closed");
}

void rejections() {
  Life life(without_space());
  insert(*life.db, 1, 1);
  const std::size_t before = life.log().size();
  rejected([&] { insert(*life.db, 1, 2); });
  life.keep_as("rejected_last");
  // The process was killed between the rejection and its abort, whose frame has 24 + 9 bytes.
  const std::string log = life.log();
  keep("rejected_without_abort", life.snapshot(), log.substr(0, log.size() - 33));
  keep("before_rejected", life.snapshot(), log.substr(0, before));
  insert(*life.db, 2, 2);
  rejected([&] { life.db->erase(7); });
  rejected([&] { life.db->insert(8, std::vector<float>{1.0F}); });
  insert(*life.db, 3, 3);
  life.keep_as("rejected");
}

void rejections_in_batches() {
  Life life(without_space());
  insert(*life.db, 1, 1);
  iqdb::WriteBatch batch;
  insert(batch, 2, 2);
  insert(batch, 1, 3);
  insert(batch, 4, 4);
  rejected([&] { life.db->apply(batch); });
  const std::string log = life.log();
  keep("rejected_in_batch_without_abort", life.snapshot(), log.substr(0, log.size() - 33));
  insert(*life.db, 5, 5);
  life.keep_as("rejected_in_batch");
}

void saves() {
  Life life(without_space());
  insert(*life.db, 1, 1);
  insert(*life.db, 2, 2);
  const std::string old_snapshot = life.snapshot();
  life.db->save();
  life.keep_as("saved");
  // A crash between the checkpoint frame and the rename of the snapshot.
  keep("saved_old_snapshot", old_snapshot, life.log());
  life.db->erase(1);
  insert(*life.db, 3, 3, Metadata{{"behind", true}});
  life.keep_as("saved_goes_on");
  life.db->save();
  life.db->erase(3);
  life.keep_as("saved_twice");
  life.db->close();
  life.keep_as("saved_twice_closed");
}

void checkpoints() {
  Life life(without_space());
  insert(*life.db, 1, 1);
  rejected([&] { insert(*life.db, 1, 1); });
  insert(*life.db, 2, 2);
  life.db->checkpoint();
  life.keep_as("checkpoint");
  life.db->erase(1);
  insert(*life.db, VectorId::from_bytes("three"), 3);
  life.keep_as("checkpoint_goes_on");
  life.db->save();
  const std::string log_of_save = life.log();
  life.db->checkpoint();
  // A crash between the renames of the snapshot and of the log.
  keep("checkpoint_old_log", life.snapshot(), log_of_save);
}

void torn() {
  Life life(without_space());
  insert(*life.db, 1, 1);
  const std::size_t first = life.log().size();
  insert(*life.db, 2, 2);
  const std::string log = life.log();
  keep("torn_in_frame_header", life.snapshot(), log.substr(0, first + 10));
  keep("torn_in_body", life.snapshot(), log.substr(0, log.size() - 1));
  std::string zeroed = log;
  zeroed.replace(first + 30, 8, 8, '\0');
  keep("torn_with_zeros_within", life.snapshot(), zeroed);
  keep("torn_in_first_frame", life.snapshot(), log.substr(0, 70));
  iqdb::WriteBatch batch;
  insert(batch, 3, 3);
  insert(batch, 4, 4);
  life.db->apply(batch);
  keep("torn_in_batch", life.snapshot(), life.log().substr(0, life.log().size() - 20));
}

void space_ahead() {
  PersistConfig config;
  config.log_extent_bytes = 1024;
  Life life(config);
  insert(*life.db, 1, 1);
  insert(*life.db, 2, 2);
  life.keep_as("space_ahead");
  std::string torn_log = life.log();
  const std::size_t end = torn_log.find_last_not_of('\0');
  torn_log.replace(end - 2, 3, 3, '\0');
  keep("space_ahead_torn", life.snapshot(), torn_log);
  life.db->close();
  life.keep_as("space_ahead_closed");
}

void direct() {
  Life life(without_space(), true);
  insert(*life.db, 1, 1);
  insert(*life.db, 2, 2);
  life.keep_as("direct_io");
}

void never_synced() {
  PersistConfig config;
  config.fsync_policy = iqdb::FsyncPolicy::never();
  Life life(config);
  insert(*life.db, 1, 1);
  insert(*life.db, 2, 2);
  life.db->sync();
  insert(*life.db, 3, 3);
  life.keep_as("never");
}

void loaded() {
  Life life(without_space());
  insert(*life.db, 1, 1);
  rejected([&] { insert(*life.db, 1, 2); });
  insert(*life.db, 2, 2);
  life.db.reset();
  life.db.emplace(Db::load({.path = life.path, .wal_enabled = true, .log_extent_bytes = 0}, Repeatable()));
  life.keep_as("loaded");
  insert(*life.db, 3, 3);
  life.keep_as("loaded_goes_on");
}

void compressed() {
  for (const auto& [name, compression] :
       {std::pair("zstd", iqdb::Compression::zstd()), std::pair("lz4", iqdb::Compression::lz4())}) {
    PersistConfig config = without_space();
    config.compression = compression;
    Life life(config);
    insert(*life.db, 1, 1);
    life.db->checkpoint();
    insert(*life.db, 2, 2);
    life.keep_as(name);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: " << argv[0] << " DIRECTORY\n";
    return 1;
  }
  output = argv[1];
  for (const auto& make : {empty_logs, inserts, metadata, erases, batches, rejections, rejections_in_batches, saves,
                           checkpoints, torn, space_ahead, direct, never_synced, loaded, compressed}) {
    make();
  }
  fs::remove_all(output / "life");
  return 0;
}
