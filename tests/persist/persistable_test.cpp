#include "iqdb/persist/persistable.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "support/bytes.hpp"
#include "support/catch.hpp"
#include "support/streams.hpp"

namespace {

using iqdb::DistanceMetric;
using iqdb::Persistable;
using iqdb::Reader;
using iqdb::Writer;

// The parts of an index that is durable by its members, to be put together with one left out.
struct Name {
  static constexpr std::string_view index_type = "parts";
};
struct Save {
  void save_to(Writer&) const;
};
template <class I>
struct Load {
  static I load_from(Reader&);
};
struct Size {
  [[nodiscard]] std::size_t size() const;
};
struct Dim {
  [[nodiscard]] std::size_t dim() const;
};
struct Metric {
  [[nodiscard]] DistanceMetric metric() const;
};

struct Whole : Name, Save, Load<Whole>, Size, Dim, Metric {};
static_assert(Persistable<Whole>);
static_assert(iqdb::NamesItself<Whole> && iqdb::SavesItself<Whole> && iqdb::LoadsItself<Whole>);
static_assert(iqdb::HasIndexType<Whole> && iqdb::HasSaveTo<Whole> && iqdb::HasLoadFrom<Whole>);
static_assert(iqdb::HasSize<Whole> && iqdb::HasDim<Whole> && iqdb::HasMetric<Whole>);
static_assert(!iqdb::TraitsHaveSize<Whole> && !iqdb::TraitsHaveDim<Whole> && !iqdb::TraitsHaveMetric<Whole>);
static_assert(iqdb::explain_persistable<Whole>());
static_assert(iqdb::PersistTraits<Whole>::index_type == "parts");

// Each missing member makes its own atom false, and Persistable with it.
struct Nameless : Save, Load<Nameless>, Size, Dim, Metric {};
static_assert(!iqdb::NamesItself<Nameless> && !iqdb::HasIndexType<Nameless> && !Persistable<Nameless>);
struct Unsaved : Name, Load<Unsaved>, Size, Dim, Metric {};
static_assert(!iqdb::SavesItself<Unsaved> && !iqdb::HasSaveTo<Unsaved> && !Persistable<Unsaved>);
struct Unloaded : Name, Save, Size, Dim, Metric {};
static_assert(!iqdb::LoadsItself<Unloaded> && !iqdb::HasLoadFrom<Unloaded> && !Persistable<Unloaded>);
struct Sizeless : Name, Save, Load<Sizeless>, Dim, Metric {};
static_assert(!iqdb::HasSize<Sizeless> && !Persistable<Sizeless>);
static_assert(iqdb::HasIndexType<Sizeless> && iqdb::HasSaveTo<Sizeless> && iqdb::HasLoadFrom<Sizeless>);
struct Dimless : Name, Save, Load<Dimless>, Size, Metric {};
static_assert(!iqdb::HasDim<Dimless> && !Persistable<Dimless>);
struct Metricless : Name, Save, Load<Metricless>, Size, Dim {};
static_assert(!iqdb::HasMetric<Metricless> && !Persistable<Metricless>);

// Members of the right name and the wrong shape.
struct SaveThatIsNotConst : Name, Load<SaveThatIsNotConst>, Size, Dim, Metric {
  void save_to(Writer&);
};
static_assert(!iqdb::SavesItself<SaveThatIsNotConst> && !Persistable<SaveThatIsNotConst>);
struct LoadsAnother : Name, Save, Load<Whole>, Size, Dim, Metric {};
static_assert(!iqdb::LoadsItself<LoadsAnother> && !Persistable<LoadsAnother>);
struct NamedByANumber : Save, Load<NamedByANumber>, Size, Dim, Metric {
  static constexpr int index_type = 5;
};
static_assert(!iqdb::NamesItself<NamedByANumber> && !Persistable<NamedByANumber>);

// Names that cannot stand in a file.
struct NamedEmpty : Save, Load<NamedEmpty>, Size, Dim, Metric {
  static constexpr std::string_view index_type = "";
};
static_assert(!iqdb::HasIndexType<NamedEmpty> && !Persistable<NamedEmpty>);
struct NamedInLatin1 : Save, Load<NamedInLatin1>, Size, Dim, Metric {
  static constexpr std::string_view index_type = "caf\xE9";
};
static_assert(!iqdb::HasIndexType<NamedInLatin1> && !Persistable<NamedInLatin1>);
struct NamedByALiteral : Save, Load<NamedByALiteral>, Size, Dim, Metric {
  static constexpr const char* index_type = "literal";
};
static_assert(Persistable<NamedByALiteral>);

constexpr bool is_index_type_of_length(std::size_t length) {
  constexpr std::size_t most = 5000;
  char characters[most] = {};
  for (char& each : characters) {
    each = 'x';
  }
  return iqdb::is_index_type(std::string_view(characters, length));
}
static_assert(!is_index_type_of_length(0));
static_assert(is_index_type_of_length(1));
static_assert(is_index_type_of_length(4096));
static_assert(!is_index_type_of_length(4097));

static_assert(!Persistable<int>);
static_assert(!Persistable<std::string>);
static_assert(!Persistable<std::vector<float>>);
static_assert(Persistable<iqdb::FlatIndex>);
static_assert(!Persistable<iqdb::FlatIndex&>);

// A type from elsewhere, with members of its own names.
struct Foreign {
  std::uint32_t rows = 0;
};

// One that has some of the members, which its traits need not repeat.
struct HalfForeign {
  std::uint32_t rows = 0;
  [[nodiscard]] static std::size_t size() { return 100; }
  [[nodiscard]] static std::size_t dim() { return 200; }
  [[nodiscard]] static DistanceMetric metric() { return DistanceMetric::hamming; }
};

// One whose traits say otherwise than its members.
struct Overruled : Name, Save, Load<Overruled> {
  [[nodiscard]] static std::size_t size() { return 1; }
  [[nodiscard]] static std::size_t dim() { return 2; }
  [[nodiscard]] static DistanceMetric metric() { return DistanceMetric::cosine; }
};

// Traits with one thing missing each.
struct TraitsNameless {};
struct TraitsUnsaved {};
struct TraitsUnloaded {};
struct TraitsSizeless {};
struct TraitsDimless {};
struct TraitsMetricless {};

template <class I>
struct AllTraits {
  static constexpr std::string_view index_type = "foreign";
  static void save_to(const I& index, Writer& writer);
  static I load_from(Reader& reader);
  static std::size_t size(const I& index);
  static std::size_t dim(const I& index);
  static DistanceMetric metric(const I& index);
};

}  // namespace

