// check_round_trip: what it finds in an index with one fault, and that it finds nothing in one without.
#include "iqdb/persist/testing/round_trip_check.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/faulty_index.hpp"

namespace of_round_trip_check {

namespace {

using Catch::Matchers::Contains;
using iqdb::testing::ConformanceOptions;
using iqdb::testing::Subject;
using iqdb_test::Fault;
using iqdb_test::FaultyIndex;
using iqdb_test::UnsearchableIndex;

std::string round_trip_finding(Fault fault, const ConformanceOptions& options = {}) {
  return iqdb_test::finding_of(
      fault, [](const auto& subject, const auto& with) { return iqdb::testing::check_round_trip(subject, with); },
      Subject<FaultyIndex>{.make = [] { return FaultyIndex(4, iqdb::DistanceMetric::cosine); }}, options);
}

std::string unsearchable_finding(Fault fault) {
  return iqdb_test::finding_of(
      fault, [](const auto& subject, const auto& with) { return iqdb::testing::check_round_trip(subject, with); },
      Subject<UnsearchableIndex>{.make = [] { return UnsearchableIndex(4); }});
}

// Holds numbers, and cannot be changed; `lost` of them are not saved.
class Numbers {
 public:
  static constexpr std::string_view index_type = "numbers";
  explicit Numbers(std::vector<std::uint64_t> numbers) : numbers_(std::move(numbers)) {}
  [[nodiscard]] std::size_t size() const { return numbers_.size(); }
  [[nodiscard]] static std::size_t dim() { return 1; }
  [[nodiscard]] static iqdb::DistanceMetric metric() { return iqdb::DistanceMetric::hamming; }
  void save_to(iqdb::Writer& writer) const {
    writer.write_le(std::uint64_t{numbers_.size() - lost});
    writer.write_array(std::span(numbers_).subspan(lost));
  }
  [[nodiscard]] static Numbers load_from(iqdb::Reader& reader) {
    return Numbers(reader.read_vector<std::uint64_t>(reader.read_le<std::uint64_t>()));
  }
  inline static std::size_t lost = 0;

