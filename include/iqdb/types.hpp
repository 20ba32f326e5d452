// The vocabulary of a vector index: metrics, identifiers, metadata, hits.
#pragma once

#include <compare>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iosfwd>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

#include "iqdb/index_error.hpp"
#include "iqdb/text.hpp"

namespace iqdb {

/// How the distance of two vectors is measured. The values are the tags of the file format. With every metric a smaller
/// distance is nearer; the formulas stand at `FlatIndex::search`.
enum class DistanceMetric : std::uint8_t { cosine = 0, dot_product = 1, euclidean = 2, manhattan = 3, hamming = 4 };

/// Whether `metric` is one of the five. A value that came from a cast may not be.
[[nodiscard]] constexpr bool is_valid(DistanceMetric metric) noexcept {
  return static_cast<std::uint8_t>(metric) <= static_cast<std::uint8_t>(DistanceMetric::hamming);
}

/// The metric's name as it is written in the source, e.g. "dot_product".
[[nodiscard]] constexpr std::string_view to_string(DistanceMetric metric) noexcept {
  switch (metric) {
    case DistanceMetric::cosine:
      return "cosine";
    case DistanceMetric::dot_product:
      return "dot_product";
    case DistanceMetric::euclidean:
      return "euclidean";
    case DistanceMetric::manhattan:
      return "manhattan";
    case DistanceMetric::hamming:
      return "hamming";
  }
  return "unknown";
}

/// Copies a variant, even when memory may run out. With libstdc++ the copy of a std::variant that holds a string has
/// undefined behaviour if the allocation fails: it assumes that such a variant always has a value, and destroys the
/// string that was not constructed. This function copies the string before it constructs a variant.
template <class... Ts>
[[nodiscard]] std::variant<Ts...> copied(const std::variant<Ts...>& value) {
  if (const auto* text = std::get_if<std::string>(&value)) {
    std::string copy = *text;
    return std::variant<Ts...>(std::in_place_type<std::string>, std::move(copy));
  }
  return value;
}

/// The identifier of a vector: an unsigned 64-bit integer or a non-empty string of bytes.
///
/// Integers and bytes never compare equal. All integers order before all bytes, integers by value and bytes
/// lexicographically. Hashable through `std::hash`.
class VectorId {
 public:
  /// An integer identifier. Throws IndexError invalid_config for a negative value.
  template <std::integral T>
    requires(!std::same_as<T, bool>)
  VectorId(T value) : value_(checked(value)) {}  // NOLINT(google-explicit-constructor): insert(1, …) is the point

  /// A byte-string identifier of any bytes. Throws IndexError invalid_config if `bytes` is empty.
  [[nodiscard]] static VectorId from_bytes(std::string_view bytes) {
    if (bytes.empty()) {
      throw IndexError(IndexErrorKind::invalid_config,
                       "a vector identifier of no bytes was given; give at least one byte, or an integer");
    }
    return VectorId(std::string(bytes));
  }

  /// Like from_bytes, but accepts the empty string: a file may hold one, so a decoder must be able to construct it.
  [[nodiscard]] static VectorId from_stored_bytes(std::string bytes) { return VectorId(std::move(bytes)); }

  VectorId(const VectorId& other) : value_(copied(other.value_)) {}
  VectorId& operator=(const VectorId& other) {
    if (this != &other) {
      value_ = copied(other.value_);
    }
    return *this;
  }
  VectorId(VectorId&&) noexcept = default;
  VectorId& operator=(VectorId&&) noexcept = default;
  ~VectorId() = default;

  /// Whether this is an integer; if not, it is a string of bytes.
  [[nodiscard]] bool is_integer() const noexcept { return std::holds_alternative<std::uint64_t>(value_); }

  /// The integer. Precondition: is_integer().
  [[nodiscard]] std::uint64_t integer() const noexcept { return *std::get_if<std::uint64_t>(&value_); }

  /// The bytes, valid while this object is unchanged. Precondition: !is_integer().
  [[nodiscard]] std::string_view bytes() const noexcept { return *std::get_if<std::string>(&value_); }

  friend bool operator==(const VectorId&, const VectorId&) = default;
  friend std::strong_ordering operator<=>(const VectorId&, const VectorId&) = default;

 private:
  using Content = std::variant<std::uint64_t, std::string>;

  explicit VectorId(std::string bytes) : value_(std::move(bytes)) {}