template <>
struct iqdb::PersistTraits<Foreign> {
  static constexpr std::string_view index_type = "foreign";
  static void save_to(const Foreign& index, Writer& writer) { writer.write_le(index.rows); }
  static Foreign load_from(Reader& reader) { return {.rows = reader.read_le<std::uint32_t>()}; }
  static std::size_t size(const Foreign& index) { return index.rows; }
  static std::size_t dim(const Foreign&) { return 5; }
  static DistanceMetric metric(const Foreign&) { return DistanceMetric::dot_product; }
};

template <>
struct iqdb::PersistTraits<HalfForeign> {
  static constexpr std::string_view index_type = "half";
  static void save_to(const HalfForeign& index, Writer& writer) { writer.write_le(index.rows); }
  static HalfForeign load_from(Reader& reader) { return {.rows = reader.read_le<std::uint32_t>()}; }
};

template <>
struct iqdb::PersistTraits<Overruled> {
  static constexpr std::string_view index_type = "overruled";
  static void save_to(const Overruled&, Writer&) {}
  static Overruled load_from(Reader&) { return {}; }
  static std::size_t size(const Overruled&) { return 11; }
  static std::size_t dim(const Overruled&) { return 12; }
  static DistanceMetric metric(const Overruled&) { return DistanceMetric::manhattan; }
};

// Deleting a member hides the inherited one.
template <>
struct iqdb::PersistTraits<TraitsNameless> : AllTraits<TraitsNameless> {
  static void index_type();
};
template <>
struct iqdb::PersistTraits<TraitsUnsaved> : AllTraits<TraitsUnsaved> {
  static void save_to(const TraitsUnsaved&, Writer&) = delete;
};
template <>
struct iqdb::PersistTraits<TraitsUnloaded> : AllTraits<TraitsUnloaded> {
  static TraitsUnloaded load_from(Reader&) = delete;
};
template <>
struct iqdb::PersistTraits<TraitsSizeless> : AllTraits<TraitsSizeless> {
  static std::size_t size(const TraitsSizeless&) = delete;
};
template <>
struct iqdb::PersistTraits<TraitsDimless> : AllTraits<TraitsDimless> {
  static std::size_t dim(const TraitsDimless&) = delete;
};
template <>
struct iqdb::PersistTraits<TraitsMetricless> : AllTraits<TraitsMetricless> {
  static DistanceMetric metric(const TraitsMetricless&) = delete;
};