 private:
  std::vector<std::uint64_t> numbers_;
};
static_assert(iqdb::Persistable<Numbers> && !iqdb::Index<Numbers>);

}  // namespace

TEST_CASE("check_round_trip: finds nothing in an index without a fault") {
  CHECK(round_trip_finding(Fault::none) == "");
  CHECK(unsearchable_finding(Fault::none) == "");
}

TEST_CASE("check_round_trip: finds nothing in an index that rejects what it does not take") {
  CHECK(round_trip_finding(Fault::limited) == "");
  CHECK(round_trip_finding(Fault::takes_no_bytes) == "");
  CHECK(round_trip_finding(Fault::takes_no_low_ids) == "");
  CHECK(round_trip_finding(Fault::takes_no_metadata) == "");
  CHECK(round_trip_finding(Fault::cannot_erase) == "");
}

TEST_CASE("check_round_trip: finds metadata that is not saved") {
  const std::string found = round_trip_finding(Fault::forgets_metadata);
  CHECK_THAT(found, Contains("a search finds vector 0 with no metadata, expected the metadata {\"number\": 0, ") &&
                        Contains("done: make(); insert 0 ") && Contains("; save_to; load_from\n") &&
                        Contains("the index forgets metadata: does save_to write that of every vector") &&
                        Contains("ConformanceOptions::seed = 1"));
}

TEST_CASE("check_round_trip: finds empty metadata that becomes none") {
  CHECK_THAT(round_trip_finding(Fault::forgets_empty_metadata),
             Contains("with no metadata, expected the metadata {}") && Contains("the index forgets metadata"));
}

TEST_CASE("check_round_trip: finds metadata that is kept outside of the index") {
  CHECK_THAT(round_trip_finding(Fault::keeps_metadata_elsewhere),
             Contains("two indexes that differ in their metadata are saved as the same bytes") &&
                 Contains("is all of it in the index?"));
}

TEST_CASE("check_round_trip: finds vectors that are saved in part") {
  CHECK_THAT(round_trip_finding(Fault::rounds_vectors),
             Contains("a search finds vector 0 at distance") && Contains("every component of every vector"));
  CHECK_THAT(round_trip_finding(Fault::forgets_vectors), Contains("a search finds vector 0 at distance"));
}

TEST_CASE("check_round_trip: finds forgotten vectors in an index that cannot be searched") {
  CHECK_THAT(unsearchable_finding(Fault::forgets_vectors), Contains("the index forgets its vectors"));
}

TEST_CASE("check_round_trip: finds identifiers that are not saved") {
  CHECK_THAT(round_trip_finding(Fault::forgets_ids),
             Contains("a search finds vector 0 no more") && Contains("does save_to write every identifier"));
}

TEST_CASE("check_round_trip: finds forgotten identifiers in an index that cannot be searched") {
  CHECK_THAT(unsearchable_finding(Fault::forgets_ids), Contains("is answered differently by an index that was loaded"));
}

TEST_CASE("check_round_trip: finds identifiers that are kept outside of the index") {
  CHECK_THAT(round_trip_finding(Fault::keeps_ids_elsewhere),
             Contains("the index forgets identifiers: two indexes that differ in their identifiers are saved as the "
                      "same bytes"));
}

TEST_CASE("check_round_trip: finds an index that cannot be loaded once it was emptied") {
  CHECK_THAT(round_trip_finding(Fault::forgets_that_it_is_empty),
             Contains("load_from wants more than the 9 bytes that save_to has written"));
}

TEST_CASE("check_round_trip: finds a vector that is not saved") {
  CHECK_THAT(round_trip_finding(Fault::forgets_the_last_vector),
             Contains("size() is 0, expected 1; a search finds vector 0 no more") &&
                 Contains("does save_to write every vector"));
  CHECK_THAT(unsearchable_finding(Fault::forgets_the_last_vector), Contains("size() is 0, expected 1\n"));
}

TEST_CASE("check_round_trip: finds erased vectors that come back") {
  CHECK_THAT(round_trip_finding(Fault::erased_come_back),
             Contains("which should not be there") && Contains("does save_to write erased vectors too"));
}

TEST_CASE("check_round_trip: finds a dimension that is not restored") {
  CHECK_THAT(round_trip_finding(Fault::forgets_dim), Contains("dim() is 3, expected 4"));
}

TEST_CASE("check_round_trip: finds a metric that is not restored") {
  CHECK_THAT(round_trip_finding(Fault::forgets_metric),
             Contains("metric() is manhattan, expected cosine") && Contains("does save_to write the metric"));
}

TEST_CASE("check_round_trip: finds a decision that depends on what is not saved") {
  CHECK_THAT(round_trip_finding(Fault::forgets_limit),
             Contains("is answered differently by an index that was loaded: it takes it; one that was never saved "
                      "rejects it (IndexError resource_limit") &&
                 Contains("what does the decision depend on"));
  CHECK_THAT(round_trip_finding(Fault::loads_with_a_limit),
             Contains("is answered differently by an index that was loaded: it rejects it (IndexError resource_limit"));
}

TEST_CASE("check_round_trip: finds an index that cannot be changed after a load") {
  CHECK_THAT(round_trip_finding(Fault::cannot_erase_after_load),
             Contains("erase 0 is answered differently by an index that was loaded: it rejects it "
                      "(IndexError not_found") ||
                 Contains("erase 2 is answered differently by an index that was loaded: it rejects it "
                          "(IndexError not_found"));
}

TEST_CASE("check_round_trip: finds a payload that differs from save to save") {
  CHECK_THAT(round_trip_finding(Fault::saves_a_counter),
             Contains("saved twice, an index gives different bytes") && Contains("first different at byte 17"));
}

TEST_CASE("check_round_trip: takes a payload that differs where the contents are given") {
  const std::string found = iqdb_test::finding_of(
      Fault::saves_a_counter,
      [](const auto& subject, const auto& options) { return iqdb::testing::check_round_trip(subject, options); },
      Subject<FaultyIndex>{.make = [] { return FaultyIndex(4); },
                           .contents = [](const FaultyIndex& index) { return std::to_string(index.size()); }});
  CHECK(found == "");
}

TEST_CASE("check_round_trip: finds a difference in the contents that are given") {
  const std::string found = iqdb_test::finding_of(
      Fault::none,
      [](const auto& subject, const auto& options) { return iqdb::testing::check_round_trip(subject, options); },
      Subject<FaultyIndex>{.make = [] { return FaultyIndex(4); },
                           .contents = [](const FaultyIndex& index) { return index.was_loaded() ? "new" : "old"; }});
  CHECK_THAT(found, Contains("what Subject::contents lists has 3 bytes, expected 3; first different at byte 0: found "
                             "\"new\", expected \"old\""));
}

TEST_CASE("check_round_trip: finds an index that takes nothing any more once it was saved") {
  CHECK_THAT(
      round_trip_finding(Fault::freezes_when_saved),
      Contains("is answered differently by an index that was saved") && Contains("does save_to change anything"));
}

TEST_CASE("check_round_trip: finds what a save changes") {
  CHECK_THAT(round_trip_finding(Fault::drifts_when_saved, {.sizes = {3}}),
             Contains("an index is not what it was before it was saved"));
}

TEST_CASE("check_round_trip: finds what a save changes of later mutations") {
  CHECK_THAT(round_trip_finding(Fault::drops_when_saved),
             Contains("the same mutations make another index of one that was saved"));
}

TEST_CASE("check_round_trip: finds a save_to that throws") {
  CHECK_THAT(round_trip_finding(Fault::throws_when_saved), Contains("save_to throws: no pen"));
}

TEST_CASE("check_round_trip: finds bytes that load_from does not read") {
  CHECK_THAT(round_trip_finding(Fault::leaves_a_byte_unread), Contains("load_from left 1 of 18 bytes unread"));
}

TEST_CASE("check_round_trip: finds bytes that save_to does not write") {
  CHECK_THAT(round_trip_finding(Fault::reads_a_byte_too_many),
             Contains("load_from wants more than the 17 bytes that save_to has written"));
}

TEST_CASE("check_round_trip: finds a load_from that refuses its own payload") {
  CHECK_THAT(round_trip_finding(Fault::refuses_its_own),
             Contains("load_from refuses what save_to has written: I have not written this"));
  CHECK_THAT(round_trip_finding(Fault::throws_at_its_own),
             Contains("load_from throws on what save_to has written: I do not know this"));
  CHECK_THAT(round_trip_finding(Fault::throws_a_number_on_its_own),
             Contains("load_from throws what is no std::exception on what save_to has written"));
}

TEST_CASE("check_round_trip: finds a snapshot that cannot be loaded") {
  CHECK_THAT(
      round_trip_finding(Fault::throws_at_every_second_load),
      Contains("the load throws") && Contains("once too often") && Contains("save and load a snapshot, uncompressed"));
}

TEST_CASE("check_round_trip: finds a snapshot that is loaded in part") {
  CHECK_THAT(round_trip_finding(Fault::forgets_metadata_at_every_second_load),
             Contains("the index forgets metadata") && Contains("; save and load a snapshot, uncompressed\n"));
}

TEST_CASE("check_round_trip: finds an index that takes in part what is inserted after a load") {
  CHECK_THAT(round_trip_finding(Fault::ignores_metadata_after_load, {.sizes = {0}}),
             Contains("the same mutations make another index of one that was saved and loaded: a search finds"));
}

TEST_CASE("check_round_trip: finds a make that gives different indexes") {
  CHECK_THAT(round_trip_finding(Fault::differs_from_the_next, {.sizes = {7}}),
             Contains("two indexes that make() gave answer the same mutation differently"));
}

TEST_CASE("check_round_trip: finds an index that takes nothing") {
  CHECK_THAT(round_trip_finding(Fault::takes_nothing),
             Contains("the index took none of") && Contains("the first insert was rejected with: not this one") &&
                 Contains("set Subject::vector"));
}

TEST_CASE("check_round_trip: finds a rejection that is no IndexError") {
  CHECK_THAT(round_trip_finding(Fault::rejects_by_out_of_range),
             Contains("the index rejects a mutation by an exception (it is there), which is no IndexError"));
  CHECK_THAT(round_trip_finding(Fault::rejects_by_a_number), Contains("by throwing what is no std::exception"));
}

TEST_CASE("check_round_trip: with approximate search compares what both searches found") {
  CHECK_THAT(round_trip_finding(Fault::loses_hits_after_load), Contains("a search finds vector"));
  CHECK(round_trip_finding(Fault::loses_hits_after_load, {.approximate_search = true}) == "");
  CHECK_THAT(round_trip_finding(Fault::forgets_metadata, {.approximate_search = true}),
             Contains("the index forgets metadata"));
}

TEST_CASE("check_round_trip: an index without insert and erase is checked as make gives it") {
  const Subject<Numbers> subject{.make = [] { return Numbers({1, 2, 3}); }};
  Numbers::lost = 0;
  const auto report = iqdb::testing::check_round_trip(subject);
  CHECK(report.round_trips == 2U + (IQDB_PERSIST_HAS_ZSTD != 0 ? 1 : 0) + (IQDB_PERSIST_HAS_LZ4 != 0 ? 1 : 0));
  CHECK(report.mutations == 0);

  Numbers::lost = 1;
  CHECK_THROWS_WITH(iqdb::testing::check_round_trip(subject), Contains("size() is 2, expected 3"));
}

TEST_CASE("check_round_trip: reports whether metadata is seen") {
  FaultyIndex::give(Fault::none);
  CHECK(iqdb::testing::check_round_trip(Subject<FaultyIndex>{.make = [] { return FaultyIndex(4); }}).metadata_seen);
  FaultyIndex::give(Fault::forgets_metadata);
  const auto report =
      iqdb::testing::check_round_trip(Subject<UnsearchableIndex>{.make = [] { return UnsearchableIndex(4); }});
  CHECK_FALSE(report.metadata_seen);
  CHECK_THAT(to_string(report), Contains("no metadata is seen"));
}

TEST_CASE("check_round_trip: a search that throws on an empty index is taken if it always does") {
  CHECK(round_trip_finding(Fault::throws_at_an_empty_search) == "");
}

TEST_CASE("check_round_trip: finds a search that throws after a load") {
  CHECK_THAT(round_trip_finding(Fault::throws_at_a_search_after_load),
             Contains("a search throws, as it did not") && Contains("restore everything that a search needs"));
}

}  // namespace of_round_trip_check
