// What users do, in all the ways they do it, under the warnings of a strict project.
//
// The headers are included as the user's own, not as system headers: what they warn of would be reported here. The
// program also runs, but what it checks is only that each call does something sensible.
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <iomanip>  // brings std::quoted, std::hex and others into every overload set
#include <iostream>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"

// ---- An index of one's own, durable through its members -------------------------------------------------------------

namespace mine {

class Counter {
 public:
  static constexpr std::string_view index_type = "strict-user-counter";

  explicit Counter(std::size_t dim) : dim_(dim) {}

  void insert(const iqdb::VectorId& id, std::span<const float> vector,
              const std::optional<iqdb::Metadata>& /*metadata*/) {
    if (vector.size() != dim_) {
      throw iqdb::IndexError(iqdb::IndexErrorKind::dimension_mismatch, "another number of components");
    }
    if (!rows_.emplace(id, std::vector<float>(vector.begin(), vector.end())).second) {
      throw iqdb::IndexError(iqdb::IndexErrorKind::duplicate, "there already");
    }
  }
  void erase(const iqdb::VectorId& id) {
    if (rows_.erase(id) == 0) {
      throw iqdb::IndexError(iqdb::IndexErrorKind::not_found, "not there");
    }
  }
  [[nodiscard]] std::size_t size() const { return rows_.size(); }
  [[nodiscard]] std::size_t dim() const { return dim_; }
  [[nodiscard]] static iqdb::DistanceMetric metric() { return iqdb::DistanceMetric::euclidean; }

  void save_to(iqdb::Writer& writer) const {
    writer.write_le(std::uint64_t{dim_});
    writer.write_le(std::uint64_t{rows_.size()});
    for (const auto& [id, vector] : rows_) {
      writer.write_le(id.integer());
      writer.write_array(std::span<const float>(vector));
    }
  }
  [[nodiscard]] static Counter load_from(iqdb::Reader& reader) {
    Counter counter(static_cast<std::size_t>(reader.read_le<std::uint64_t>()));
    const auto count = reader.read_le<std::uint64_t>();
    for (std::uint64_t row = 0; row < count; ++row) {
      const auto id = reader.read_le<std::uint64_t>();
      counter.rows_.emplace(id, reader.read_vector<float>(counter.dim_));
    }
    return counter;
  }

 private:
  std::size_t dim_;
  std::map<iqdb::VectorId, std::vector<float>> rows_;
};

static_assert(iqdb::Index<Counter>);
static_assert(!iqdb::SearchableIndex<Counter>);
static_assert(iqdb::explain_persistable<Counter>());

}  // namespace mine

// ---- Somebody else's, which cannot be edited, through PersistTraits -------------------------------------------------

namespace theirs {

struct Library {
  std::vector<float> values;
};

}  // namespace theirs

template <>
struct iqdb::PersistTraits<theirs::Library> {
  static constexpr std::string_view index_type = "strict-user-library";
  static void save_to(const theirs::Library& library, iqdb::Writer& writer) {
    writer.write_array(std::span<const float>(library.values));
  }
  static theirs::Library load_from(iqdb::Reader& reader) {
    return {reader.read_vector<float>(reader.remaining() / sizeof(float))};
  }
  static std::size_t size(const theirs::Library& library) { return library.values.size(); }
  static std::size_t dim(const theirs::Library& /*library*/) { return 1; }
  static iqdb::DistanceMetric metric(const theirs::Library& /*library*/) { return iqdb::DistanceMetric::hamming; }
};

static_assert(iqdb::Persistable<theirs::Library>);
static_assert(!iqdb::Persistable<int>);

// ---- Using them -----------------------------------------------------------------------------------------------------

