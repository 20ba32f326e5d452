// This library: snapshots of its exact index, and its log.
#include "iqdb_subject.hpp"

#include "iqdb/index/flat.hpp"

namespace iqdb_reliability {

namespace {

enum class End : std::uint8_t { closed, killed };

class IqdbLog : public Subject {
 public:
  explicit IqdbLog(End end) : end_(end) {}

  [[nodiscard]] Description description() const override {
    return {.library = "iqdb-persist",
            .version = iqdb_version(),
            .what = end_ == End::closed ? "log, closed" : "log, left by a kill",
            .settings = "no more than 4 KiB of zeros ahead of the log's end"};
  }
  [[nodiscard]] bool is_damaged(const std::string& name) const override { return name.ends_with(".wal"); }
  void gather(const Rows& rows) override { rows_ = rows; }
  void make(const std::filesystem::path& directory) override {
    database_.emplace(Database::open_with(index_of<iqdb::FlatIndex>({}), config(directory)));
    for (const auto& [key, vector] : rows_) {
      database_->insert(key, std::span<const float>(vector));
    }
    if (end_ == End::closed) {
      database_->close();
    }
  }
  void open(const std::filesystem::path& directory) override { database_.emplace(Database::load(config(directory))); }
  void replace() override {
    iqdb::WriteBatch batch;
    database_->index().for_each([&](const iqdb::VectorId& id, auto, const auto&) { batch.erase(id); });
    for (const auto& [key, vector] : rows_) {
      batch.insert(key, std::span<const float>(vector));
    }
    database_->apply(batch);
  }
  [[nodiscard]] State load(const std::filesystem::path& directory, std::uint64_t /*stored*/) override {
    const auto loaded = Database::load(config(directory));
    State state = state_of(loaded.index());
    state.told = loaded.recovery().dropped_bytes > 0 || !loaded.recovery().torn_log.empty();
    return state;
  }

 private:
  using Database = iqdb::PersistedIndex<iqdb::FlatIndex>;

  static iqdb::PersistConfig config(const std::filesystem::path& directory) {
    iqdb::PersistConfig config;
    config.path = directory / "index.iqdb";
    config.wal_enabled = true;
    config.log_extent_bytes = 4096;  // of the megabyte that it would be every bit is damaged too
    return config;
  }

  End end_;
  Rows rows_;
  std::optional<Database> database_;
};

}  // namespace

void add_iqdb(Subjects& subjects) {
  subjects.push_back(std::make_unique<IqdbSnapshot<iqdb::FlatIndex>>("snapshot, FlatIndex"));
  subjects.push_back(std::make_unique<IqdbLog>(End::closed));
  subjects.push_back(std::make_unique<IqdbLog>(End::killed));
}

}  // namespace iqdb_reliability
