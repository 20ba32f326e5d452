// Makes and trains those of faiss' indexes that learn something before they take vectors.
#pragma once

#include <faiss/Index.h>
#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIVF.h>
#include <faiss/IndexIVFFlat.h>
#include <faiss/IndexIVFPQ.h>
#include <faiss/IndexPQ.h>
#include <faiss/IndexScalarQuantizer.h>
#include <faiss/VectorTransform.h>
#include <faiss/impl/ProductQuantizer.h>
#include <faiss/impl/ScalarQuantizer.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/index/faiss/coarse_quantizer.hpp"
#include "iqdb/index/faiss/codec.hpp"
#include "iqdb/index/faiss/coded_lists.hpp"
#include "iqdb/index/faiss/config.hpp"
#include "iqdb/index/faiss/flat_part.hpp"
#include "iqdb/index/faiss/ivf_part.hpp"
#include "iqdb/index/faiss/native.hpp"
#include "iqdb/index/faiss/part.hpp"
#include "iqdb/index/faiss/product_codec.hpp"
#include "iqdb/index/faiss/scalar_codec.hpp"
#include "iqdb/index/faiss/transform.hpp"
#include "iqdb/index/faiss/transformed_part.hpp"
#include "iqdb/index/support/argument_checks.hpp"
#include "iqdb/index_error.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace faiss_parts {

/// faiss' type of a scalar quantizer. Precondition: the code is one of components.
[[nodiscard]] inline ::faiss::ScalarQuantizer::QuantizerType scalar_type(FaissCode code) {
  switch (code) {
    case FaissCode::scalar8:
      return ::faiss::ScalarQuantizer::QT_8bit;
    case FaissCode::scalar8_uniform:
      return ::faiss::ScalarQuantizer::QT_8bit_uniform;
    case FaissCode::scalar8_direct:
      return ::faiss::ScalarQuantizer::QT_8bit_direct;
    case FaissCode::scalar6:
      return ::faiss::ScalarQuantizer::QT_6bit;
    case FaissCode::scalar4:
      return ::faiss::ScalarQuantizer::QT_4bit;
    case FaissCode::scalar4_uniform:
      return ::faiss::ScalarQuantizer::QT_4bit_uniform;
    default:
      return ::faiss::ScalarQuantizer::QT_fp16;
  }
}

/// Throws IndexError invalid_config for a configuration that faiss has no index for.
inline void check_config(std::size_t dim, DistanceMetric metric, const FaissConfig& config) {
  check_range(dim, 1, most_dim, "dimension");
  check_range(config.lists, 0, most_vectors, "number of lists");
  check_range(config.probes, 1, most_vectors, "number of probes");
  if (config.code > FaissCode::product) {
    throw IndexError(
        IndexErrorKind::invalid_config,
        "the code with the value " + std::to_string(static_cast<unsigned>(config.code)) + " is none of FaissCode");
  }
  if (config.quantizer_links != 0) {
    check_range(config.quantizer_links, 2, most_links, "number of links of the quantizer");
  }
  if (config.code == FaissCode::scalar8_direct && metric == DistanceMetric::cosine) {
    throw IndexError(
        IndexErrorKind::invalid_config,
        "scalar8_direct keeps whole numbers from 0 to 255, but for the cosine an index keeps directions, whose "
        "components are not greater than 1; use scalar8, or another metric");
  }
  if (config.transform > FaissTransform::normalize) {
    throw IndexError(IndexErrorKind::invalid_config, "the transform with the value " +
                                                         std::to_string(static_cast<unsigned>(config.transform)) +
                                                         " is none of FaissTransform");
  }
  if (config.transform != FaissTransform::none) {
    check_range(config.transformed_dim, 0, config.transform == FaissTransform::normalize ? 0 : dim,
                "dimension behind the transform");
    if (config.code == FaissCode::scalar8_direct) {
      throw IndexError(
          IndexErrorKind::invalid_config,
          "scalar8_direct keeps whole numbers from 0 to 255, which transformed vectors do not consist of; use "
          "scalar8, or no transform");
    }
    if (config.transform == FaissTransform::principal && metric != DistanceMetric::euclidean) {
      throw IndexError(
          IndexErrorKind::invalid_config,
          "principal components are those of vectors from which the mean was subtracted, so that products of them "
          "are not those of the vectors; use the metric euclidean, or a rotation");
    }
    dim = config.transformed_dim == 0 ? dim : config.transformed_dim;
  }
  if (config.code == FaissCode::product || config.transform == FaissTransform::product) {
    check_range(config.bits, 1, most_code_bits, "number of bits of a part");
    check_range(config.parts, 1, dim, "number of parts");
    if (dim % config.parts != 0) {
      throw IndexError(IndexErrorKind::invalid_config,
                       "vectors of dimension " + std::to_string(dim) + " have no " + std::to_string(config.parts) +
                           " parts of equal size; choose a number that divides the dimension");
    }
  }
}

