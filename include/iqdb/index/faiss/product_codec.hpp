// ProductCodec: codes of faiss' product quantizer, for each part of a vector the number of the nearest centroid.
#pragma once

#include <faiss/Index.h>
#include <faiss/impl/ProductQuantizer.h>
#include <faiss/utils/Heap.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "iqdb/index/faiss/codec.hpp"
#include "iqdb/index/faiss/native.hpp"
#include "iqdb/index/faiss/stream.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace faiss_parts {

/// The most bits of a part of a code: 65,536 centroids for each part.
inline constexpr std::size_t most_code_bits = 16;

/// Codes of a ProductQuantizer that is trained.
class ProductCodec final : public Codec {
 public:
  explicit ProductCodec(const ::faiss::ProductQuantizer& quantizer) noexcept : quantizer_(&quantizer) {}

  [[nodiscard]] std::size_t dim() const noexcept override { return quantizer_->d; }
  void encode(const float* vector, std::uint8_t* code) const override { quantizer_->compute_code(vector, code); }
  void decode(const std::uint8_t* code, float* vector) const override { quantizer_->decode(code, vector); }

  void write_trained(Writer& writer, std::size_t code_size, bool by_residual) const override {
    writer.write_le(static_cast<std::uint8_t>(by_residual));
    writer.write_le(std::uint64_t{code_size});
    writer.write_le(std::uint64_t{quantizer_->d});
    writer.write_le(std::uint64_t{quantizer_->M});
    writer.write_le(std::uint64_t{quantizer_->nbits});
    writer.write_le(std::uint64_t{quantizer_->centroids.size()});
    writer.write_array(quantizer_->centroids);
  }

  // As IndexPQ::search does, except that faiss' statistics of all searches, which have no lock, stay as they are.
  [[nodiscard]] std::vector<Id> nearest(const ::faiss::Index& flat, std::span<const std::uint8_t> codes,
                                        std::span<const float> query, std::size_t most) const override {
    std::vector<float> distances(most);
    std::vector<Id> labels(most);
    const std::size_t count = codes.size() / quantizer_->code_size;
    const OneThread one_thread;
    guarded([&] {
      if (flat.metric_type == ::faiss::METRIC_INNER_PRODUCT) {
        ::faiss::float_minheap_array_t heap{1, most, labels.data(), distances.data()};
        quantizer_->search_ip(query.data(), 1, codes.data(), count, &heap, true);
      } else {
        ::faiss::float_maxheap_array_t heap{1, most, labels.data(), distances.data()};
        quantizer_->search(query.data(), 1, codes.data(), count, &heap, true);
      }
    });
    std::erase(labels, no_label);
    return labels;
  }

 private:
  const ::faiss::ProductQuantizer* quantizer_;
};

/// Reads a product quantizer: dim 8 | parts 8 | bits of the code of a part 8 | the centroids, part by part, with the count
/// of their components before them. Throws PersistError invalid_payload for one that faiss cannot have made.
[[nodiscard]] inline ::faiss::ProductQuantizer read_product_quantizer(Reader& reader, std::size_t dim) {
  const auto stated_dim = reader.read_le<std::uint64_t>();
  const auto parts = reader.read_le<std::uint64_t>();
  const auto bits = reader.read_le<std::uint64_t>();
  if (stated_dim != dim || parts == 0 || parts > dim || dim % parts != 0 || bits == 0 || bits > most_code_bits) {
    fail(reader, "its product quantizer is stated to have codes of " + std::to_string(parts) + " times " +
                     std::to_string(bits) + " bits for vectors of " + std::to_string(stated_dim) +
                     " components; expected vectors of " + std::to_string(dim) + ", parts of equal size, and 1 to " +
                     std::to_string(most_code_bits) + " bits");
  }
  const auto count = reader.read_le<std::uint64_t>();
  if (count != std::uint64_t{dim} << bits) {
    fail(reader, "its product quantizer has " + std::to_string(count) + " components of centroids; expected " +
                     std::to_string(std::uint64_t{dim} << bits));
  }
  std::vector<float> centroids = reader.read_vector<float>(count);
  if (!are_moderate(centroids)) {
    fail(reader, "its product quantizer has a centroid that is too large or not finite");
  }
  ::faiss::ProductQuantizer quantizer;
  quantizer.d = dim;
  quantizer.M = static_cast<std::size_t>(parts);
  quantizer.nbits = static_cast<std::size_t>(bits);
  quantizer.centroids = std::move(centroids);  // so that none are made in their place
  quantizer.set_derived_values();
  return quantizer;
}

}  // namespace faiss_parts

}  // namespace iqdb::inline IQDB_PERSIST_ABI
