// VectorId: the identifier of a vector.
#pragma once

#include <compare>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iosfwd>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

#include "iqdb/copied.hpp"
#include "iqdb/index_error.hpp"
#include "iqdb/text.hpp"

namespace iqdb {

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

/// Prints to_string(id); include `<ostream>` to use it.
template <class Traits>
std::basic_ostream<char, Traits>& operator<<(std::basic_ostream<char, Traits>& stream, const VectorId& id) {
  return stream << to_string(id);
}

}  // namespace iqdb

/// Hashes by value, so that identifiers can be keys of unordered containers.
template <>
struct std::hash<iqdb::VectorId> {
  [[nodiscard]] std::size_t operator()(const iqdb::VectorId& id) const noexcept {
    return id.is_integer() ? std::hash<std::uint64_t>{}(id.integer()) : std::hash<std::string_view>{}(id.bytes());
  }
};
