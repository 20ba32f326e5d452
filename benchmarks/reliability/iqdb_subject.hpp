// This library: a snapshot of any of its indexes.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "iqdb/persist.hpp"
#include "subject.hpp"

namespace iqdb_reliability {

/// The version of this library.
[[nodiscard]] inline std::string iqdb_version() {
  return std::to_string(IQDB_PERSIST_VERSION_MAJOR) + "." + std::to_string(IQDB_PERSIST_VERSION_MINOR) + "." +
         std::to_string(IQDB_PERSIST_VERSION_PATCH);
}

/// How many neighbours a query asks for.
inline constexpr std::size_t neighbours = 5;

/// An index of type `I` with these rows.
template <class I>
[[nodiscard]] I index_of(const Rows& rows) {
  I index(dimension, iqdb::DistanceMetric::euclidean);
  for (const auto& [key, vector] : rows) {
    index.insert(key, std::span<const float>(vector));
  }
  return index;
}

/// All that an index of this library gives.
template <class I>
[[nodiscard]] State state_of(const I& index) {
  State state;
  if (index.dim() != dimension) {
    state.rows[no_key];
    return state;
  }
  index.for_each([&](const iqdb::VectorId& id, std::span<const float> vector, const auto& metadata) {
    add_row(state, id.is_integer() && !metadata ? id.integer() : no_key, {vector.begin(), vector.end()});
  });
  for (const auto& [key, vector] : state.rows) {
    for (const iqdb::Hit& hit : index.search(std::span<const float>(vector), {.k = neighbours, .ef = {}})) {
      state.answers += std::to_string(hit.id.is_integer() ? hit.id.integer() : no_key) + " ";
    }
  }
  return state;
}

/// A snapshot.
template <class I>
class IqdbSnapshot : public Subject {
 public:
  explicit IqdbSnapshot(std::string what) : what_(std::move(what)) {}

  [[nodiscard]] Description description() const override {
    return {.library = "iqdb-persist", .version = iqdb_version(), .what = what_, .settings = ""};
  }
  [[nodiscard]] bool is_damaged(const std::string& name) const override { return name == file; }
  void gather(const Rows& rows) override { gathered_.emplace(index_of<I>(rows)); }
  void make(const std::filesystem::path& directory) override {
    open(directory);
    replace();
  }
  void open(const std::filesystem::path& directory) override {
    database_.emplace(Database::open_with(std::move(gathered_.value()), config(directory)));
  }
  void replace() override { database_->save(); }
  [[nodiscard]] State load(const std::filesystem::path& directory, std::uint64_t /*stored*/) override {
    return state_of(Database::load(config(directory)).index());
  }

 private:
  using Database = iqdb::PersistedIndex<I>;
  static constexpr const char* file = "index.iqdb";

  static iqdb::PersistConfig config(const std::filesystem::path& directory) {
    iqdb::PersistConfig config;
    config.path = directory / file;
    config.replace_existing = true;
    return config;
  }

  std::string what_;
  std::optional<I> gathered_;
  std::optional<Database> database_;
};

}  // namespace iqdb_reliability