namespace {

// How many expectations were not met.
int& failures() {
  static int count = 0;
  return count;
}

void expect(bool condition, const char* what) {
  if (!condition) {
    std::cerr << "not so: " << what << '\n';
    ++failures();
  }
}

void use_vocabulary() {
  const iqdb::VectorId from_int = 1;
  const iqdb::VectorId from_unsigned = 1U;
  const iqdb::VectorId from_long_long = 1LL;
  const iqdb::VectorId from_size = std::size_t{1};
  const iqdb::VectorId from_bytes = iqdb::VectorId::from_bytes("one");
  expect(from_int == from_unsigned && from_unsigned == from_long_long && from_long_long == from_size, "one is one");
  expect(from_int < from_bytes && from_bytes.bytes() == "one", "integers come before bytes");
  const std::unordered_set<iqdb::VectorId> set{from_int, from_size, from_bytes};
  expect(set.size() == 2, "hashed by value");
  std::cout << from_int << ' ' << from_bytes << '\n';

  iqdb::Metadata metadata{{"title", "a"}, {"page", 5}, {"score", 0.5}, {"draft", true}, {"note", iqdb::Null{}}};
  metadata["size"] = iqdb::make_value(std::size_t{7});
  metadata["view"] = iqdb::make_value(std::string_view("text"));
  expect(metadata.find(std::string_view("page")) != metadata.end(), "found without making a string");
}

void use_flat_index() {
  iqdb::FlatIndex index(2, iqdb::DistanceMetric::euclidean);
  const std::vector<float> vector{0.0F, 1.0F};
  index.insert(1, vector);
  index.insert(2, vector, iqdb::Metadata{{"page", 1}});
  index.insert(3, vector, {{"page", 1}, {"title", "three"}});
  index.insert(4, {1.0F, 0.0F});
  index.insert(5, {1.0F, 0.0F}, {{"page", 5}});
  index.insert(iqdb::VectorId::from_bytes("six"), std::span<const float>(vector), std::nullopt);
  index.erase(5);
  expect(index.size() == 5 && index.dim() == 2 && index.metric() == iqdb::DistanceMetric::euclidean, "five are left");

  const std::vector<iqdb::Hit> hits = index.search(vector, {.k = 3});
  expect(hits.size() == 3 && hits.front().distance == 0.0F, "the nearest is first");
  for (const auto& [id, distance, metadata] : index.search(std::vector<float>{1.0F, 1.0F}, iqdb::SearchParams{})) {
    std::cout << id << ' ' << distance << ' ' << metadata.has_value() << '\n';
  }
  std::size_t seen = 0;
  index.for_each([&seen](const iqdb::VectorId&, std::span<const float>, const auto&) { ++seen; });
  expect(seen == index.size(), "each is seen");

  try {
    index.insert(1, vector);
    expect(false, "a duplicate is rejected");
  } catch (const iqdb::IndexError& error) {
    expect(error.kind() == iqdb::IndexErrorKind::duplicate, "as a duplicate");
  }
}

void use_snapshots() {
  using Saved = iqdb::PersistedIndex<iqdb::FlatIndex>;

  iqdb::PersistConfig config;
  config.path = "strict_user.iqdb";
  std::uint64_t calls = 0;
  config.on_progress = [&calls](const iqdb::Progress& progress) { calls += progress.done <= progress.total ? 1U : 0U; };
  std::filesystem::remove(config.path);

  auto saved = Saved::load_or_create(config, [] { return iqdb::FlatIndex(2, iqdb::DistanceMetric::cosine); });
  saved.index_mut().insert(1, {0.0F, 1.0F});
  const iqdb::SnapshotInfo info = saved.save();
  expect(info.vectors == 1 && info.payload_bytes < info.file_bytes, "one vector, and a header");
  expect(std::as_const(saved).index().size() == 1 && saved.config().path == config.path, "what was given is kept");

  Saved moved = std::move(saved);
  moved.save();
  const Saved again = Saved::load(config);
  expect(again.index().size() == 1, "loaded again");
  expect(calls > 0, "progress was told");

  const iqdb::FileHeader header = iqdb::read_header(config.path);
  expect(header.index_type == "flat" && header.vectors == 1 && header.dim == 2, "the header says what is in the file");

  try {
    static_cast<void>(Saved::load({.path = "strict_user_missing.iqdb"}));
    expect(false, "there is no such file");
  } catch (const iqdb::PersistError& error) {
    expect(error.kind() == iqdb::PersistErrorKind::io && error.code() == std::errc::no_such_file_or_directory,
           "no such file, says the system");
    expect(error.path() == std::filesystem::absolute("strict_user_missing.iqdb") ||
               error.path() == "strict_user_missing.iqdb",
           "and the error names it");
    std::cout << std::quoted(error.what()) << ' ' << to_string(error.kind()) << '\n';
  }
}

void use_log() {
  using Logged = iqdb::PersistedIndex<iqdb::FlatIndex>;
  for (const iqdb::FsyncPolicy policy : {iqdb::FsyncPolicy::always(), iqdb::FsyncPolicy::never(),
                                         iqdb::FsyncPolicy::periodic(std::chrono::milliseconds(5))}) {
    const iqdb::PersistConfig config{.path = "strict_user_log.iqdb", .wal_enabled = true, .fsync_policy = policy};
    std::filesystem::remove("strict_user_log.iqdb");
    std::filesystem::remove("strict_user_log.iqdb.wal");

    auto db = Logged::open_with(iqdb::FlatIndex(2, iqdb::DistanceMetric::euclidean), config);
    const std::vector<float> vector{1.0F, 2.0F};
    db.insert(1, {.5F, .5F}, {{"n", 5}});
    db.insert(2, vector);
    db.insert(iqdb::VectorId::from_bytes("three"), vector, iqdb::Metadata{{"text", "three"}});
    db.erase(2);
    iqdb::WriteBatch batch;
    batch.insert(4, vector, {{"page", iqdb::make_value(std::size_t{7})}});
    batch.insert(5, {1.0F, 1.0F});
    batch.erase(1);
    db.apply(batch);
    expect(batch.size() == 3 && db.lsn() == 7, "seven mutations were taken");
    batch.clear();
    db.sync();
    const iqdb::SnapshotInfo saved = db.save();
    const iqdb::SnapshotInfo folded = db.checkpoint();
    expect(saved.lsn == 7 && folded.lsn == 7 && folded.vectors == 3, "a snapshot knows what it holds");
    db.insert(6, vector);
    try {
      db.insert(6, vector);
      expect(false, "a duplicate is rejected");
    } catch (const iqdb::IndexError& error) {
      expect(error.kind() == iqdb::IndexErrorKind::duplicate, "by the index, unchanged");
    }
    try {
      static_cast<void>(Logged::load(config));
      expect(false, "one has it open");
    } catch (const iqdb::PersistError& error) {
      expect(error.kind() == iqdb::PersistErrorKind::locked, "and keeps others out");
    }
    db.close();

    const Logged again = Logged::load(config);
    const iqdb::RecoveryReport& report = again.recovery();
    expect(again.index().size() == 4 && report.log_found && report.log_version == 3, "the log was replayed");
    expect(report.replayed == 1 && report.aborted == 0 && report.skipped == 0 && report.tolerated == 0, "as it was");
    expect(report.dropped_bytes == 0 && report.torn_log.empty(), "and was whole");
    expect(report.elapsed > std::chrono::nanoseconds::zero(), "in some time");
  }
}

void use_other_indexes() {
  const iqdb::PersistConfig config{
      .path = "strict_user_other.iqdb", .compression = iqdb::Compression::none(), .replace_existing = true};

  mine::Counter counter(1);
  counter.insert(7, std::vector<float>{0.5F}, {});
  iqdb::PersistedIndex<mine::Counter>::open_with(std::move(counter), config).save();
  expect(iqdb::PersistedIndex<mine::Counter>::load(config).index().size() == 1, "a type with the members");

  iqdb::PersistedIndex<theirs::Library>::open_with(theirs::Library{{1.0F, 2.0F}}, config).save();
  expect(iqdb::PersistedIndex<theirs::Library>::load(config).index().values.size() == 2, "a type with the traits");
}

}  // namespace

int main() {
  use_vocabulary();
  use_flat_index();
  use_snapshots();
  use_log();
  use_other_indexes();
  return failures() == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
