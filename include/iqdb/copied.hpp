// Copies of a variant that holds a string.
#pragma once

#include <string>
#include <utility>
#include <variant>

#include "iqdb/persist/requirements.hpp"

namespace iqdb {

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

}  // namespace iqdb
