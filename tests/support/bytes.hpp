// Bytes written out by hand: what a format is expected to look like, without the code that is tested.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace iqdb_test {

/// So many bytes, of which neighbours and places far apart differ.
[[nodiscard]] inline std::vector<std::byte> numbered_bytes(std::size_t count) {
  std::vector<std::byte> bytes(count);
  for (std::size_t at = 0; at < count; ++at) {
    bytes[at] = static_cast<std::byte>(at * 7 + at / 251);
  }
  return bytes;
}

/// Bytes put one behind the other: Bytes().u8(1).u64(2).text("flat").
class Bytes {
 public:
  Bytes& u8(unsigned value) { return little_endian(value, 1); }
  Bytes& u32(std::uint32_t value) { return little_endian(value, 4); }
  Bytes& u64(std::uint64_t value) { return little_endian(value, 8); }
  Bytes& i64(std::int64_t value) { return u64(static_cast<std::uint64_t>(value)); }
  Bytes& f32(float value) { return u32(std::bit_cast<std::uint32_t>(value)); }
  Bytes& f64(double value) { return u64(std::bit_cast<std::uint64_t>(value)); }

  Bytes& raw(std::initializer_list<unsigned> values) {
    for (const unsigned value : values) {
      u8(value);
    }
    return *this;
  }

  Bytes& text(std::string_view characters) {
    for (const char character : characters) {
      u8(static_cast<unsigned char>(character));
    }
    return *this;
  }

  Bytes& append(std::span<const std::byte> more) {
    bytes_.insert(bytes_.end(), more.begin(), more.end());
    return *this;
  }

  [[nodiscard]] const std::vector<std::byte>& get() const noexcept { return bytes_; }
  operator std::vector<std::byte>() const { return bytes_; }      // NOLINT(google-explicit-constructor)
  operator std::span<const std::byte>() const { return bytes_; }  // NOLINT(google-explicit-constructor)

 private:
  Bytes& little_endian(std::uint64_t value, int count) {
    for (int at = 0; at < count; ++at) {
      bytes_.push_back(static_cast<std::byte>(value & 0xFFU));
      value >>= 8U;
    }
    return *this;
  }

  std::vector<std::byte> bytes_;
};

/// The bytes as text like "01 ff", so that a failed comparison can be read.
[[nodiscard]] inline std::string hex(std::span<const std::byte> bytes) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string out;
  for (const std::byte each : bytes) {
    const auto value = std::to_integer<unsigned>(each);
    if (!out.empty()) {
      out += ' ';
    }
    out += digits[value >> 4U];
    out += digits[value & 0xFU];
  }
  return out;
}

/// The characters of a text as bytes, to be shared.
[[nodiscard]] inline std::shared_ptr<const std::vector<std::byte>> shared(std::string_view text) {
  return std::make_shared<const std::vector<std::byte>>(Bytes().text(text).get());
}

/// Bytes as the text that they are.
[[nodiscard]] inline std::string text_of(std::span<const std::byte> bytes) {
  std::string text;
  for (const std::byte each : bytes) {
    text += static_cast<char>(each);
  }
  return text;
}

}  // namespace iqdb_test
