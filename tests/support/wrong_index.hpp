// An index in which a test can put a mistake: what examines indexes has to find it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/testing/life.hpp"
#include "iqdb/persist/testing/subject.hpp"
#include "iqdb/types.hpp"

namespace iqdb_test {

/// What a WrongIndex does wrong.
struct Mistakes {
  std::function<bool(const iqdb::VectorId&)> loses_insert = {};  ///< asked at each insert; may throw
  std::function<void(iqdb::FlatIndex&)> before_save = {};        ///< changes what is saved
  std::function<void(iqdb::FlatIndex&)> after_load = {};         ///< changes what was loaded
};

/// A flat index, but for its mistakes.
class WrongIndex {
 public:
  static constexpr std::string_view index_type = "wrong";
  static constexpr std::size_t dimension = 2;

  explicit WrongIndex(iqdb::FlatIndex rows) : rows_(std::move(rows)) {}

  [[nodiscard]] const iqdb::FlatIndex& rows() const noexcept { return rows_; }
  [[nodiscard]] std::size_t size() const noexcept { return rows_.size(); }
  [[nodiscard]] std::size_t dim() const noexcept { return rows_.dim(); }
  [[nodiscard]] iqdb::DistanceMetric metric() const noexcept { return rows_.metric(); }

  void insert(iqdb::VectorId id, std::span<const float> vector, std::optional<iqdb::Metadata> metadata) {
    if (!mistakes.loses_insert || !mistakes.loses_insert(id)) {
      rows_.insert(std::move(id), vector, std::move(metadata));
    }
  }
  void erase(const iqdb::VectorId& id) { rows_.erase(id); }

  void save_to(iqdb::Writer& writer) const {
    iqdb::FlatIndex saved = rows_;
    if (mistakes.before_save) {
      mistakes.before_save(saved);
    }
    saved.save_to(writer);
  }
  static WrongIndex load_from(iqdb::Reader& reader) {
    WrongIndex loaded(iqdb::FlatIndex::load_from(reader));
    if (mistakes.after_load) {
      mistakes.after_load(loaded.rows_);
    }
    return loaded;
  }

  inline static Mistakes mistakes;

 private:
  iqdb::FlatIndex rows_;
};

/// Puts mistakes into every WrongIndex until it goes.
class MistakesIn {
 public:
  explicit MistakesIn(Mistakes mistakes) { WrongIndex::mistakes = std::move(mistakes); }
  MistakesIn(const MistakesIn&) = delete;
  MistakesIn& operator=(const MistakesIn&) = delete;
  ~MistakesIn() { WrongIndex::mistakes = {}; }
};

/// Indexes that begin empty. What one holds is what it holds in truth, and not what it saves.
[[nodiscard]] inline iqdb::testing::Subject<WrongIndex> wrong_subject() {
  return {.make =
              [] {
                return WrongIndex({WrongIndex::dimension, iqdb::DistanceMetric::euclidean});
              },
          .contents = [](const WrongIndex& index) { return iqdb::testing::payload_of(index.rows()); }};
}

/// The step that inserts the vector of this number.
[[nodiscard]] inline iqdb::testing::Step insert(std::uint64_t number) {
  return {.kind = iqdb::testing::Step::Kind::mutate,
          .mutations = {iqdb::testing::insert_of(wrong_subject(), WrongIndex::dimension, number)}};
}

/// A step that is told by its kind alone.
[[nodiscard]] inline iqdb::testing::Step just(iqdb::testing::Step::Kind kind) { return {.kind = kind}; }

}  // namespace iqdb_test
