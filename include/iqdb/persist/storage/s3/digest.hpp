// SHA-256 and HMAC-SHA-256, as the signatures of S3 need them, from OpenSSL's libcrypto.
//
// Why libcrypto: libcurl, which the store needs anyway, is built with it on most systems; it uses the processor's instructions for
// SHA-256, and the hash of each object that is put lies on the way of an insertion.
#pragma once

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace s3 {

/// The 32 bytes of a SHA-256.
using Digest = std::array<std::byte, 32>;

/// The SHA-256 of `bytes`. Throws PersistError unsupported if libcrypto has none. Any thread may call it.
[[nodiscard]] inline Digest sha256(std::span<const std::byte> bytes) {
  Digest digest{};
  unsigned size = 0;
  if (EVP_Digest(bytes.data(), bytes.size(), reinterpret_cast<unsigned char*>(digest.data()), &size, EVP_sha256(),
                 nullptr) != 1 ||
      size != digest.size()) {
    throw_persist_error(PersistErrorKind::unsupported,
                        "cannot compute the SHA-256 of a request: OpenSSL's libcrypto refuses; see its configuration");
  }
  return digest;
}

/// The HMAC-SHA-256 of `text` under `key`. Throws PersistError unsupported if libcrypto has none. Any thread may call it.
[[nodiscard]] inline Digest hmac_sha256(std::span<const std::byte> key, std::string_view text) {
  Digest digest{};
  unsigned size = 0;
  if (HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), reinterpret_cast<const unsigned char*>(text.data()),
           text.size(), reinterpret_cast<unsigned char*>(digest.data()), &size) == nullptr ||
      size != digest.size()) {
    throw_persist_error(PersistErrorKind::unsupported,
                        "cannot sign a request: OpenSSL's libcrypto refuses HMAC-SHA-256; see its configuration");
  }
  return digest;
}

/// A digest in lower-case hexadecimal digits.
[[nodiscard]] inline std::string hex(const Digest& digest) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string text;
  for (const std::byte each : digest) {
    text += digits[std::to_integer<unsigned>(each) >> 4U];
    text += digits[std::to_integer<unsigned>(each) & 0xFU];
  }
  return text;
}

}  // namespace s3
}  // namespace iqdb
