// check_mutations: what it finds in an index whose checks or upsert have one slip, and that it finds nothing in one
// without. And what check_decoder asks of a type that trusts nothing.
#include "iqdb/persist/testing/mutation_check.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/testing/conformance.hpp"
#include "iqdb/persist/testing/decoder_check.hpp"
#include "iqdb/types.hpp"
#include "support/catch.hpp"

namespace of_mutation_check {

namespace {

namespace mutation_check {

using Catch::Matchers::Contains;
using iqdb::FlatIndex;
using iqdb::IndexError;
using iqdb::IndexErrorKind;
using iqdb::Metadata;
using iqdb::VectorId;
using iqdb::testing::ConformanceOptions;
using iqdb::testing::ConformanceReport;
using iqdb::testing::Subject;

// What a SlippingIndex does wrong.
enum class Slip : std::uint8_t {
  none,
  check_insert_misses_duplicates,
  check_insert_refuses_all,
  check_insert_of_another_kind,
  check_insert_throws_another_type,
  check_insert_changes,
  check_erase_misses_unknown,
  check_vector_misses_dimension,
  check_vector_misses_components,
  check_vector_refuses_metadata,
  check_upsert_misses_dimension,
  check_upsert_refuses_known,
  upsert_erases_first,
  upsert_keeps_metadata,
  upsert_keeps_vector,
  upsert_refuses_known,
  upsert_adds_another,
  upsert_erases_another,
  upsert_throws_another_type,
  check_update_misses_unknown,
  update_keeps_metadata,
  update_of_unknown_is_nothing,
  update_changes_another,
  update_refuses_known,
};

// A flat index, but for its slip. It takes no component that is not finite.
class SlippingIndex {
 public:
  static constexpr std::string_view index_type = "slipping";

  explicit SlippingIndex(FlatIndex rows) : rows_(std::move(rows)) {}

  [[nodiscard]] std::size_t size() const noexcept { return rows_.size(); }
  [[nodiscard]] std::size_t dim() const noexcept { return rows_.dim(); }
  [[nodiscard]] iqdb::DistanceMetric metric() const noexcept { return rows_.metric(); }

  void check_vector(std::span<const float> vector, const std::optional<Metadata>& metadata) const {
    if (slip == Slip::check_vector_refuses_metadata && metadata) {
      throw IndexError(IndexErrorKind::invalid_config, "no metadata");
    }
    if (slip != Slip::check_vector_misses_dimension) {
      rows_.check_vector(vector, metadata);
    }
    if (slip != Slip::check_vector_misses_components) {
      require_finite(vector);
    }
  }

  void check_insert(const VectorId& id, std::span<const float> vector, const std::optional<Metadata>& metadata) const {
    switch (slip) {
      case Slip::check_insert_misses_duplicates:
        rows_.check_upsert(id, vector, metadata);
        break;
      case Slip::check_insert_refuses_all:
        throw IndexError(IndexErrorKind::resource_limit, "full");
      case Slip::check_insert_of_another_kind:
        if (rows_.contains(id)) {
          throw IndexError(IndexErrorKind::invalid_config, "it is there");
        }
        break;
      case Slip::check_insert_throws_another_type:
        if (rows_.contains(id)) {
          throw std::logic_error("it is there");
        }
        break;
      case Slip::check_insert_changes:
        if (rows_.size() > 0) {
          rows_.erase(first_id());
        }
        break;
      default:
        break;
    }
    if (slip != Slip::check_insert_misses_duplicates) {
      rows_.check_insert(id, vector, metadata);
    }
    require_finite(vector);
  }

  void check_erase(const VectorId& id) const {
    if (slip != Slip::check_erase_misses_unknown) {
      rows_.check_erase(id);
    }
  }

  void check_upsert(const VectorId& id, std::span<const float> vector, const std::optional<Metadata>& metadata) const {
    if (slip == Slip::check_upsert_misses_dimension) {
      return;
    }
    if ((slip == Slip::check_upsert_refuses_known || slip == Slip::upsert_refuses_known) && rows_.contains(id)) {
      throw IndexError(IndexErrorKind::duplicate, "it is there");
    }
    rows_.check_upsert(id, vector, metadata);
    require_finite(vector);
  }

  void insert(VectorId id, std::span<const float> vector, std::optional<Metadata> metadata) {
    rows_.check_insert(id, vector, metadata);
    require_finite(vector);
    rows_.insert(std::move(id), vector, std::move(metadata));
  }
  void erase(const VectorId& id) { rows_.erase(id); }

