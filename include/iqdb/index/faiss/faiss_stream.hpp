// faiss' stream: the tags and headers of its indexes and the vectors in them, each checked as it is read.
#pragma once

#include <faiss/Index.h>
#include <faiss/IndexFlat.h>
#include <faiss/impl/FaissException.h>
#include <faiss/impl/io.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/index.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// What faiss' indexes are made of, how they stand in faiss' stream, and what must hold in one that was read.
namespace faiss_parts {

static_assert(std::endian::native == std::endian::little, "faiss writes its memory as it lies");

/// faiss' numbers of vectors; -1 is none.
using Id = std::int64_t;

inline constexpr std::size_t most_dim = std::size_t{1} << 24U;
inline constexpr std::size_t most_vectors = std::numeric_limits<std::int32_t>::max();
inline constexpr std::size_t most_links = 1024;
inline constexpr std::size_t most_candidates = 65536;
inline constexpr std::size_t most_levels = 64;

/// Calls into faiss; its exceptions become IndexError.
template <class Call>
decltype(auto) guarded(Call&& call) {
  try {
    return std::forward<Call>(call)();
  } catch (const ::faiss::FaissException& error) {
    throw IndexError(IndexErrorKind::resource_limit, std::string("faiss refuses: ") + error.what());
  }
}

/// Fails with IndexError invalid_config for a setting out of its range.
inline void check_range(std::size_t value, std::size_t least, std::size_t most, std::string_view name) {
  if (value < least || value > most) {
    throw IndexError(IndexErrorKind::invalid_config, "the " + std::string(name) + " is " + std::to_string(value) +
                                                         "; a faiss index takes " + std::to_string(least) + " to " +
                                                         std::to_string(most));
  }
}

/// faiss' metric for one of ours: for the cosine, which it does not have, the product of directions. Throws IndexError
/// invalid_metric for a metric that it has not.
[[nodiscard]] inline ::faiss::MetricType metric_for(DistanceMetric metric) {
  switch (metric) {
    case DistanceMetric::euclidean:
      return ::faiss::METRIC_L2;
    case DistanceMetric::dot_product:
    case DistanceMetric::cosine:
      return ::faiss::METRIC_INNER_PRODUCT;
    case DistanceMetric::manhattan:
    case DistanceMetric::hamming:
      break;
  }
  throw IndexError(IndexErrorKind::invalid_metric,
                   "an index with the metric " + std::string(to_string(metric)) +
                       " was asked for; of faiss' there are euclidean, dot_product and cosine");
}

/// A metric of faiss' in words.
[[nodiscard]] inline std::string name_of(::faiss::MetricType metric) {
  return metric == ::faiss::METRIC_L2 ? "L2" : metric == ::faiss::METRIC_INNER_PRODUCT ? "inner product" : "another";
}

/// A vector that lies among the codes of a flat index or a list. They begin where memory of `operator new` does and are
/// whole vectors of floats.
[[nodiscard]] inline std::span<const float> vector_at(const std::vector<std::uint8_t>& codes, std::size_t number,
                                                      std::size_t dim) {
  return {reinterpret_cast<const float*>(codes.data()) + number * dim, dim};
}

// ---- faiss' stream --------------------------------------------------------------------------------------------------

/// What stands at the beginning of an index in the stream: four letters, the first one lowest.
[[nodiscard]] constexpr std::uint32_t tag(const char (&letters)[5]) {  // NOLINT(*-c-arrays)
  std::uint32_t number = 0;
  for (std::uint32_t at = 0; at < 4; ++at) {
    number |= std::uint32_t{static_cast<unsigned char>(letters[at])} << 8U * at;
  }
  return number;
}

inline constexpr std::uint32_t flat_l2_tag = tag("IxF2");
inline constexpr std::uint32_t flat_ip_tag = tag("IxFI");
inline constexpr std::uint32_t flat_tag = tag("IxFl");
inline constexpr std::uint32_t hnsw_tag = tag("IHNf");
inline constexpr std::uint32_t ivf_tag = tag("IwFl");
inline constexpr std::uint32_t map_tag = tag("IxMp");
inline constexpr std::uint32_t two_way_map_tag = tag("IxM2");
inline constexpr std::uint32_t lists_tag = tag("ilar");
inline constexpr std::uint32_t all_lists_tag = tag("full");
inline constexpr std::uint32_t some_lists_tag = tag("sprs");

/// A tag as its letters.
[[nodiscard]] inline std::string letters_of(std::uint32_t number) {
  std::string letters;
  for (int at = 0; at < 4; ++at, number >>= 8U) {
    const auto letter = static_cast<char>(number & 0xFFU);
    letters += letter > ' ' && letter <= '~' ? letter : '?';
  }
  return letters;
}

/// faiss writes an index through this to where a payload or a file is written.
class WriterAdapter final : public ::faiss::IOWriter {
 public:
  explicit WriterAdapter(Writer& writer) : writer_(&writer) {}

  std::size_t operator()(const void* data, std::size_t size, std::size_t items) override {
    if (size != 0 && items > std::numeric_limits<std::size_t>::max() / size) {
      return 0;  // faiss throws
    }
    writer_->write({static_cast<const std::byte*>(data), size * items});
    return items;
  }

