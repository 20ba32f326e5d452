// check_persistable on indexes that are right: the library's own, and a user's in a few lines.
#include "iqdb/persist/testing/conformance.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist/bytes/row_format.hpp"
#include "support/catch.hpp"
#include "support/faulty_index.hpp"
#include "support/sanitized.hpp"

namespace of_conformance {

namespace {

using Catch::Matchers::Contains;
using iqdb::testing::check_persistable;
using iqdb::testing::Subject;
using iqdb_test::Fault;
using iqdb_test::FaultyIndex;

// How many lives are stopped at every call: a sanitizer makes each of them take long.
constexpr std::size_t lives = iqdb_test::sanitized ? 1 : 4;

// A user's index: it moves but does not copy, keeps no metadata and cannot be searched.
class Pile {
 public:
  static constexpr std::string_view index_type = "pile";
  [[nodiscard]] std::size_t size() const { return rows_->size(); }
  [[nodiscard]] static std::size_t dim() { return 3; }
  [[nodiscard]] static iqdb::DistanceMetric metric() { return iqdb::DistanceMetric::dot_product; }
  void insert(const iqdb::VectorId& id, std::span<const float> vector, const std::optional<iqdb::Metadata>& metadata) {
    if (!id.is_integer() || metadata || vector.size() != dim()) {
      throw iqdb::IndexError(iqdb::IndexErrorKind::invalid_vector, "numbered vectors of 3 components alone");
    }
    (*rows_)[id.integer()].assign(vector.begin(), vector.end());  // takes the place of one that is there
  }
  void erase(const iqdb::VectorId& id) {
    if (!id.is_integer() || rows_->erase(id.integer()) == 0) {
      throw iqdb::IndexError(iqdb::IndexErrorKind::not_found, "it is not there");
    }
  }
  void save_to(iqdb::Writer& writer) const {
    writer.write_le(std::uint64_t{rows_->size()});
    for (const auto& [id, vector] : *rows_) {
      writer.write_le(id);
      writer.write_array(vector);
    }
  }
  [[nodiscard]] static Pile load_from(iqdb::Reader& reader) {
    Pile pile;
    for (auto left = reader.read_le<std::uint64_t>(); left > 0; --left) {
      const auto id = reader.read_le<std::uint64_t>();
      (*pile.rows_)[id] = reader.read_vector<float>(dim());
    }
    return pile;
  }

 private:
  std::unique_ptr<std::map<std::uint64_t, std::vector<float>>> rows_ =
      std::make_unique<std::map<std::uint64_t, std::vector<float>>>();
};
static_assert(iqdb::Index<Pile> && iqdb::Persistable<Pile> && !std::copy_constructible<Pile>);

}  // namespace

TEST_CASE("check_persistable: FlatIndex keeps every promise") {
  // All metrics but under a sanitizer, to which they are one.
  const auto metric = static_cast<iqdb::DistanceMetric>(GENERATE(range(0, iqdb_test::sanitized ? 1 : 5)));
  const auto report = check_persistable([metric] { return iqdb::FlatIndex(4, metric); }, {.lives = lives});
  CHECK(report.round_trips >= 20);
  CHECK(report.loads > 10);
  CHECK(report.mutations > 500);
  CHECK(report.damaged_payloads > 1'000);
  CHECK(report.metadata_seen);
}

TEST_CASE("check_persistable: FlatIndex keeps every promise at a larger dimension and with another seed") {
  check_persistable([] { return iqdb::FlatIndex(100, iqdb::DistanceMetric::cosine); }, {.seed = 7, .lives = lives});
}

TEST_CASE("check_persistable: an index that neither copies nor keeps metadata keeps every promise") {
  const auto report = check_persistable([] { return Pile(); });
  CHECK(report.rejections > 100);
  CHECK_FALSE(report.metadata_seen);
}

TEST_CASE("check_persistable: makes every check") {
  const auto finding_of = [](Fault fault) {
    return iqdb_test::finding_of(
        fault, [](const auto& subject, const auto& options) { return check_persistable(subject, options); },
        Subject<FaultyIndex>{.make = [] { return FaultyIndex(4); }});
  };
  CHECK(finding_of(Fault::none) == "");
  CHECK_THAT(finding_of(Fault::forgets_metadata), Contains("saved and loaded"));
  CHECK_THAT(finding_of(Fault::believes_the_metric), Contains("metric() is 131"));
  CHECK_THAT(finding_of(Fault::changes_what_it_rejects), Contains("a mutation that throws has changed the index"));
}

TEST_CASE("check_persistable: takes the vectors that the subject gives") {
  std::size_t given = 0;
  Subject<iqdb::FlatIndex> subject{.make = [] { return iqdb::FlatIndex(2, iqdb::DistanceMetric::euclidean); }};
  subject.vector = [&](std::uint64_t number, std::size_t dim) {
    ++given;
    return std::vector<float>(dim, static_cast<float>(number % 1'000));
  };
  check_persistable(subject);
  CHECK(given > 500);
}

TEST_CASE("check_persistable: takes distances that are no numbers") {
  Subject<iqdb::FlatIndex> subject{.make = [] { return iqdb::FlatIndex(2, iqdb::DistanceMetric::euclidean); }};
  subject.vector = [](std::uint64_t number, std::size_t dim) {
    const bool is_number = number % 3 != 0;
    return std::vector<float>(dim,
                              is_number ? static_cast<float>(number % 1'000) : std::numeric_limits<float>::quiet_NaN());
  };
  check_persistable(subject, {.steps = 50});
}

TEST_CASE("check_persistable: what make throws passes") {
  const auto make = []() -> iqdb::FlatIndex { throw std::logic_error("no index today"); };
  CHECK_THROWS_WITH(check_persistable(make), "no index today");
}

TEST_CASE("ConformanceReport: is told in words") {
  const iqdb::testing::ConformanceReport report{.round_trips = 1,
                                                .mutations = 2,
                                                .rejections = 3,
                                                .upserts = 9,
                                                .loads = 4,
                                                .damaged_payloads = 5,
                                                .refused_payloads = 6,
                                                .crash_states = 7,
                                                .damaged_files = 8,
                                                .metadata_seen = true};
  CHECK(to_string(report) ==
        "1 round trips, 2 mutations (3 rejected, 9 upserts), 4 loads of the durable index, 5 damaged payloads (6 "
        "refused), 7 crash "
        "states, 8 damaged files");
}

TEST_CASE("ConformanceReport: adds up") {
  iqdb::testing::ConformanceReport sum{.round_trips = 1, .damaged_payloads = 5};
  sum += {.round_trips = 10,
          .mutations = 20,
          .rejections = 30,
          .loads = 40,
          .damaged_payloads = 50,
          .refused_payloads = 60,
          .metadata_seen = true};
  CHECK(sum.round_trips == 11);
  CHECK((sum.mutations == 20 && sum.rejections == 30 && sum.loads == 40));
  CHECK((sum.damaged_payloads == 55 && sum.refused_payloads == 60 && sum.metadata_seen));
}

}  // namespace of_conformance