  void upsert(const VectorId& id, std::span<const float> vector, std::optional<Metadata> metadata) {
    const bool known = rows_.contains(id);
    if (slip == Slip::upsert_erases_first && known) {
      rows_.erase(id);
    }
    if (slip == Slip::upsert_throws_another_type && known) {
      throw std::logic_error("it is there");
    }
    if (slip == Slip::upsert_refuses_known && known) {
      throw IndexError(IndexErrorKind::duplicate, "it is there");
    }
    rows_.check_upsert(id, vector, metadata);
    require_finite(vector);
    std::vector<float> components(vector.begin(), vector.end());
    rows_.for_each([&](const VectorId& other, std::span<const float> old, const std::optional<Metadata>& old_metadata) {
      if (other == id && slip == Slip::upsert_keeps_metadata) {
        metadata = old_metadata;
      }
      if (other == id && slip == Slip::upsert_keeps_vector) {
        components.assign(old.begin(), old.end());
      }
    });
    if (slip == Slip::upsert_adds_another && known) {
      rows_.upsert(VectorId::from_bytes("another"), components);
    }
    if (slip == Slip::upsert_erases_another && known && first_id() != id) {
      rows_.erase(first_id());
    }
    rows_.upsert(id, components, std::move(metadata));
  }

  void check_update_metadata(const VectorId& id, const std::optional<Metadata>& metadata) const {
    const bool is_taken = slip == Slip::check_update_misses_unknown || slip == Slip::update_of_unknown_is_nothing;
    if (!is_taken || rows_.contains(id)) {
      rows_.check_update_metadata(id, metadata);
    }
    if (slip == Slip::update_refuses_known && rows_.contains(id)) {
      throw IndexError(IndexErrorKind::invalid_config, "it stays as it is");
    }
  }

  void update_metadata(const VectorId& id, std::optional<Metadata> metadata) {
    if (slip == Slip::update_of_unknown_is_nothing && !rows_.contains(id)) {
      return;
    }
    rows_.check_update_metadata(id, metadata);
    check_update_metadata(id, metadata);
    if (slip == Slip::update_keeps_metadata) {
      return;
    }
    if (slip == Slip::update_changes_another) {
      rows_.update_metadata(first_id(), metadata);
    }
    rows_.update_metadata(id, std::move(metadata));
  }

  [[nodiscard]] std::vector<iqdb::Hit> search(std::span<const float> query, const iqdb::SearchParams& params) const {
    return rows_.search(query, params);
  }

  void save_to(iqdb::Writer& writer) const { rows_.save_to(writer); }
  static SlippingIndex load_from(iqdb::Reader& reader) { return SlippingIndex(FlatIndex::load_from(reader)); }

  inline static Slip slip = Slip::none;

 private:
  static void require_finite(std::span<const float> vector) { iqdb::index_support::check_components(vector, "vector"); }

  [[nodiscard]] VectorId first_id() const {
    std::optional<VectorId> first;
    rows_.for_each([&](const VectorId& id, auto, const auto&) { first = first ? first : std::optional(id); });
    return first.value();
  }

  mutable FlatIndex rows_;
};

static_assert(iqdb::ChecksUpsert<SlippingIndex> && iqdb::Upsertable<SlippingIndex>);

// What check_mutations says of an index with a slip: nothing if it finds none.
std::string finding_of(Slip slip, const ConformanceOptions& options = {}) {
  SlippingIndex::slip = slip;
  const Subject<SlippingIndex> subject{.make = [] { return SlippingIndex({2, iqdb::DistanceMetric::euclidean}); }};
  std::string finding;
  try {
    static_cast<void>(iqdb::testing::check_mutations(subject, options));
  } catch (const iqdb::testing::Violation& violation) {
    finding = violation.what();
  }
  SlippingIndex::slip = Slip::none;
  return finding;
}

// A flat index whose decoder makes room on the word of a count.
class TrustingIndex {
 public:
  static constexpr std::string_view index_type = "trusting";
  static constexpr bool trusts_nothing = true;