 private:
  Writer* writer_;
};

[[noreturn, gnu::cold, gnu::noinline]] inline void fail(const Reader& reader, const std::string& found) {
  reader.fail(PersistErrorKind::invalid_payload, "the faiss index cannot be taken over: " + found);
}

[[noreturn, gnu::cold, gnu::noinline]] inline void fail_unsupported(const Reader& reader, std::uint32_t found,
                                                                    std::string_view where) {
  fail(reader, std::string(where) + " is of the type \"" + letters_of(found) +
                   "\", which is not supported; supported are flat (IxF2, IxFI, IxFl), HNSW over flat (IHNf), IVF of "
                   "flat vectors with a flat quantizer (IwFl), and one id map around these (IxMp, IxM2); build the "
                   "index anew as one of them");
}

/// What every index in the stream has behind its tag.
struct Header {
  std::size_t dim = 0;
  std::size_t vectors = 0;
  ::faiss::MetricType metric = ::faiss::METRIC_L2;

  friend bool operator==(const Header&, const Header&) = default;
};

/// The header of an index, which must be trained.
[[nodiscard]] inline Header read_head(Reader& reader) {
  const auto dim = reader.read_le<std::int32_t>();
  const auto vectors = reader.read_le<std::int64_t>();
  for (int unused = 0; unused < 2; ++unused) {
    std::ignore = reader.read_le<std::int64_t>();  // of a use that faiss has forgotten
  }
  const auto trained = reader.read_le<std::uint8_t>();
  const auto metric = reader.read_le<std::int32_t>();
  if (dim < 1 || static_cast<std::size_t>(dim) > most_dim) {
    fail(reader,
         "its dimension is stated to be " + std::to_string(dim) + "; expected 1 to " + std::to_string(most_dim));
  }
  if (vectors < 0 || static_cast<std::uint64_t>(vectors) > most_vectors) {
    fail(reader,
         "it is stated to hold " + std::to_string(vectors) + " vectors; expected 0 to " + std::to_string(most_vectors));
  }
  if (trained > 1) {
    fail(reader, "whether it is trained is stated as " + std::to_string(trained) + "; expected 0 or 1");
  }
  if (trained == 0) {
    fail(reader, "it is not trained; train it before it is saved (index.train(n, vectors))");
  }
  if (metric != ::faiss::METRIC_L2 && metric != ::faiss::METRIC_INNER_PRODUCT) {
    fail(reader,
         "its metric is stated to be number " + std::to_string(metric) + "; expected 0 (inner product) or 1 (L2)");
  }
  return {.dim = static_cast<std::size_t>(dim),
          .vectors = static_cast<std::size_t>(vectors),
          .metric = static_cast<::faiss::MetricType>(metric)};
}

/// Writes the tag and header of an index, trained.
inline void write_head(Writer& writer, std::uint32_t type, const Header& header) {
  constexpr std::int64_t unused = std::int64_t{1} << 20U;
  writer.write_le(type);
  writer.write_le(static_cast<std::int32_t>(header.dim));
  writer.write_le(static_cast<std::int64_t>(header.vectors));
  writer.write_le(unused);
  writer.write_le(unused);
  writer.write_le(std::uint8_t{1});
  writer.write_le(static_cast<std::int32_t>(header.metric));
}

/// So many vectors as the bytes that faiss keeps, with components that are all finite.
[[nodiscard]] inline std::vector<std::uint8_t> read_vectors(Reader& reader, std::size_t vectors, std::size_t dim) {
  std::vector<std::uint8_t> codes = reader.read_vector<std::uint8_t>(vectors * dim * sizeof(float));
  for (std::size_t number = 0; number < vectors; ++number) {
    if (!std::ranges::all_of(vector_at(codes, number, dim), [](float component) { return std::isfinite(component); })) {
      fail(reader, "a vector has a component that is not finite");
    }
  }
  return codes;
}

/// A flat index that stands behind its tag.
[[nodiscard]] inline std::unique_ptr<::faiss::IndexFlat> read_flat(Reader& reader, std::uint32_t type) {
  const Header header = read_head(reader);
  if ((type == flat_l2_tag && header.metric != ::faiss::METRIC_L2) ||
      (type == flat_ip_tag && header.metric != ::faiss::METRIC_INNER_PRODUCT)) {
    fail(reader, "a flat index of the type \"" + letters_of(type) + "\" is stated to have the metric " +
                     name_of(header.metric));
  }
  const auto components = reader.read_le<std::uint64_t>();
  if (components != std::uint64_t{header.vectors} * header.dim) {
    fail(reader, "a flat index of " + std::to_string(header.vectors) + " vectors of " + std::to_string(header.dim) +
                     " components is stated to have " + std::to_string(components) + " in all");
  }
  auto index = std::make_unique<::faiss::IndexFlat>(static_cast<Id>(header.dim), header.metric);
  index->codes = read_vectors(reader, header.vectors, header.dim);
  index->ntotal = static_cast<Id>(header.vectors);
  return index;
}

[[nodiscard]] inline bool is_flat(std::uint32_t type) {
  return type == flat_l2_tag || type == flat_ip_tag || type == flat_tag;
}

[[nodiscard]] inline Header header_of(const ::faiss::Index& index) {
  return {.dim = static_cast<std::size_t>(index.d),
          .vectors = static_cast<std::size_t>(index.ntotal),
          .metric = index.metric_type};
}

}  // namespace faiss_parts

}  // namespace iqdb::inline IQDB_PERSIST_ABI
