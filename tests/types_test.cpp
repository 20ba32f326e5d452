#include "iqdb/types.hpp"

#include <concepts>
#include <cstdint>
#include <limits>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_set>
#include <vector>

#include "support/catch.hpp"
#include "support/expect_error.hpp"

namespace {

using namespace std::string_literals;
using namespace std::string_view_literals;
using iqdb::DistanceMetric;
using iqdb::IndexErrorKind;
using iqdb::make_value;
using iqdb::Metadata;
using iqdb::Null;
using iqdb::Value;
using iqdb::VectorId;
using iqdb_test::require_kind;

template <class... T>
constexpr bool all_make_ids = (std::convertible_to<T, VectorId> && ...);
static_assert(all_make_ids<char, signed char, unsigned char, short, unsigned short, int, unsigned, long, unsigned long,
                           long long, unsigned long long, char8_t, char16_t, char32_t, wchar_t, std::size_t>);

// What is no number of a vector: a condition, a fraction, a text of which the bytes could be meant or the digits.
static_assert(!std::constructible_from<VectorId, bool>);
static_assert(!std::constructible_from<VectorId, const bool&>);
static_assert(!std::constructible_from<VectorId, float>);
static_assert(!std::constructible_from<VectorId, double>);
static_assert(!std::constructible_from<VectorId, const char*>);
static_assert(!std::constructible_from<VectorId, std::string>);
static_assert(!std::constructible_from<VectorId, std::string_view>);
static_assert(!std::default_initializable<VectorId>);

// What would lose bits or choose an unforeseen alternative does not convert to a metadata value by itself.
static_assert(!std::convertible_to<std::uint64_t, Value>);
static_assert(!std::convertible_to<std::string_view, Value>);
static_assert(!std::convertible_to<void*, Value>);
static_assert(std::convertible_to<const char*, Value>);
static_assert(std::convertible_to<std::string, Value>);
static_assert(std::convertible_to<int, Value>);
static_assert(std::convertible_to<std::uint32_t, Value>);
static_assert(std::convertible_to<std::int64_t, Value>);
static_assert(std::convertible_to<float, Value>);
static_assert(std::convertible_to<double, Value>);
static_assert(std::convertible_to<bool, Value>);
static_assert(std::convertible_to<Null, Value>);

}  // namespace

TEST_CASE("DistanceMetric: its values are the tags of the file format", "[types]") {
  CHECK(static_cast<int>(DistanceMetric::cosine) == 0);
  CHECK(static_cast<int>(DistanceMetric::dot_product) == 1);
  CHECK(static_cast<int>(DistanceMetric::euclidean) == 2);
  CHECK(static_cast<int>(DistanceMetric::manhattan) == 3);
  CHECK(static_cast<int>(DistanceMetric::hamming) == 4);
  static_assert(sizeof(DistanceMetric) == 1);
}

TEST_CASE("DistanceMetric: exactly five of all byte values are metrics", "[types]") {
  for (unsigned tag = 0; tag <= 255; ++tag) {
    CAPTURE(tag);
    CHECK(is_valid(static_cast<DistanceMetric>(tag)) == (tag < 5));
  }
}

TEST_CASE("DistanceMetric: to_string gives the name in the source and unknown for what is none", "[types]") {
  CHECK(to_string(DistanceMetric::cosine) == "cosine");
  CHECK(to_string(DistanceMetric::dot_product) == "dot_product");
  CHECK(to_string(DistanceMetric::euclidean) == "euclidean");
  CHECK(to_string(DistanceMetric::manhattan) == "manhattan");
  CHECK(to_string(DistanceMetric::hamming) == "hamming");
  CHECK(to_string(static_cast<DistanceMetric>(5)) == "unknown");
}

TEMPLATE_TEST_CASE("VectorId: the smallest and the greatest of each integral type keep their value", "[types]", char,
                   signed char, unsigned char, short, unsigned short, int, unsigned, long, unsigned long, long long,
                   unsigned long long, char8_t, char16_t, char32_t, wchar_t) {
  const VectorId zero(TestType{0});
  const VectorId greatest(std::numeric_limits<TestType>::max());
  CHECK(zero.is_integer());
  CHECK(zero.integer() == 0);
  CHECK(greatest.is_integer());
  CHECK(greatest.integer() == static_cast<std::uint64_t>(std::numeric_limits<TestType>::max()));
}

