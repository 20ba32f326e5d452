#include "id_text.hpp"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>
#include <system_error>
#include <variant>

#include "iqdb/persist/error.hpp"
#include "iqdb/text.hpp"

namespace iqdb_tool {

namespace {

[[noreturn]] void refuse(std::string_view text, const std::string& why) {
  iqdb::throw_persist_error(
      iqdb::PersistErrorKind::invalid_config,
      "the identifier " + iqdb::printable(text) + " " + why +
          "; an identifier is a number from 0 to 18446744073709551615, or bytes, also in double quotes with \\xNN");
}

std::optional<unsigned> digit_of(char character) {
  constexpr std::string_view digits = "0123456789abcdef";
  const auto lower = static_cast<char>(character >= 'A' && character <= 'F' ? character - 'A' + 'a' : character);
  const std::size_t found = digits.find(lower);
  return found == std::string_view::npos ? std::nullopt : std::optional(static_cast<unsigned>(found));
}

std::string unquoted(std::string_view text) {
  const std::string_view inner = text.substr(1, text.size() - 2);
  std::string bytes;
  for (std::size_t at = 0; at < inner.size(); ++at) {
    if (inner[at] != '\\') {
      bytes += inner[at];
      continue;
    }
    const std::string_view escape = inner.substr(at, 4);
    const auto high = escape.size() == 4 && escape[1] == 'x' ? digit_of(escape[2]) : std::nullopt;
    const auto low = high ? digit_of(escape[3]) : std::nullopt;
    if (!high || !low) {
      refuse(text, "has a \\ that no xNN follows");
    }
    bytes += static_cast<char>(*high * 16 + *low);
    at += 3;
  }
  return bytes;
}

}  // namespace

iqdb::VectorId parse_id(std::string_view text) {
  if (text.empty()) {
    refuse(text, "is empty");
  }
  if (std::ranges::all_of(text, [](char each) { return each >= '0' && each <= '9'; })) {
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc()) {
      refuse(text, "is too large a number");
    }
    return number;
  }
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"') {
    return iqdb::VectorId::from_stored_bytes(unquoted(text));
  }
  return iqdb::VectorId::from_stored_bytes(std::string(text));
}

Json json_of_id(const iqdb::VectorId& id) {
  if (id.is_integer()) {
    return id.integer();
  }
  if (iqdb::is_utf8(id.bytes())) {
    return std::string(id.bytes());
  }
  constexpr std::string_view digits = "0123456789abcdef";
  std::string hex;
  for (const char character : id.bytes()) {
    const auto value = static_cast<unsigned char>(character);
    hex += digits[value >> 4U];
    hex += digits[value & 0xFU];
  }
  return {{"hex", hex}};
}

Json json_of_metadata(const std::optional<iqdb::Metadata>& metadata) {
  if (!metadata) {
    return nullptr;
  }
  Json entries = Json::object();
  for (const auto& entry : *metadata) {
    std::visit(
        [&]<class T>(const T& content) {
          if constexpr (std::same_as<T, iqdb::Null>) {
            entries[entry.first] = nullptr;
          } else {
            entries[entry.first] = content;
          }
        },
        entry.second);
  }
  return entries;
}

}  // namespace iqdb_tool
