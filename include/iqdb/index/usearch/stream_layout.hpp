// The layout of usearch's stream: the sizes of its parts and the fields of its head. Nothing here trusts the stream.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <usearch/index_dense.hpp>
#include <utility>

#include "iqdb/index/usearch/config.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

// In earlier versions a search beside erased vectors reads memory outside usearch's own, or returns erased vectors.
static_assert(USEARCH_VERSION_MAJOR == 2 && USEARCH_VERSION_MINOR >= 21,
              "iqdb/index/usearch.hpp needs usearch 2.21 or a later version 2");

namespace iqdb::inline IQDB_PERSIST_ABI {

/// The parts of usearch's stream and the checks on them. usearch writes
///
///     rows 4 | bytes of a row 4 | the vectors | head 64 | graph header 40 | the level of each node, 2 each | the nodes
///     a node: key 8 | level 2 | links of level 0 | links of level 1 | …       links: how many 4 | nodes, 4 each
///
/// little-endian. Each level has room for the maximum number of links of a node in that level.
namespace usearch_stream {

static_assert(
    std::endian::native == std::endian::little,
    "the adapter to usearch is for little-endian processors: usearch writes memory as it lies, and its files would be "
    "read wrongly elsewhere. Use an index that writes its own format here, such as iqdb::FlatIndex");

/// The key of a node whose vector was erased.
inline constexpr std::uint64_t erased_key = std::numeric_limits<std::uint64_t>::max();

inline constexpr std::size_t matrix_size_bytes = 2 * sizeof(std::uint32_t);
inline constexpr std::size_t head_bytes = 64;
inline constexpr std::size_t graph_header_bytes = 5 * sizeof(std::uint64_t);
inline constexpr std::size_t level_bytes = sizeof(std::int16_t);
inline constexpr std::size_t node_head_bytes = sizeof(std::uint64_t) + level_bytes;
inline constexpr std::size_t link_bytes = sizeof(std::uint32_t);

/// The dimension, metric and settings that a stream must match.
struct Shape {
  std::size_t dim = 0;
  DistanceMetric metric = DistanceMetric::euclidean;
  UsearchScalar scalar = UsearchScalar::f32;
  std::size_t connectivity = 0;
  std::size_t connectivity_base = 0;

  /// The bytes of one vector.
  [[nodiscard]] std::size_t row_bytes() const noexcept {
    switch (scalar) {
      case UsearchScalar::f64:
        return dim * 8;
      case UsearchScalar::f32:
        return dim * 4;
      case UsearchScalar::f16:
      case UsearchScalar::bf16:
        return dim * 2;
      case UsearchScalar::i8:
        break;
    }
    return dim;
  }

  /// The most links of a node in `level`.
  [[nodiscard]] std::size_t most_links(std::size_t level) const noexcept {
    return level == 0 ? connectivity_base : connectivity;
  }

  /// The bytes of a node whose highest level is `level`.
  [[nodiscard]] std::size_t node_bytes(std::size_t level) const noexcept {
    return node_head_bytes + (1 + connectivity_base) * link_bytes + level * (1 + connectivity) * link_bytes;
  }
};

/// The number at `offset`.
template <class Number>
[[nodiscard]] Number number_at(std::span<const std::byte> bytes, std::size_t offset) noexcept {
  Number number{};
  std::memcpy(&number, bytes.data() + offset, sizeof number);
  return number;
}

/// The fields of the head.
struct Head {
  std::uint16_t version_major = 0;
  std::uint16_t version_minor = 0;
  std::uint16_t version_patch = 0;
  std::uint8_t metric = 0;
  std::uint8_t scalar = 0;
  std::uint8_t key = 0;
  std::uint8_t link = 0;
  std::uint64_t dim = 0;
  std::uint8_t multi = 0;