  explicit TrustingIndex(FlatIndex rows) : rows_(std::move(rows)) {}
  [[nodiscard]] std::size_t size() const noexcept { return rows_.size(); }
  [[nodiscard]] std::size_t dim() const noexcept { return rows_.dim(); }
  [[nodiscard]] iqdb::DistanceMetric metric() const noexcept { return rows_.metric(); }
  void insert(VectorId id, std::span<const float> vector, std::optional<Metadata> metadata) {
    rows_.insert(std::move(id), vector, std::move(metadata));
  }
  void erase(const VectorId& id) { rows_.erase(id); }
  void save_to(iqdb::Writer& writer) const {
    writer.write_le(std::uint64_t{rows_.size()});
    rows_.save_to(writer);
  }
  static TrustingIndex load_from(iqdb::Reader& reader) {
    const auto count = reader.read_le<std::uint64_t>();
    allocated += count;
    if (!has_room && count > (std::uint64_t{1} << 40U)) {
      throw std::length_error("so many");  // as a container throws it that is told to reserve as many
    }
    TrustingIndex index(FlatIndex::load_from(reader));
    if (count != index.size()) {
      reader.fail(iqdb::PersistErrorKind::invalid_payload, "another number");
    }
    return index;
  }

  inline static bool has_room = false;        // for any count
  inline static std::uint64_t allocated = 0;  // as if the room had been made

 private:
  FlatIndex rows_;
};

// What check_decoder says of it.
std::string finding_of_decoder(const ConformanceOptions& options) {
  const Subject<TrustingIndex> subject{.make = [] { return TrustingIndex({2, iqdb::DistanceMetric::euclidean}); }};
  try {
    static_cast<void>(iqdb::testing::check_decoder(subject, options));
  } catch (const iqdb::testing::Violation& violation) {
    return violation.what();
  }
  return {};
}

// A flat index whose identifiers are numbers: its check_vector, which is not told the identifier, cannot announce that.
class NumberedIndex {
 public:
  static constexpr std::string_view index_type = "numbered";

  explicit NumberedIndex(FlatIndex rows) : rows_(std::move(rows)) {}
  [[nodiscard]] std::size_t size() const noexcept { return rows_.size(); }
  [[nodiscard]] std::size_t dim() const noexcept { return rows_.dim(); }
  [[nodiscard]] iqdb::DistanceMetric metric() const noexcept { return rows_.metric(); }
  void check_vector(std::span<const float> vector, const std::optional<Metadata>& metadata) const {
    rows_.check_vector(vector, metadata);
  }
  void insert(VectorId id, std::span<const float> vector, std::optional<Metadata> metadata) {
    if (!id.is_integer()) {
      throw IndexError(IndexErrorKind::invalid_vector, "identifiers are numbers");
    }
    rows_.insert(std::move(id), vector, std::move(metadata));
  }
  void erase(const VectorId& id) { rows_.erase(id); }
  void save_to(iqdb::Writer& writer) const { rows_.save_to(writer); }
  static NumberedIndex load_from(iqdb::Reader& reader) { return NumberedIndex(FlatIndex::load_from(reader)); }

 private:
  FlatIndex rows_;
};

}  // namespace mutation_check

}  // namespace

TEST_CASE("check_mutations: finds nothing in an index whose checks and upsert are right") {
  using namespace mutation_check;
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    CHECK(finding_of(Slip::none, {.seed = seed}) == "");
  }
}

TEST_CASE("check_mutations: finds a check that does not announce what the mutation does") {
  using namespace mutation_check;
  CHECK_THAT(finding_of(Slip::check_insert_misses_duplicates),
             Contains("check_insert does not announce what insert does") && Contains("duplicate"));
  CHECK_THAT(finding_of(Slip::check_insert_refuses_all), Contains("check_insert does not announce what insert does"));
  CHECK_THAT(finding_of(Slip::check_insert_of_another_kind),
             Contains("check_insert rejects it (IndexError invalid_config"));
  CHECK_THAT(finding_of(Slip::check_erase_misses_unknown),
             Contains("check_erase does not announce what erase does") && Contains("not_found"));
  CHECK_THAT(finding_of(Slip::check_upsert_misses_dimension),
             Contains("check_upsert does not announce what upsert does"));
  CHECK_THAT(finding_of(Slip::check_upsert_refuses_known), Contains("check_upsert does not announce what upsert does"));
}