TEMPLATE_TEST_CASE("VectorId: a negative integer is refused", "[types]", signed char, short, int, long, long long) {
  require_kind(IndexErrorKind::invalid_config, [] { return VectorId(TestType{-1}); });
  const auto error =
      require_kind(IndexErrorKind::invalid_config, [] { return VectorId(std::numeric_limits<TestType>::min()); });
  CHECK(iqdb_test::mentions(error, std::to_string(std::numeric_limits<TestType>::min())));
}

TEST_CASE("VectorId: from_bytes keeps any bytes", "[types]") {
  const auto all = "a\0b\xFF"s;
  const VectorId id = VectorId::from_bytes(all);
  CHECK_FALSE(id.is_integer());
  CHECK(id.bytes() == all);
}

TEST_CASE("VectorId: from_bytes refuses no bytes", "[types]") {
  require_kind(IndexErrorKind::invalid_config, [] { return VectorId::from_bytes(""); });
}

TEST_CASE("VectorId: from_stored_bytes takes no bytes too since a file may hold such", "[types]") {
  CHECK(VectorId::from_stored_bytes("").bytes().empty());
  CHECK(VectorId::from_stored_bytes("x") == VectorId::from_bytes("x"));
}

TEST_CASE("VectorId: an integer never equals bytes", "[types]") {
  CHECK(VectorId(1) == VectorId(std::uint64_t{1}));
  CHECK(VectorId(1) != VectorId(2));
  CHECK(VectorId(49) != VectorId::from_bytes("1"));
  CHECK(VectorId(49) != VectorId::from_bytes("49"));
  CHECK(VectorId::from_bytes("a") != VectorId::from_bytes("a\0"sv));
}

TEST_CASE("VectorId: integers order by value and before all bytes which order as unsigned", "[types]") {
  const std::vector<VectorId> ascending = {VectorId(0),
                                           VectorId(2),
                                           VectorId(10),
                                           VectorId(~std::uint64_t{0}),
                                           VectorId::from_stored_bytes(""),
                                           VectorId::from_bytes("\0"sv),
                                           VectorId::from_bytes("10"),
                                           VectorId::from_bytes("2"),
                                           VectorId::from_bytes("2\0"sv),
                                           VectorId::from_bytes("\x7F"),
                                           VectorId::from_bytes("\x80")};
  for (std::size_t a = 0; a < ascending.size(); ++a) {
    for (std::size_t b = 0; b < ascending.size(); ++b) {
      CAPTURE(a, b);
      CHECK((ascending[a] <=> ascending[b]) == (a <=> b));
      CHECK((ascending[a] == ascending[b]) == (a == b));
    }
  }
}

TEST_CASE("VectorId: equal ones hash alike however they were made", "[types]") {
  const std::hash<VectorId> hash;
  CHECK(hash(VectorId(7)) == hash(VectorId(std::uint8_t{7})));
  CHECK(hash(VectorId::from_bytes("seven")) == hash(VectorId::from_stored_bytes("seven")));
}

TEST_CASE("VectorId: hashes tell different ones apart", "[types]") {
  const std::hash<VectorId> hash;
  std::set<std::size_t> hashes;
  for (int number = 0; number < 1000; ++number) {
    hashes.insert(hash(VectorId(number)));
    hashes.insert(hash(VectorId::from_bytes(std::to_string(number))));
  }
  CHECK(hashes.size() > 1990);
}

TEST_CASE("VectorId: is a key of ordered and unordered containers", "[types]") {
  const std::unordered_set<VectorId> unordered = {1, 2, VectorId::from_bytes("1"), 1};
  const std::set<VectorId> ordered = {1, 2, VectorId::from_bytes("1"), 1};
  CHECK(unordered.size() == 3);
  CHECK(ordered.size() == 3);
  CHECK(unordered.contains(VectorId::from_bytes("1")));
  CHECK(ordered.contains(2));
}

