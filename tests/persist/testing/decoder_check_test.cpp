// check_decoder: what it finds in a decoder with one fault, and that it finds nothing in one without.
#include "iqdb/persist/testing/decoder_check.hpp"

#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "support/catch.hpp"
#include "support/faulty_index.hpp"

namespace of_decoder_check {

namespace {

using Catch::Matchers::Contains;
using iqdb::testing::ConformanceOptions;
using iqdb::testing::Subject;
using iqdb_test::Fault;
using iqdb_test::FaultyIndex;

const Subject<FaultyIndex> subject{.make = [] { return FaultyIndex(4); }};

// A dimension and a byte that must be 0, which the check does not look at.
struct CarelesslyChecked {
  static constexpr std::string_view index_type = "carelessly checked";
  static constexpr bool trusts_nothing = true;

  [[nodiscard]] std::size_t size() const { return 0; }
  [[nodiscard]] std::size_t dim() const { return dimension; }
  [[nodiscard]] iqdb::DistanceMetric metric() const { return iqdb::DistanceMetric::euclidean; }
  void save_to(iqdb::Writer& writer) const {
    writer.write_le(dimension);
    writer.write_le(std::uint8_t{0});
  }
  static CarelesslyChecked load_from(iqdb::Reader& reader) {
    const CarelesslyChecked index{.dimension = reader.read_le<std::uint32_t>()};
    if (reader.read_le<std::uint8_t>() != 0) {
      reader.fail(iqdb::PersistErrorKind::invalid_payload, "it is not 0");
    }
    return index;
  }
  static iqdb::PayloadFacts check_payload(iqdb::Reader& reader) {
    const auto dim = reader.read_le<std::uint32_t>();
    reader.skip(1);
    return {.dim = dim, .metric = iqdb::DistanceMetric::euclidean, .vectors = 0};
  }

  std::uint32_t dimension = 4;
};

std::string decoder_finding(Fault fault, const ConformanceOptions& options = {}) {
  return iqdb_test::finding_of(
      fault, [](const auto& of, const auto& with) { return iqdb::testing::check_decoder(of, with); }, subject, options);
}

}  // namespace

TEST_CASE("check_decoder: finds nothing in a decoder without a fault") {
  CHECK(decoder_finding(Fault::none) == "");
  const auto report = iqdb::testing::check_decoder(subject);
  CHECK(report.refused_payloads > 1'000);
  CHECK(report.damaged_payloads > report.refused_payloads);
}

TEST_CASE("check_decoder: a small payload is examined at every length and in every bit") {
  FaultyIndex::give(Fault::none);
  std::vector<std::string> steps;
  static_cast<void>(iqdb::testing::check_decoder(
      subject, {.samples = 0, .trace = [&](const std::string& step) { steps.push_back(step); }}));
  const auto count = [&](const std::string& end) {
    std::size_t found = 0;
    for (const std::string& step : steps) {
      found += step.find(end) == std::string::npos ? 0U : 1U;
    }
    return found;
  };
  // The empty index: 8 bytes dimension, 1 metric, 8 rows.
  CHECK(count("of the payload's 17 bytes") == 17 + 2);
  CHECK(count("of the payload's 17 flipped") == 17 * 8);
  CHECK(count("load_from, of the first 0 of the payload's 17 bytes") == 1);
  CHECK(count("load_from, with bit 7 of byte 16 of the payload's 17 flipped") == 1);
}

TEST_CASE("check_decoder: of a large payload a sample is examined") {
  FaultyIndex::give(Fault::none);
  const auto sample = iqdb::testing::check_decoder(subject, {.samples = 10});
  const auto larger_sample = iqdb::testing::check_decoder(subject, {.samples = 100});
  // The same of the small payloads and the ends of the large one; of the rest so many lengths and so many bits.
  CHECK(sample.damaged_payloads + 100 < larger_sample.damaged_payloads);
  CHECK(larger_sample.damaged_payloads <= sample.damaged_payloads + 2 * 100);
}

TEST_CASE("check_decoder: finds an exception of the Reader that is swallowed") {
  CHECK_THAT(decoder_finding(Fault::swallows_truncation),
             Contains("load_from makes an index of a payload that is cut off: one of 0 vectors") &&
                 Contains("load_from, of the first 17 of the payload's") &&
                 Contains("does load_from swallow the exception (truncated_payload)"));
}

TEST_CASE("check_decoder: finds a payload that does not say how much there is") {
  CHECK_THAT(decoder_finding(Fault::reads_until_the_end),
             Contains("load_from makes an index of a payload that is cut off") && Contains("Write how many there are"));
}

TEST_CASE("check_decoder: finds a decoder that skips what it does not know") {
  CHECK_THAT(decoder_finding(Fault::skips_to_the_end),
             Contains("load_from reads 1 bytes more than save_to has written"));
}

TEST_CASE("check_decoder: finds memory that is set aside on the word of a length") {
  CHECK_THAT(decoder_finding(Fault::believes_a_count),
             Contains("load_from wanted more memory than there is") && Contains("Reader::require_items") &&
                 Contains("with bit 7 of byte 16 of the payload's 17 flipped"));
}

TEST_CASE("check_decoder: finds a count that is believed") {
  CHECK_THAT(decoder_finding(Fault::believes_its_size), Contains("load_from makes an index of 9223372036854775808 "
                                                                 "vectors of a payload of 25 bytes"));
}

TEST_CASE("check_decoder: finds an index that cannot end saving itself") {
  CHECK_THAT(decoder_finding(Fault::believes_how_much_to_save),
             Contains("an index made of a payload of 25 bytes saves more than 64 times as much and 64 MiB"));
}

TEST_CASE("check_decoder: finds a check that takes what the decoder refuses") {
  const Subject<CarelesslyChecked> careless{.make = [] { return CarelesslyChecked(); }};
  CHECK_THROWS_WITH(iqdb::testing::check_decoder(careless),
                    Contains("check_payload takes a payload that load_from refuses") &&
                        Contains("of byte 4 of the payload's 5 flipped"));
}

TEST_CASE("check_decoder: finds a metric that is none") {
  CHECK_THAT(decoder_finding(Fault::believes_the_metric),
             Contains("load_from makes an index whose metric() is 131, which is none") && Contains("metric_from_tag"));
}

TEST_CASE("check_decoder: failed allocations are accepted where they are meant") {
  CHECK_THAT(decoder_finding(Fault::throws_bad_alloc_when_damaged), Contains("load_from wanted more memory"));
  CHECK(decoder_finding(Fault::throws_bad_alloc_when_damaged, {.accept_failed_allocations = true}) == "");
}

TEST_CASE("check_decoder: a decoder may throw what is no std::exception") {
  CHECK(decoder_finding(Fault::throws_a_number_when_damaged) == "");
}

TEST_CASE("check_decoder: an index made of a damaged payload is used") {
  FaultyIndex::give(Fault::none);
  FaultyIndex::uses.clear();
  static_cast<void>(iqdb::testing::check_decoder(subject));
  CHECK(FaultyIndex::uses == std::set<std::string>{"insert", "erase", "search", "save_to"});
}

}  // namespace of_decoder_check
