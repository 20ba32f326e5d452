// faiss' stream: the tags and headers of its indexes and the vectors in them. Each is checked as it is read.
#pragma once

#include <faiss/Index.h>
#include <faiss/IndexFlat.h>
#include <faiss/impl/io.h>
#include <faiss/index_io.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "iqdb/index/faiss/native.hpp"
#include "iqdb/index/support/argument_checks.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace faiss_parts {

/// The tag that begins an index in the stream: four letters, the first one in the lowest byte.
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
inline constexpr std::uint32_t flat_scalar_tag = tag("IxSQ");
inline constexpr std::uint32_t flat_product_tag = tag("IxPq");
inline constexpr std::uint32_t ivf_scalar_tag = tag("IwSq");
inline constexpr std::uint32_t ivf_product_tag = tag("IwPQ");
inline constexpr std::uint32_t transformed_tag = tag("IxPT");
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

/// Lets faiss write an index to a payload or a file.
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
  fail(reader,
       std::string(where) + " is of the type \"" + letters_of(found) +
           "\", which is not supported; supported are flat vectors (IxF2, IxFI, IxFl), scalar and product "
           "quantizers (IxSQ, IxPq), HNSW over flat (IHNf), IVF of these vectors and codes with a quantizer that "
           "is flat or HNSW (IwFl, IwSq, IwPQ), a transform before one of these (IxPT), and one id map around these "
           "(IxMp, IxM2); build the index anew as one of them");
}

/// The header that follows the tag of every index in the stream.
struct Header {
  std::size_t dim = 0;
  std::size_t vectors = 0;
  ::faiss::MetricType metric = ::faiss::METRIC_L2;

  friend bool operator==(const Header&, const Header&) = default;
};

/// Reads the header of an index, which must be trained.
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
         "its metric is " + name_of(metric) + "; expected L2 or inner product; build the index anew with one of them");
  }
  return {.dim = static_cast<std::size_t>(dim),
          .vectors = static_cast<std::size_t>(vectors),
          .metric = static_cast<::faiss::MetricType>(metric)};
}

/// Writes the tag and the header of a trained index.
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

/// Fails if one of the vectors has a component that is not finite. `what` and `number_of(at)` are what to call the
/// vector at a position: "the vector at position ", 7.
template <class NumberOf>
void require_finite(const Reader& reader, const std::vector<std::uint8_t>& codes, std::size_t vectors, std::size_t dim,
                    std::string_view what, NumberOf&& number_of) {
  for (std::size_t at = 0; at < vectors; ++at) {
    if (!index_support::is_finite(vector_at(codes, at, dim))) {
      fail(reader, std::string(what) + std::to_string(number_of(at)) + " has a component that is not finite");
    }
  }
}

/// Reads a flat index that follows its tag. `what` is what to call a vector, before its position.
[[nodiscard]] inline std::unique_ptr<::faiss::IndexFlat> read_flat(Reader& reader, std::uint32_t type,
                                                                   std::string_view what = "the vector at position ") {
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
  index->codes = reader.read_vector<std::uint8_t>(header.vectors * header.dim * sizeof(float));
  require_finite(reader, index->codes, header.vectors, header.dim, what, [](std::size_t at) { return at; });
  index->ntotal = static_cast<Id>(header.vectors);
  return index;
}

[[nodiscard]] inline bool is_flat(std::uint32_t type) {
  return type == flat_l2_tag || type == flat_ip_tag || type == flat_tag;
}

/// Fails unless an index that was read has faiss' metric for `metric`.
inline void require_metric(const Reader& reader, const ::faiss::Index& index, DistanceMetric metric) {
  if (!index_support::is_common_metric(metric) || metric_for(metric) != index.metric_type) {
    fail(reader, "its vectors are compared by " + name_of(index.metric_type) + ", but the metric is " +
                     std::string(to_string(metric)) + "; L2 is euclidean, inner product dot_product or cosine");
  }
}

[[nodiscard]] inline Header header_of(const ::faiss::Index& index) {
  return {.dim = static_cast<std::size_t>(index.d),
          .vectors = static_cast<std::size_t>(index.ntotal),
          .metric = index.metric_type};
}

/// Gives an index that was made without arguments what its header says.
inline void take_header(::faiss::Index& index, const Header& header) {
  index.d = static_cast<int>(header.dim);
  index.ntotal = static_cast<Id>(header.vectors);
  index.metric_type = header.metric;
  index.is_trained = true;
}

/// Lets faiss write an index as it would write it to its own file.
inline void write_with_faiss(Writer& writer, const ::faiss::Index& index) {
  WriterAdapter adapter(writer);
  guarded([&] { ::faiss::write_index(&index, &adapter); });
}

}  // namespace faiss_parts

}  // namespace iqdb::inline IQDB_PERSIST_ABI