/// Throws IndexError invalid_config for training vectors that are too few or of which the last one is incomplete,
/// invalid_vector for a component that is not finite, or that scalar8_direct has no code for.
inline void check_training(std::size_t dim, const FaissConfig& config, std::span<const float> training) {
  const std::size_t centroids =
      std::max(config.lists, config.code == FaissCode::product || config.transform == FaissTransform::product
                                 ? std::size_t{1} << config.bits
                                 : std::size_t{0});
  const bool learns = config.code >= FaissCode::scalar8 || config.transform == FaissTransform::principal;
  const std::size_t least = std::max<std::size_t>(centroids, learns ? 1 : 0);
  if (training.size() % dim != 0 || training.size() / dim < least) {
    throw IndexError(IndexErrorKind::invalid_config,
                     "cannot train " + std::to_string(least) + " centroids of vectors of dimension " +
                         std::to_string(dim) + " with " + std::to_string(training.size()) +
                         " components; give whole vectors, at least one for each list and for each of the 2^bits "
                         "centroids of a part, and better 40");
  }
  index_support::check_components(training, "training vectors");
}

/// A product or scalar quantizer without lists, or a flat index.
[[nodiscard]] inline std::unique_ptr<Part> train_flat(std::size_t dim, ::faiss::MetricType metric,
                                                      const FaissConfig& config, std::span<const float> training) {
  const auto count = static_cast<Id>(training.size() / dim);
  if (config.code == FaissCode::floats) {
    return FlatPart::make(dim, metric);
  }
  if (config.code == FaissCode::product) {
    auto index = std::make_unique<::faiss::IndexPQ>(static_cast<int>(dim), config.parts, config.bits, metric);
    index->pq.cp.min_points_per_centroid = 1;  // with fewer than that faiss prints
    guarded([&] { index->train(count, training.data()); });
    check_trained(index->pq.centroids);
    auto codec = std::make_unique<ProductCodec>(index->pq);
    return std::make_unique<FlatPart>(std::move(index), std::move(codec));
  }
  auto index = std::make_unique<::faiss::IndexScalarQuantizer>(static_cast<int>(dim), scalar_type(config.code), metric);
  guarded([&] { index->train(count, training.data()); });
  index->is_trained = true;  // faiss leaves this to training also where there is nothing to learn
  check_trained(index->sq.trained);
  auto codec = std::make_unique<ScalarCodec>(index->sq);
  return std::make_unique<FlatPart>(std::move(index), std::move(codec));
}

/// The index of `quantizer`, with lists, that is not trained and does not own it.
[[nodiscard]] inline std::unique_ptr<::faiss::IndexIVF> untrained_lists(::faiss::Index& quantizer, std::size_t dim,
                                                                        ::faiss::MetricType metric,
                                                                        const FaissConfig& config, bool by_residual) {
  if (config.code == FaissCode::floats) {
    return std::make_unique<::faiss::IndexIVFFlat>(&quantizer, dim, config.lists, metric);
  }
  if (config.code == FaissCode::product) {
    auto index =
        std::make_unique<::faiss::IndexIVFPQ>(&quantizer, dim, config.lists, config.parts, config.bits, metric);
    index->by_residual = by_residual;
    index->pq.cp.min_points_per_centroid = 1;
    index->use_precomputed_table = -1;  // so that training makes none, which a load would not
    return index;
  }
  return std::make_unique<::faiss::IndexIVFScalarQuantizer>(&quantizer, dim, config.lists, scalar_type(config.code),
                                                            metric, by_residual);
}