  template <std::integral T>
  static std::uint64_t checked(T value) {
    static_assert(sizeof(T) <= sizeof(std::uint64_t), "a vector identifier has 64 bits");
    if constexpr (std::is_signed_v<T>) {
      if (value < 0) {
        throw IndexError(IndexErrorKind::invalid_config,
                         "the vector identifier " + std::to_string(static_cast<std::int64_t>(value)) +
                             " is negative; identifiers are integers from 0 to 2^64-1, or bytes");
      }
    }
    return static_cast<std::uint64_t>(value);
  }

  Content value_;
};

/// The identifier as readable text: an integer in decimal, bytes as printable() shows them.
[[nodiscard]] inline std::string to_string(const VectorId& id) {
  return id.is_integer() ? std::to_string(id.integer()) : printable(id.bytes(), id.bytes().size());
}

/// Prints to_string(id); include <ostream> to use it.
template <class Traits>
std::basic_ostream<char, Traits>& operator<<(std::basic_ostream<char, Traits>& stream, const VectorId& id) {
  return stream << to_string(id);
}

/// The absence of a value, in metadata.
using Null = std::monostate;

/// One metadata value. Strings are UTF-8. A `std::uint64_t` or a `std::string_view` does not convert implicitly: use
/// `make_value`.
using Value = std::variant<std::string, std::int64_t, double, bool, Null>;

/// Metadata of a vector: values by key, in ascending byte order of the key. Keys are UTF-8.
using Metadata = std::map<std::string, Value, std::less<>>;

/// Copies metadata; its values are copied as above.
[[nodiscard]] inline std::optional<Metadata> copied(const std::optional<Metadata>& metadata) {
  std::optional<Metadata> copy;
  if (metadata) {
    copy.emplace();
    for (const auto& [key, value] : *metadata) {
      copy->emplace_hint(copy->end(), key, copied(value));
    }
  }
  return copy;
}

/// A Value of any number, text, bool or Null. Throws IndexError invalid_config for an integer above 2^63-1.
template <class T>
[[nodiscard]] Value make_value(T&& value) {
  using Plain = std::remove_cvref_t<T>;
  if constexpr (std::same_as<Plain, bool>) {
    return Value(std::in_place_type<bool>, value);
  } else if constexpr (std::integral<Plain>) {
    if constexpr (std::is_unsigned_v<Plain> && sizeof(Plain) >= sizeof(std::int64_t)) {
      if (value > static_cast<Plain>(std::numeric_limits<std::int64_t>::max())) {
        throw IndexError(IndexErrorKind::invalid_config,
                         "the metadata value " + std::to_string(value) +
                             " does not fit a signed 64-bit integer; store it as a string or a double");
      }
    }
    return Value(std::in_place_type<std::int64_t>, static_cast<std::int64_t>(value));
  } else if constexpr (std::floating_point<Plain>) {
    return Value(std::in_place_type<double>, static_cast<double>(value));
  } else if constexpr (std::same_as<Plain, Null> || std::same_as<Plain, std::nullptr_t>) {
    return Value(Null{});
  } else if constexpr (std::same_as<Plain, Value>) {
    return std::forward<T>(value);
  } else {
    static_assert(std::constructible_from<std::string, T>, "a metadata value is a number, a text, a bool or Null");
    return Value(std::in_place_type<std::string>, std::forward<T>(value));
  }
}

/// One result of a search. One that is made without values has the identifier 0, as an integer has.
struct Hit {
  VectorId id = 0;                   ///< the vector's identifier
  float distance = 0.0F;             ///< smaller is nearer, whatever the metric (a dot product is negated)
  std::optional<Metadata> metadata;  ///< the metadata stored with the vector
};

/// The parameters of a search.
struct SearchParams {
  std::size_t k = 10;                  ///< the most hits to return
  std::optional<std::size_t> ef = {};  ///< how widely an approximate index searches; exact indexes ignore it
};

}  // namespace iqdb

/// Hashes by value, so that identifiers can be keys of unordered containers.
template <>
struct std::hash<iqdb::VectorId> {
  [[nodiscard]] std::size_t operator()(const iqdb::VectorId& id) const noexcept {
    return id.is_integer() ? std::hash<std::uint64_t>{}(id.integer()) : std::hash<std::string_view>{}(id.bytes());
  }
};