TEST_CASE("check_mutations: finds a check_vector that says less or more than every insert") {
  using namespace mutation_check;
  CHECK_THAT(finding_of(Slip::check_vector_misses_dimension),
             Contains("check_vector does not announce what the mutation does") && Contains("dimension_mismatch"));
  CHECK_THAT(finding_of(Slip::check_vector_misses_components),
             Contains("check_vector does not announce what the mutation does") && Contains("invalid_vector"));
  CHECK_THAT(finding_of(Slip::check_vector_refuses_metadata),
             Contains("check_vector does not announce what the mutation does") && Contains("no metadata"));
}

TEST_CASE("check_mutations: finds a check that changes the index or throws what is no IndexError") {
  using namespace mutation_check;
  CHECK_THAT(finding_of(Slip::check_insert_changes), Contains("check_insert or check_vector has changed the index"));
  CHECK_THAT(finding_of(Slip::check_insert_throws_another_type),
             Contains("check_insert throws what is no IndexError: it is there"));
}

TEST_CASE("check_mutations: finds an upsert that is not made whole or does something else") {
  using namespace mutation_check;
  CHECK_THAT(finding_of(Slip::upsert_erases_first), Contains("an upsert that throws has changed the index"));
  CHECK_THAT(finding_of(Slip::upsert_keeps_metadata), Contains("is not what an erase and an insert make of a copy"));
  CHECK_THAT(finding_of(Slip::upsert_keeps_vector), Contains("is not what an erase and an insert make of a copy"));
  CHECK_THAT(finding_of(Slip::upsert_refuses_known), Contains("an upsert takes what an insert takes"));
  CHECK_THAT(finding_of(Slip::upsert_adds_another), Contains("after an upsert size() is"));
  CHECK_THAT(finding_of(Slip::upsert_erases_another), Contains("after an upsert size() is"));
  CHECK_THAT(finding_of(Slip::upsert_throws_another_type), Contains("upsert throws what is no IndexError"));
}

TEST_CASE("check_mutations: finds an update of metadata that does less or more than that") {
  using namespace mutation_check;
  CHECK_THAT(finding_of(Slip::check_update_misses_unknown),
             Contains("check_update_metadata does not announce what update_metadata does") && Contains("not_found"));
  CHECK_THAT(finding_of(Slip::update_keeps_metadata), Contains("after an update of metadata"));
  CHECK_THAT(finding_of(Slip::update_of_unknown_is_nothing),
             Contains("after an update of metadata") && Contains("unknown"));
  CHECK_THAT(finding_of(Slip::update_changes_another), Contains("after an update of metadata"));
  CHECK_THAT(finding_of(Slip::update_refuses_known), Contains("after an update of metadata") && Contains("known"));
}

TEST_CASE("check_mutations: check_vector need not know what follows from the identifier") {
  using namespace mutation_check;
  const Subject<NumberedIndex> subject{.make = [] { return NumberedIndex({2, iqdb::DistanceMetric::euclidean}); }};
  CHECK(iqdb::testing::check_mutations(subject).rejections > 50);
}

TEST_CASE("check_mutations: counts what it has asked for and is part of check_persistable") {
  using namespace mutation_check;
  const Subject<FlatIndex> subject{.make = [] { return FlatIndex(2, iqdb::DistanceMetric::euclidean); }};
  const ConformanceReport report = iqdb::testing::check_mutations(subject);
  CHECK(report.upserts > 100);
  CHECK(report.rejections > 50);
  CHECK(report.mutations > report.upserts + report.rejections);
  CHECK(iqdb::testing::check_persistable(subject, {.lives = 1}).upserts == report.upserts);
}

TEST_CASE("check_mutations: a type that offers nothing more is asked nothing") {
  using namespace mutation_check;
  const Subject<TrustingIndex> subject{.make = [] { return TrustingIndex({2, iqdb::DistanceMetric::euclidean}); }};
  CHECK(iqdb::testing::check_mutations(subject).mutations == 0);
}

TEST_CASE("check_decoder: a type that trusts nothing may not ask for memory on the word of a length") {
  using namespace mutation_check;
  CHECK_THAT(finding_of_decoder({.accept_failed_allocations = true}),
             Contains("load_from wanted more memory than there is: so many"));
}

TEST_CASE("check_decoder: a type that trusts nothing may not ask for much memory that there would be") {
  using namespace mutation_check;
  TrustingIndex::has_room = true;
  CHECK_THAT(finding_of_decoder({.allocated_bytes = [] { return TrustingIndex::allocated; }}),
             Contains("load_from asked for") && Contains("bytes of memory for a payload of"));
  TrustingIndex::has_room = false;
}

}  // namespace of_mutation_check