/// An IVF index without vectors. Throws IndexError invalid_vector if a centroid is not finite. Precondition: there are
/// lists.
[[nodiscard]] inline std::unique_ptr<Part> train_lists(std::size_t dim, ::faiss::MetricType metric,
                                                       const FaissConfig& config, std::span<const float> training) {
  std::unique_ptr<::faiss::Index> quantizer;
  if (config.quantizer_links == 0) {
    quantizer = std::make_unique<::faiss::IndexFlat>(static_cast<Id>(dim), metric);
  } else {
    quantizer = std::make_unique<::faiss::IndexHNSWFlat>(static_cast<int>(dim),
                                                         static_cast<int>(config.quantizer_links), metric);
  }
  CodedLists lists;
  lists.by_residual =
      config.by_residual && config.code != FaissCode::floats && config.code != FaissCode::scalar8_direct;
  lists.index = untrained_lists(*quantizer, dim, metric, config, lists.by_residual);
  std::ignore = quantizer.release();
  ::faiss::IndexIVF& index = *lists.index;
  index.own_fields = true;
  index.nprobe = std::min(config.probes, config.lists);
  index.cp.min_points_per_centroid = 1;  // with fewer than that faiss prints
  // A graph gets the centroids that a flat index has found.
  index.quantizer_trains_alone = config.quantizer_links == 0 ? 0 : 2;
  guarded([&] { index.train(static_cast<Id>(training.size() / dim), training.data()); });
  if (!index_support::is_finite(centroids_of(*index.quantizer))) {
    throw_too_large_to_train();
  }
  if (lists.by_residual) {
    check_trained(centroids_of(*index.quantizer));
  }
  if (auto* const product = dynamic_cast<::faiss::IndexIVFPQ*>(&index)) {
    product->use_precomputed_table = 0;
    check_trained(product->pq.centroids);
    lists.codec = std::make_unique<ProductCodec>(product->pq);
  } else if (auto* const scalar = dynamic_cast<::faiss::IndexIVFScalarQuantizer*>(&index)) {
    check_trained(scalar->sq.trained);
    lists.codec = std::make_unique<ScalarCodec>(scalar->sq);
  } else {
    lists.codec = std::make_unique<FloatCodec>(dim);
  }
  return std::make_unique<IvfPart>(std::move(lists));
}

/// A chain of one step, trained. Precondition: there is a transform.
[[nodiscard]] inline Transform train_transform(std::size_t dim, const FaissConfig& config,
                                               std::span<const float> training) {
  const auto count = static_cast<Id>(training.size() / dim);
  const int in = static_cast<int>(dim);
  const int out = config.transformed_dim == 0 ? in : static_cast<int>(config.transformed_dim);
  Transform::Chain chain;
  if (config.transform == FaissTransform::normalize) {
    chain.push_back(std::make_unique<::faiss::NormalizationTransform>(in));
  } else if (config.transform == FaissTransform::rotation) {
    auto rotation = std::make_unique<::faiss::RandomRotationMatrix>(in, out);
    guarded([&] { rotation->init(1234); });  // as faiss' index factory
    rotation->is_trained = true;
    chain.push_back(std::move(rotation));
  } else if (config.transform == FaissTransform::principal) {
    auto principal = std::make_unique<::faiss::PCAMatrix>(in, out);
    guarded([&] { principal->train(count, training.data()); });
    chain.push_back(std::move(principal));
  } else {
    ::faiss::ProductQuantizer product(static_cast<std::size_t>(out), config.parts, config.bits);
    product.cp.min_points_per_centroid = 1;
    auto rotation = std::make_unique<::faiss::OPQMatrix>(in, static_cast<int>(config.parts), out);
    rotation->pq = &product;
    guarded([&] { rotation->train(count, training.data()); });
    rotation->pq = nullptr;
    chain.push_back(std::move(rotation));
  }
  if (const auto* const trained = dynamic_cast<const ::faiss::LinearTransform*>(chain.front().get())) {
    // As it is read again: the linear map alone, so that what is loaded is saved in the same bytes.
    auto linear = std::make_unique<::faiss::LinearTransform>(*trained);
    if (!Transform::keeps_lengths(*linear)) {
      throw IndexError(IndexErrorKind::invalid_vector,
                       "the transform that the training vectors make does not keep lengths: they are too few, too much "
                       "alike, or too large; give more than the dimension, and other ones");
    }
    chain.front() = std::move(linear);
  }
  return Transform(std::move(chain));
}

/// An index without vectors. Preconditions: check_config and check_training throw nothing.
[[nodiscard]] inline std::unique_ptr<Part> train(std::size_t dim, ::faiss::MetricType metric, const FaissConfig& config,
                                                 std::span<const float> training) {
  if (config.transform == FaissTransform::none) {
    return config.lists == 0 ? train_flat(dim, metric, config, training) : train_lists(dim, metric, config, training);
  }
  Transform transform = train_transform(dim, config, training);
  const std::vector<float> transformed = transform.apply_to_each(training);
  FaissConfig inside = config;
  inside.transform = FaissTransform::none;
  const std::size_t inside_dim = transform.dim();
  return std::make_unique<TransformedPart>(dim, std::move(transform), train(inside_dim, metric, inside, transformed));
}

}  // namespace faiss_parts

}  // namespace iqdb::inline IQDB_PERSIST_ABI
