// FaissConfig: which of faiss' trained indexes to make.
#pragma once

#include <cstddef>
#include <cstdint>

#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// What a FaissIndex keeps of a vector. The names of faiss' index factory are in parentheses.
enum class FaissCode : std::uint8_t {
  floats,           ///< the vector itself (Flat)
  half,             ///< 16 bits a component, up to 65504 (SQfp16)
  scalar8_direct,   ///< 8 bits a component, from 0 to 255, of which the whole part is kept (SQ8bit_direct)
  scalar8,          ///< 8 bits a component, in a range that is trained for each (SQ8)
  scalar8_uniform,  ///< 8 bits a component, in one range that is trained for all
  scalar6,          ///< 6 bits a component (SQ6)
  scalar4,          ///< 4 bits a component (SQ4)
  scalar4_uniform,  ///< 4 bits a component, in one range that is trained for all
  product,          ///< for each of `parts` parts the number of one of 2^`bits` trained centroids (PQ)
};

/// What is done to a vector before an index takes it. All keep lengths, as far as components are not left out; distances are
/// measured between transformed vectors.
enum class FaissTransform : std::uint8_t {
  none,       ///< nothing
  rotation,   ///< a random rotation (RR)
  principal,  ///< the first principal components of the training vectors (PCA)
  product,    ///< the rotation that suits product codes of `parts` parts best (OPQ)
  normalize,  ///< the direction of the vector (L2norm); the cosine does so without it
};

/// Settings of FaissIndex::trained. A member that an index has no use for is ignored, and may have any value that another
/// index could have.
struct FaissConfig {
  std::size_t lists = 0;            ///< lists around trained centroids (IVF); 0 for a flat index
  std::size_t probes = 8;           ///< lists that a search looks into, if it does not say so itself
  std::size_t quantizer_links = 0;  ///< with links, 2 to 1024, the centroids are in a graph (IVF…_HNSW…); 0: flat
  FaissCode code = FaissCode::floats;               ///< what is kept of a vector
  bool by_residual = true;                          ///< codes in lists are those of differences from centroids
  std::size_t parts = 8;                            ///< of product codes: faiss' M, which must divide the dimension
  std::size_t bits = 8;                             ///< of product codes: of each part, 1 to 16
  FaissTransform transform = FaissTransform::none;  ///< what is done to a vector first
  std::size_t transformed_dim = 0;  ///< components behind a rotation or principal: at most the dimension; 0: as many
};

}  // namespace iqdb::inline IQDB_PERSIST_ABI
