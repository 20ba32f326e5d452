// Text for messages and formats: checks UTF-8, and makes arbitrary bytes printable.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "iqdb/persist/requirements.hpp"

namespace iqdb {

/// Whether `text` is well-formed UTF-8: no overlong form, no surrogate, nothing above U+10FFFF
/// (The Unicode Standard, table 3-7).
[[nodiscard]] constexpr bool is_utf8(std::string_view text) noexcept {
  const auto byte_at = [text](std::size_t at) { return static_cast<unsigned char>(text[at]); };
  for (std::size_t at = 0; at < text.size();) {
    const unsigned char lead = byte_at(at++);
    if (lead < 0x80) {
      continue;
    }
    std::size_t continuation_bytes = 0;
    // The first continuation byte has a narrower range behind some lead bytes; all later ones have the full one.
    unsigned char lowest = 0x80;
    unsigned char highest = 0xBF;
    if (lead >= 0xC2 && lead <= 0xDF) {
      continuation_bytes = 1;
    } else if (lead >= 0xE0 && lead <= 0xEF) {
      continuation_bytes = 2;
      lowest = lead == 0xE0 ? 0xA0 : lowest;
      highest = lead == 0xED ? 0x9F : highest;
    } else if (lead >= 0xF0 && lead <= 0xF4) {
      continuation_bytes = 3;
      lowest = lead == 0xF0 ? 0x90 : lowest;
      highest = lead == 0xF4 ? 0x8F : highest;
    } else {
      return false;
    }
    for (; continuation_bytes > 0; --continuation_bytes) {
      if (at == text.size() || byte_at(at) < lowest || byte_at(at) > highest) {
        return false;
      }
      ++at;
      lowest = 0x80;
      highest = 0xBF;
    }
  }
  return true;
}

/// `bytes` in double quotes, for messages. Bytes that are not printable ASCII, quotes and backslashes become `\xNN`. What
/// follows the first `most` bytes becomes an ellipsis.
[[nodiscard]] inline std::string printable(std::string_view bytes, std::size_t most = 64) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string out = "\"";
  for (const char character : bytes.substr(0, most)) {
    const auto value = static_cast<unsigned char>(character);
    if (value >= 0x20 && value < 0x7F && character != '"' && character != '\\') {
      out += character;
    } else {
      out += "\\x";
      out += digits[value >> 4U];
      out += digits[value & 0xFU];
    }
  }
  out += bytes.size() > most ? "\"…" : "\"";
  return out;
}

/// `value` as 0x and eight hexadecimal digits: the form in which messages show checksums.
[[nodiscard]] inline std::string hexadecimal(std::uint32_t value) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string out = "0x00000000";
  for (std::size_t at = out.size(); value != 0; value >>= 4U) {
    out[--at] = digits[value & 0xFU];
  }
  return out;
}

}  // namespace iqdb
