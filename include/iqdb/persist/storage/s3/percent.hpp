// Percent-encoding as S3 wants it: strict in what is signed and sent, and exact in what a listing holds.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace s3 {

/// `text` in which every byte but A-Z a-z 0-9 - . _ ~ is %XX, with upper-case digits; and but the slash, if `keeps_slashes`.
/// A signature is computed over just this form, so any other one is refused by the store.
[[nodiscard]] inline std::string percent_encoded(std::string_view text, bool keeps_slashes) {
  constexpr std::string_view digits = "0123456789ABCDEF";
  std::string encoded;
  for (const char each : text) {
    const bool is_letter = (each >= 'A' && each <= 'Z') || (each >= 'a' && each <= 'z');
    const bool is_plain = is_letter || (each >= '0' && each <= '9') || each == '-' || each == '.' || each == '_' ||
                          each == '~' || (each == '/' && keeps_slashes);
    if (is_plain) {
      encoded += each;
    } else {
      const auto value = static_cast<unsigned char>(each);
      encoded += '%';
      encoded += digits[value >> 4U];
      encoded += digits[value & 0xFU];
    }
  }
  return encoded;
}

namespace detail {

// The value of a hexadecimal digit, or nothing.
[[nodiscard]] inline std::optional<unsigned> digit_value(char digit) {
  if (digit >= '0' && digit <= '9') {
    return static_cast<unsigned>(digit - '0');
  }
  if (digit >= 'A' && digit <= 'F') {
    return static_cast<unsigned>(digit - 'A') + 10U;
  }
  if (digit >= 'a' && digit <= 'f') {
    return static_cast<unsigned>(digit - 'a') + 10U;
  }
  return std::nullopt;
}

}  // namespace detail

/// What a key in a listing with encoding-type=url stands for, or nothing if it is malformed. A plus is a space there: AWS writes
/// it so, and a real plus as %2B.
[[nodiscard]] inline std::optional<std::string> percent_decoded(std::string_view text) {
  std::string decoded;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '+') {
      decoded += ' ';
    } else if (text[at] != '%') {
      decoded += text[at];
    } else {
      if (text.size() - at < 3) {
        return std::nullopt;
      }
      const auto upper = detail::digit_value(text[at + 1]);
      const auto lower = detail::digit_value(text[at + 2]);
      if (!upper || !lower) {
        return std::nullopt;
      }
      decoded += static_cast<char>(static_cast<unsigned char>(*upper * 16U + *lower));
      at += 2;
    }
  }
  return decoded;
}

}  // namespace s3
}  // namespace iqdb