  [[nodiscard]] std::string version() const {
    return std::to_string(version_major) + "." + std::to_string(version_minor) + "." + std::to_string(version_patch);
  }
};

/// usearch's codes for number types: those that it writes, and those in a stream of a version before 2.10, which used
/// other codes.
struct ScalarCodes {
  std::uint8_t f32, f16, i8, bf16, f64, key, link;
};
inline constexpr std::uint16_t minor_version_of_codes = 10;
inline constexpr ScalarCodes codes_written{.f32 = static_cast<std::uint8_t>(unum::usearch::scalar_kind_t::f32_k),
                                           .f16 = static_cast<std::uint8_t>(unum::usearch::scalar_kind_t::f16_k),
                                           .i8 = static_cast<std::uint8_t>(unum::usearch::scalar_kind_t::i8_k),
                                           .bf16 = static_cast<std::uint8_t>(unum::usearch::scalar_kind_t::bf16_k),
                                           .f64 = static_cast<std::uint8_t>(unum::usearch::scalar_kind_t::f64_k),
                                           .key = static_cast<std::uint8_t>(unum::usearch::scalar_kind_t::u64_k),
                                           .link = static_cast<std::uint8_t>(unum::usearch::scalar_kind_t::u32_k)};
// Those versions had no bf16; 0 is no code of theirs.
inline constexpr ScalarCodes codes_converted{.f32 = 5, .f16 = 6, .i8 = 14, .bf16 = 0, .f64 = 4, .key = 8, .link = 9};

[[nodiscard]] inline const ScalarCodes& codes_of(const Head& head) noexcept {
  return head.version_minor < minor_version_of_codes ? codes_converted : codes_written;
}

/// What the number type with this code is called by usearch, with the code in brackets: "bf16 (code 4)".
[[nodiscard]] inline std::string name_of_scalar(const Head& head, std::uint8_t code) {
  auto scalar = static_cast<unum::usearch::scalar_kind_t>(code);
  if (head.version_minor < minor_version_of_codes) {
    scalar = unum::usearch::convert_pre_2_10_scalar_kind(scalar);
  }
  const std::string_view name = unum::usearch::scalar_kind_name(scalar);
  return (name.empty() ? "of an unknown name" : std::string(name)) + " (code " + std::to_string(code) + ")";
}

/// What the metric of a head is called by usearch, with its code in brackets: "hamming (code 98)".
[[nodiscard]] inline std::string name_of_metric(const Head& head) {
  const std::string_view name = unum::usearch::metric_kind_name(static_cast<unum::usearch::metric_kind_t>(head.metric));
  return (name.empty() ? "of an unknown name" : std::string(name)) + " (code " + std::to_string(head.metric) + ")";
}

/// Parses a head. Throws PersistError invalid_payload for bytes that are not a head, for a major version other than 2,
/// and for types of keys and links other than those of index_dense_t.
[[nodiscard]] inline Head parse_head(std::span<const std::byte> bytes, const Reader& reader) {
  constexpr std::string_view magic = "usearch";
  if (std::memcmp(bytes.data(), magic.data(), magic.size()) != 0) {
    reader.fail(PersistErrorKind::invalid_payload,
                "usearch's head does not stand behind the vectors: the stream is damaged, was written without vectors "
                "or with 64-bit dimensions, or is none of usearch's");
  }
  const Head head{.version_major = number_at<std::uint16_t>(bytes, 7),
                  .version_minor = number_at<std::uint16_t>(bytes, 9),
                  .version_patch = number_at<std::uint16_t>(bytes, 11),
                  .metric = number_at<std::uint8_t>(bytes, 13),
                  .scalar = number_at<std::uint8_t>(bytes, 14),
                  .key = number_at<std::uint8_t>(bytes, 15),
                  .link = number_at<std::uint8_t>(bytes, 16),
                  .dim = number_at<std::uint64_t>(bytes, 33),
                  .multi = number_at<std::uint8_t>(bytes, 41)};
  if (head.version_major != USEARCH_VERSION_MAJOR) {
    reader.fail(PersistErrorKind::invalid_payload,
                "usearch " + head.version() + " wrote it, which usearch " + std::to_string(USEARCH_VERSION_MAJOR) +
                    "." + std::to_string(USEARCH_VERSION_MINOR) + "." + std::to_string(USEARCH_VERSION_PATCH) +
                    " does not read; build with that version, or the stream is damaged");
  }
  const ScalarCodes& codes = codes_of(head);
  if (head.key != codes.key || head.link != codes.link) {
    reader.fail(PersistErrorKind::invalid_payload, "usearch's keys have the type " + name_of_scalar(head, head.key) +
                                                       " and its links the type " + name_of_scalar(head, head.link) +
                                                       "; expected u64 and u32, as index_dense_t has them");
  }
  if (head.multi != 0) {
    reader.fail(PersistErrorKind::invalid_payload,
                "the usearch index may hold several vectors of one key, which cannot be taken over");
  }
  return head;
}

/// The metric that a head states, or nothing if an index cannot have it.
[[nodiscard]] inline std::optional<DistanceMetric> metric_of(const Head& head) noexcept {
  switch (head.metric) {
    case 'c':
      return DistanceMetric::cosine;
    case 'i':
      return DistanceMetric::dot_product;
    case 'e':
      return DistanceMetric::euclidean;
    default:
      return std::nullopt;
  }
}

/// The scalars, each with its place among usearch's codes.
inline constexpr std::array<std::pair<UsearchScalar, std::uint8_t ScalarCodes::*>, 5> scalars{
    {{UsearchScalar::f32, &ScalarCodes::f32},
     {UsearchScalar::f16, &ScalarCodes::f16},
     {UsearchScalar::i8, &ScalarCodes::i8},
     {UsearchScalar::bf16, &ScalarCodes::bf16},
     {UsearchScalar::f64, &ScalarCodes::f64}}};

/// usearch's code for a scalar.
[[nodiscard]] constexpr std::uint8_t code_of(UsearchScalar scalar) noexcept {
  return codes_written.*(std::ranges::find(scalars, scalar, [](const auto& each) { return each.first; })->second);
}

/// The scalar that a head states, or nothing if an index cannot have it.
[[nodiscard]] inline std::optional<UsearchScalar> scalar_of(const Head& head) noexcept {
  for (const auto& [scalar, code] : scalars) {
    if (head.scalar != 0 && head.scalar == codes_of(head).*code) {
      return scalar;
    }
  }
  return std::nullopt;
}

}  // namespace usearch_stream

}  // namespace iqdb::inline IQDB_PERSIST_ABI