namespace {

static_assert(Persistable<Foreign>);
static_assert(iqdb::explain_persistable<Foreign>());
static_assert(iqdb::TraitsHaveSize<Foreign> && iqdb::TraitsHaveDim<Foreign> && iqdb::TraitsHaveMetric<Foreign>);
static_assert(!iqdb::HasSize<Foreign> && !iqdb::HasDim<Foreign> && !iqdb::HasMetric<Foreign>);
static_assert(Persistable<HalfForeign>);
static_assert(!iqdb::TraitsHaveSize<HalfForeign> && iqdb::HasSize<HalfForeign>);
static_assert(Persistable<Overruled>);

static_assert(!iqdb::HasIndexType<TraitsNameless> && !Persistable<TraitsNameless>);
static_assert(!iqdb::HasSaveTo<TraitsUnsaved> && !Persistable<TraitsUnsaved>);
static_assert(!iqdb::HasLoadFrom<TraitsUnloaded> && !Persistable<TraitsUnloaded>);
static_assert(!iqdb::TraitsHaveSize<TraitsSizeless> && !Persistable<TraitsSizeless>);
static_assert(!iqdb::TraitsHaveDim<TraitsDimless> && !Persistable<TraitsDimless>);
static_assert(!iqdb::TraitsHaveMetric<TraitsMetricless> && !Persistable<TraitsMetricless>);

}  // namespace

TEST_CASE("Persistable: holds for exactly the types that have each part", "[persistable]") {
  // All of it stands in the static_asserts above: that this compiles is the test.
  SUCCEED();
}

TEST_CASE("PersistTraits: forwards to the members of a type that has them", "[persistable]") {
  iqdb::FlatIndex index(1, DistanceMetric::euclidean);
  index.insert(7, {1.5F});
  const auto direct = iqdb_test::written_by([&](Writer& writer) { index.save_to(writer); });
  const auto through =
      iqdb_test::written_by([&](Writer& writer) { iqdb::PersistTraits<iqdb::FlatIndex>::save_to(index, writer); });
  CHECK(direct == through);
  Reader reader(through);
  CHECK(iqdb::PersistTraits<iqdb::FlatIndex>::load_from(reader).contains(7));
}

TEST_CASE("persisted_size and its like: come from the traits of a type without such members", "[persistable]") {
  const Foreign index{.rows = 3};
  CHECK(iqdb::persisted_size(index) == 3);
  CHECK(iqdb::persisted_dim(index) == 5);
  CHECK(iqdb::persisted_metric(index) == DistanceMetric::dot_product);
}

TEST_CASE("persisted_size and its like: come from the members where the traits are silent", "[persistable]") {
  const HalfForeign index;
  CHECK(iqdb::persisted_size(index) == 100);
  CHECK(iqdb::persisted_dim(index) == 200);
  CHECK(iqdb::persisted_metric(index) == DistanceMetric::hamming);
}

TEST_CASE("persisted_size and its like: come from the traits where both speak", "[persistable]") {
  const Overruled index;
  CHECK(iqdb::persisted_size(index) == 11);
  CHECK(iqdb::persisted_dim(index) == 12);
  CHECK(iqdb::persisted_metric(index) == DistanceMetric::manhattan);
}

TEST_CASE("PersistTraits: a type that cannot be edited is saved and loaded through them", "[persistable]") {
  const auto bytes = iqdb_test::written_by(
      [](Writer& writer) { iqdb::PersistTraits<Foreign>::save_to(Foreign{.rows = 0x01020304}, writer); });
  CHECK(iqdb_test::hex(bytes) == "04 03 02 01");
  Reader reader(bytes);
  CHECK(iqdb::PersistTraits<Foreign>::load_from(reader).rows == 0x01020304);
}
