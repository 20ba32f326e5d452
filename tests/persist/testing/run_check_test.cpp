// check_runs: what it finds in an index whose insert_many has one slip, and that it finds nothing in one without.
#include "iqdb/persist/testing/run_check.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "iqdb/index/flat.hpp"
#include "iqdb/insert_many.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/testing/conformance.hpp"
#include "iqdb/types.hpp"
#include "support/catch.hpp"

namespace of_run_check {

using Catch::Matchers::Contains;
using iqdb::FlatIndex;
using iqdb::Metadata;
using iqdb::VectorId;

// What a RunIndex does wrong.
enum class Slip : std::uint8_t { none, keeps_rows_before, takes_known, forgets_metadata, forgets_last };

// A FlatIndex with an insert_many of its own, which has a slip.
class RunIndex {
 public:
  static constexpr std::string_view index_type = "runs";

  explicit RunIndex(Slip slip) : slip_(slip) {}

  void insert(VectorId id, std::span<const float> vector, std::optional<Metadata> metadata = {}) {
    flat_.insert(std::move(id), vector, std::move(metadata));
  }
  void erase(const VectorId& id) { flat_.erase(id); }

  void insert_many(const iqdb::InsertedRows& rows, iqdb::LentThreads& /*threads*/) {
    FlatIndex changed = flat_;
    FlatIndex& index = slip_ == Slip::keeps_rows_before ? flat_ : changed;
    for (std::size_t row = 0; row < rows.ids.size() - (slip_ == Slip::forgets_last ? 1U : 0U); ++row) {
      if (slip_ == Slip::takes_known && index.contains(rows.ids[row])) {
        continue;
      }
      index.insert(rows.ids[row], rows.vectors.subspan(row * dim(), dim()),
                   slip_ == Slip::forgets_metadata ? std::nullopt : std::optional<Metadata>(rows.metadata[row]));
    }
    if (slip_ != Slip::keeps_rows_before) {
      flat_ = std::move(changed);
    }
  }

  [[nodiscard]] auto search(std::span<const float> query, const iqdb::SearchParams& params) const {
    return flat_.search(query, params);
  }
  [[nodiscard]] std::size_t size() const { return flat_.size(); }
  [[nodiscard]] std::size_t dim() const { return flat_.dim(); }
  [[nodiscard]] iqdb::DistanceMetric metric() const { return flat_.metric(); }
  void save_to(iqdb::Writer& writer) const { flat_.save_to(writer); }
  [[nodiscard]] static RunIndex load_from(iqdb::Reader& reader) {
    RunIndex index(Slip::none);
    index.flat_ = FlatIndex::load_from(reader);
    return index;
  }

 private:
  Slip slip_;
  FlatIndex flat_{2, iqdb::DistanceMetric::euclidean};
};

// What check_runs says of an index with a slip: nothing if it finds none.
[[nodiscard]] std::string said_of(Slip slip) {
  try {
    static_cast<void>(
        iqdb::testing::check_runs(iqdb::testing::Subject<RunIndex>{.make = [=] { return RunIndex(slip); }}));
    return {};
  } catch (const iqdb::testing::Violation& violation) {
    return violation.what();
  }
}

TEST_CASE("check_runs: finds nothing in an index whose insert_many is right", "[run_check]") {
  CHECK(said_of(Slip::none).empty());
  const auto report =
      iqdb::testing::check_runs(iqdb::testing::Subject<RunIndex>{.make = [] { return RunIndex(Slip::none); }});
  CHECK(report.mutations > 100);
  CHECK(report.rejections > 10);
  CHECK(report.rejections < report.mutations / 2);
}

TEST_CASE("check_runs: finds an insert_many that keeps the rows in front of the one that it refuses", "[run_check]") {
  CHECK_THAT(said_of(Slip::keeps_rows_before),
             Contains("throws has changed the index") && Contains("loop over insert"));
}

TEST_CASE("check_runs: finds an insert_many that takes what insert refuses", "[run_check]") {
  CHECK_THAT(said_of(Slip::takes_known), Contains("insert_many takes a run whose row"));
}

TEST_CASE("check_runs: finds an insert_many that inserts something else than insert", "[run_check]") {
  CHECK_THAT(said_of(Slip::forgets_metadata), Contains("is not what the same insertions one by one make"));
  CHECK_THAT(said_of(Slip::forgets_last), Contains("size() is"));
}

TEST_CASE("check_persistable: gives the index runs of rows", "[run_check]") {
  CHECK_THROWS_WITH(iqdb::testing::check_persistable([] { return RunIndex(Slip::keeps_rows_before); }),
                    Contains("insert_many that throws"));
}

}  // namespace of_run_check
