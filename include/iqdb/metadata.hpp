// Metadata: values by key that are stored with a vector.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#include "iqdb/copied.hpp"
#include "iqdb/index_error.hpp"

namespace iqdb {

/// The absence of a value, in metadata.
using Null = std::monostate;

/// One metadata value. Strings are UTF-8. A `std::uint64_t` or a `std::string_view` does not convert implicitly: use
/// `make_value`.
using Value = std::variant<std::string, std::int64_t, double, bool, Null>;

/// Metadata of a vector: values by key, in ascending byte order of the key. Keys are UTF-8.
using Metadata = std::map<std::string, Value, std::less<>>;

/// Copies metadata; its values are copied as above. A NaN keeps its bits, which a copy as a number may change on 32-bit x86.
[[nodiscard]] inline std::optional<Metadata> copied(const std::optional<Metadata>& metadata) {
  std::optional<Metadata> copy;
  if (metadata) {
    copy.emplace();
    for (const auto& [key, value] : *metadata) {
      Value& made = copy->emplace_hint(copy->end(), key, copied(value))->second;
      if (const auto* number = std::get_if<double>(&value)) {
        std::memcpy(std::get_if<double>(&made), number, sizeof(double));
      }
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

}  // namespace iqdb
