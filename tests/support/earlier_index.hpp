// EarlierIndex: an index as an earlier version of it was, without the bounds that came later. What it logs, the index of
// today must take.
#pragma once

#include <cstddef>
#include <filesystem>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "iqdb/index_error.hpp"
#include "iqdb/persist.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"
#include "support/temporary_directory.hpp"

namespace iqdb_test {

/// An I with the same payload, whose insert refuses less.
template <class I>
class EarlierIndex {
 public:
  static constexpr std::string_view index_type = I::index_type;
  explicit EarlierIndex(I index) : index_(std::move(index)) {}
  void insert(const iqdb::VectorId& id, std::span<const float> vector, std::optional<iqdb::Metadata> metadata) {
    index_.insert_logged(id, vector, std::move(metadata));
  }
  void upsert(const iqdb::VectorId& id, std::span<const float> vector, std::optional<iqdb::Metadata> metadata) {
    index_.upsert_logged(id, vector, std::move(metadata));
  }
  void erase(const iqdb::VectorId& id) { index_.erase(id); }
  [[nodiscard]] std::size_t size() const { return index_.size(); }
  [[nodiscard]] std::size_t dim() const { return index_.dim(); }
  [[nodiscard]] iqdb::DistanceMetric metric() const { return index_.metric(); }
  void save_to(iqdb::Writer& writer) const { index_.save_to(writer); }
  static EarlierIndex load_from(iqdb::Reader& reader) { return EarlierIndex(I::load_from(reader)); }

 private:
  I index_;
};

/// Logs vectors that an index refuses to insert, and requires that a load of that log has them. `make()` makes the index,
/// without vectors and of dimension 2. `lengths` says whether it refuses vectors for their length; `upserts`, whether its
/// vectors can be replaced.
template <class Make>
void require_earlier_logs_replayed(Make make, bool lengths, bool upserts = true) {
  using I = decltype(make());
  const std::vector<float> usual = {1.0F, 0.5F};
  const std::vector<float> tiny = {1e-30F, 0.0F};
  const std::vector<float> huge = {1e30F, 1e30F};
  const iqdb::VectorId long_id =
      iqdb::VectorId::from_bytes(std::string(static_cast<std::size_t>(iqdb::most_id_bytes) + 1, 'x'));
  const TemporaryDirectory directory(memory_directory());
  const iqdb::PersistConfig config{.path = directory / "index.iqdb", .wal_enabled = true};
  std::size_t size = 0;
  {
    auto earlier = iqdb::PersistedIndex<EarlierIndex<I>>::open_with(EarlierIndex<I>(make()), config);
    earlier.insert(1, usual);
    if (lengths) {
      earlier.insert(2, tiny);
      earlier.insert(3, huge, {{"huge", true}});
    }
    earlier.insert(long_id, usual);
    if (upserts) {
      earlier.upsert(1, lengths ? tiny : usual);
    }
    earlier.insert(4, lengths ? huge : usual);  // the last one would be passed over, if it was refused
    size = earlier.index().size();
  }
  auto index = iqdb::PersistedIndex<I>::load(config);
  CHECK(index.recovery().tolerated == 0);
  CHECK(index.index().size() == size);
  CHECK(index.index().contains(4));
  CHECK(index.index().contains(long_id));
  // What is new is held to the bounds.
  if (lengths) {
    CHECK(index.index().contains(2));
    require_kind(iqdb::IndexErrorKind::invalid_vector, [&] { index.insert(5, huge); });
    require_kind(iqdb::IndexErrorKind::invalid_vector, [&] { index.insert(5, tiny); });
  }
  const iqdb::VectorId other_long_id = iqdb::VectorId::from_bytes(std::string(long_id.bytes()) + "y");
  require_kind(iqdb::IndexErrorKind::resource_limit, [&] { index.insert(other_long_id, usual); });
  // What the index never took is still refused.
  require_kind(iqdb::IndexErrorKind::dimension_mismatch, [&] {
    I other = make();
    other.insert_logged(9, std::vector<float>{1.0F}, {});
  });
  index.insert(6, usual);
  index.checkpoint();
  index.close();
  CHECK(iqdb::PersistedIndex<I>::load(config).index().size() == size + 1);
}

}  // namespace iqdb_test