TEST_CASE("VectorId: prints integers in decimal and bytes in quotes with escapes", "[types]") {
  const auto printed = [](const VectorId& id) {
    std::ostringstream stream;
    stream << id;
    CHECK(stream.str() == to_string(id));
    return stream.str();
  };
  CHECK(printed(0) == "0");
  CHECK(printed(~std::uint64_t{0}) == "18446744073709551615");
  CHECK(printed(VectorId::from_bytes("doc 7")) == "\"doc 7\"");
  CHECK(printed(VectorId::from_bytes("7")) == "\"7\"");
  CHECK(printed(VectorId::from_bytes("a\0\"\xFF"sv)) == "\"a\\x00\\x22\\xff\"");
}

TEST_CASE("VectorId: prints all of long bytes", "[types]") {
  const std::string text(1000, 'x');
  CHECK(to_string(VectorId::from_bytes(text)) == '"' + text + '"');
}

TEST_CASE("make_value: numbers keep their value in the alternative of their sort", "[types]") {
  CHECK(make_value(5) == Value(std::int64_t{5}));
  CHECK(make_value(std::uint8_t{255}) == Value(std::int64_t{255}));
  CHECK(make_value(std::uint32_t{4294967295}) == Value(std::int64_t{4294967295}));
  CHECK(make_value(std::numeric_limits<std::int64_t>::min()) == Value(std::numeric_limits<std::int64_t>::min()));
  CHECK(make_value(1.5F) == Value(1.5));
  CHECK(make_value(2.5) == Value(2.5));
}

TEST_CASE("make_value: an unsigned integer up to the greatest signed one is taken and a greater one refused",
          "[types]") {
  constexpr auto greatest = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  CHECK(make_value(greatest) == Value(std::numeric_limits<std::int64_t>::max()));
  require_kind(IndexErrorKind::invalid_config, [] { return make_value(greatest + 1); });
  require_kind(IndexErrorKind::invalid_config, [] { return make_value(~std::uint64_t{0}); });
}

TEST_CASE("make_value: any text becomes a string of all its characters", "[types]") {
  CHECK(make_value("literal") == Value("literal"s));
  CHECK(make_value("a\0b"sv) == Value("a\0b"s));
  CHECK(make_value("string"s) == Value("string"s));
  const std::string named = "named";
  CHECK(make_value(named) == Value("named"s));
  CHECK(named == "named");
}

TEST_CASE("make_value: a bool stays a bool and Null stays Null", "[types]") {
  CHECK(std::holds_alternative<bool>(make_value(true)));
  CHECK(make_value(true) == Value(true));
  CHECK(make_value(false) == Value(false));
  CHECK(std::holds_alternative<Null>(make_value(Null{})));
  CHECK(std::holds_alternative<Null>(make_value(nullptr)));
}

TEST_CASE("make_value: passes a Value through", "[types]") {
  const Value value = "text"s;
  CHECK(make_value(value) == value);
  CHECK(make_value(Value(3.5)) == Value(3.5));
}

TEST_CASE("Value: a literal text is a string and not a bool", "[types]") {
  const Value value = "text";
  CHECK(std::holds_alternative<std::string>(value));
}

TEST_CASE("Metadata: is found by a string_view and orders keys by their bytes", "[types]") {
  const Metadata metadata = {{"\xC3\xA9", 1}, {"z", 2}, {"", 3}, {"a", 4}};
  CHECK(metadata.find("z"sv)->second == Value(2));
  std::vector<std::string> keys;
  for (const auto& [key, value] : metadata) {
    keys.push_back(key);
  }
  CHECK(keys == std::vector<std::string>{"", "a", "z", "\xC3\xA9"});
}

TEST_CASE("SearchParams: asks for ten hits unless told otherwise", "[types]") {
  CHECK(iqdb::SearchParams{}.k == 10);
  CHECK_FALSE(iqdb::SearchParams{}.ef.has_value());
}

TEST_CASE("Hit: can be made without values, as for a container that is filled later", "[types]") {
  static_assert(std::default_initializable<iqdb::Hit>);
  const std::vector<iqdb::Hit> hits(2);
  CHECK(hits.at(1).id == VectorId(0));
  CHECK(hits.at(1).distance == 0.0F);
  CHECK_FALSE(hits.at(1).metadata.has_value());
}
