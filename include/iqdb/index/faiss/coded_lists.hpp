// What is trained in an IVF index, and what it makes codes of: vectors, or their differences from centroids.
#pragma once

#include <faiss/Index.h>
#include <faiss/IndexIVF.h>
#include <faiss/IndexIVFFlat.h>
#include <faiss/IndexIVFPQ.h>
#include <faiss/IndexScalarQuantizer.h>
#include <faiss/invlists/InvertedLists.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <tuple>
#include <utility>

#include "iqdb/index/faiss/coarse_quantizer.hpp"
#include "iqdb/index/faiss/codec.hpp"
#include "iqdb/index/faiss/native.hpp"
#include "iqdb/index/faiss/product_codec.hpp"
#include "iqdb/index/faiss/scalar_codec.hpp"
#include "iqdb/index/faiss/stream.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace faiss_parts {

/// An IVF index with lists in memory, and the codec of its codes.
struct CodedLists {
  std::unique_ptr<::faiss::IndexIVF> index;
  std::unique_ptr<Codec> codec;
  bool by_residual = false;  ///< whether codes are those of the differences between vectors and centroids
};

/// The tag of an IVF index that an adapter has made.
[[nodiscard]] inline std::uint32_t tag_of(const ::faiss::IndexIVF& index) {
  if (dynamic_cast<const ::faiss::IndexIVFPQ*>(&index) != nullptr) {
    return ivf_product_tag;
  }
  return dynamic_cast<const ::faiss::IndexIVFScalarQuantizer*>(&index) != nullptr ? ivf_scalar_tag : ivf_tag;
}

/// Reads whether codes are those of differences from centroids.
[[nodiscard]] inline bool read_by_residual(Reader& reader, const ::faiss::Index& quantizer) {
  const auto by_residual = reader.read_le<std::uint8_t>();
  if (by_residual > 1) {
    fail(reader, "whether its codes are relative to the centroids is stated as " + std::to_string(by_residual) +
                     "; expected 0 or 1");
  }
  if (by_residual == 1 && !are_moderate(centroids_of(quantizer))) {
    fail(reader, "a centroid, to which its codes are relative, is too large");
  }
  return by_residual == 1;
}

/// Reads what was trained besides the centroids, and makes an index of it that is empty and owns the quantizer.
///
/// Of floats: nothing. Of scalar codes: the scalar quantizer | bytes of a code 8 | whether codes are of residuals 1. Of
/// product codes: whether codes are of residuals 1 | bytes of a code 8 | the product quantizer.
[[nodiscard]] inline CodedLists read_trained(Reader& reader, std::uint32_t type, const Header& header,
                                             std::unique_ptr<::faiss::Index> quantizer) {
  CodedLists lists;
  const auto list_count = static_cast<std::size_t>(quantizer->ntotal);
  const auto require_code_size = [&](std::uint64_t stated, std::size_t expected) {
    if (stated != expected) {
      fail(reader,
           "its codes are stated to have " + std::to_string(stated) + " bytes; expected " + std::to_string(expected));
    }
  };
  if (type == ivf_scalar_tag) {
    const ::faiss::ScalarQuantizer scalar = read_scalar_quantizer(reader, header.dim);
    require_code_size(reader.read_le<std::uint64_t>(), scalar.code_size);
    lists.by_residual = read_by_residual(reader, *quantizer);
    if (lists.by_residual && scalar.qtype == ::faiss::ScalarQuantizer::QT_8bit_direct) {
      fail(reader,
           "its scalar quantizer of the type 8bit_direct keeps whole numbers from 0 to 255, but is stated to keep "
           "differences from centroids; set by_residual to false before the index is trained");
    }
    auto index = std::make_unique<::faiss::IndexIVFScalarQuantizer>(quantizer.get(), header.dim, list_count,
                                                                    scalar.qtype, header.metric, lists.by_residual);
    index->sq = scalar;
    lists.codec = std::make_unique<ScalarCodec>(index->sq);
    lists.index = std::move(index);
  } else if (type == ivf_product_tag) {
    lists.by_residual = read_by_residual(reader, *quantizer);
    const auto code_size = reader.read_le<std::uint64_t>();
    const ::faiss::ProductQuantizer product = read_product_quantizer(reader, header.dim);
    require_code_size(code_size, product.code_size);
    // The quantizer that it is made with, of two centroids for each part, is replaced.
    auto index =
        std::make_unique<::faiss::IndexIVFPQ>(quantizer.get(), header.dim, list_count, product.M, 1, header.metric);
    index->pq = product;
    index->by_residual = lists.by_residual;
    index->code_size = product.code_size;
    index->invlists->code_size = product.code_size;
    lists.codec = std::make_unique<ProductCodec>(index->pq);
    lists.index = std::move(index);
  } else {
    lists.index = std::make_unique<::faiss::IndexIVFFlat>(quantizer.get(), header.dim, list_count, header.metric);
    lists.codec = std::make_unique<FloatCodec>(header.dim);
  }
  std::ignore = quantizer.release();
  lists.index->own_fields = true;
  lists.index->is_trained = true;
  return lists;
}

}  // namespace faiss_parts

}  // namespace iqdb::inline IQDB_PERSIST_ABI
