// ScalarCodec: codes of faiss' scalar quantizer, a few bits for each component.
#pragma once

#include <faiss/Index.h>
#include <faiss/IndexIVF.h>
#include <faiss/impl/ScalarQuantizer.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
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

/// Codes of a ScalarQuantizer that is trained, and trained no more.
class ScalarCodec final : public Codec {
 public:
  explicit ScalarCodec(const ::faiss::ScalarQuantizer& quantizer)
      : quantizer_(&quantizer), coder_(quantizer.select_quantizer()) {}

  [[nodiscard]] std::size_t dim() const noexcept override { return quantizer_->d; }

  // The other kinds take the nearest number that they have.
  [[nodiscard]] std::pair<float, float> range() const noexcept override {
    constexpr float greatest_half = 65504.0F;
    switch (quantizer_->qtype) {
      case ::faiss::ScalarQuantizer::QT_fp16:
        return {-greatest_half, greatest_half};
      case ::faiss::ScalarQuantizer::QT_8bit_direct:
        return {0.0F, 255.0F};
      default:
        return Codec::range();
    }
  }

  void encode(const float* vector, std::uint8_t* code) const override {
    std::memset(code, 0, quantizer_->code_size);  // faiss adds bits to what is there
    coder_->encode_vector(vector, code);
  }

  void decode(const std::uint8_t* code, float* vector) const override { coder_->decode_vector(code, vector); }

  [[nodiscard]] bool is_finite(const std::uint8_t* code) const noexcept override {
    if (quantizer_->qtype != ::faiss::ScalarQuantizer::QT_fp16) {
      return true;
    }
    for (std::size_t at = 0; at < quantizer_->d; ++at) {
      constexpr std::uint16_t exponent = 0x7C00;
      std::uint16_t half = 0;
      std::memcpy(&half, code + 2 * at, sizeof half);
      if ((half & exponent) == exponent) {
        return false;
      }
    }
    return true;
  }

  void write_trained(Writer& writer, std::size_t code_size, bool by_residual) const override {
    writer.write_le(static_cast<std::int32_t>(quantizer_->qtype));
    writer.write_le(static_cast<std::int32_t>(quantizer_->rangestat));
    writer.write_le(quantizer_->rangestat_arg);
    writer.write_le(std::uint64_t{quantizer_->d});
    writer.write_le(std::uint64_t{quantizer_->code_size});
    writer.write_le(std::uint64_t{quantizer_->trained.size()});
    writer.write_array(quantizer_->trained);
    writer.write_le(std::uint64_t{code_size});
    writer.write_le(static_cast<std::uint8_t>(by_residual));
  }

  // As IndexScalarQuantizer::search does for one query, but a shortage of memory throws, while in faiss' parallel region
  // it would end the process.
  [[nodiscard]] std::vector<Id> nearest(const ::faiss::Index& flat, std::span<const std::uint8_t> codes,
                                        std::span<const float> query, std::size_t most) const override {
    const std::unique_ptr<::faiss::InvertedListScanner> scanner(
        quantizer_->select_InvertedListScanner(flat.metric_type, nullptr, true, nullptr));
    scanner->set_query(query.data());
    scanner->list_no = 0;
    std::vector<float> distances(most);
    std::vector<Id> labels(most);
    make_empty_heap(flat.metric_type, distances, labels);
    scanner->scan_codes(codes.size() / quantizer_->code_size, codes.data(), nullptr, distances.data(), labels.data(),
                        most);
    std::erase(labels, no_label);
    return labels;
  }

 private:
  const ::faiss::ScalarQuantizer* quantizer_;
  std::unique_ptr<::faiss::ScalarQuantizer::SQuantizer> coder_;
};

/// How many numbers a scalar quantizer learns.
[[nodiscard]] inline std::size_t trained_numbers(::faiss::ScalarQuantizer::QuantizerType type, std::size_t dim) {
  switch (type) {
    case ::faiss::ScalarQuantizer::QT_8bit:
    case ::faiss::ScalarQuantizer::QT_6bit:
    case ::faiss::ScalarQuantizer::QT_4bit:
      return 2 * dim;  // for each component the least, and how far the greatest is from it
    case ::faiss::ScalarQuantizer::QT_8bit_uniform:
    case ::faiss::ScalarQuantizer::QT_4bit_uniform:
      return 2;
    default:
      return 0;
  }
}

/// Reads a scalar quantizer: type 4 | how it was trained 4, and the setting of that 4 | dim 8 | bytes of a code 8 | the
/// trained numbers with their count before them. Throws PersistError invalid_payload for one that faiss cannot have made.
[[nodiscard]] inline ::faiss::ScalarQuantizer read_scalar_quantizer(Reader& reader, std::size_t dim) {
  const auto type = reader.read_le<std::int32_t>();
  const auto statistic = reader.read_le<std::int32_t>();
  const auto argument = reader.read_le<float>();
  const auto stated_dim = reader.read_le<std::uint64_t>();
  const auto code_size = reader.read_le<std::uint64_t>();
  if (type < 0 || type > ::faiss::ScalarQuantizer::QT_6bit) {
    fail(reader, "its scalar quantizer is of the type " + std::to_string(type) +
                     "; expected 0 to 6 (8bit, 4bit, 8bit_uniform, 4bit_uniform, fp16, 8bit_direct, 6bit)");
  }
  if (statistic < 0 || statistic > ::faiss::ScalarQuantizer::RS_optim) {
    fail(reader, "its scalar quantizer is stated to be trained by the statistic " + std::to_string(statistic) +
                     "; expected 0 to 3");
  }
  ::faiss::ScalarQuantizer quantizer(dim, static_cast<::faiss::ScalarQuantizer::QuantizerType>(type));
  if (stated_dim != dim || code_size != quantizer.code_size) {
    fail(reader, "its scalar quantizer is stated to make " + std::to_string(code_size) + " bytes of " +
                     std::to_string(stated_dim) + " components; expected " + std::to_string(quantizer.code_size) +
                     " of " + std::to_string(dim));
  }
  const auto count = reader.read_le<std::uint64_t>();
  if (count != trained_numbers(quantizer.qtype, dim)) {
    fail(reader, "its scalar quantizer has " + std::to_string(count) + " trained numbers; expected " +
                     std::to_string(trained_numbers(quantizer.qtype, dim)));
  }
  quantizer.rangestat = static_cast<::faiss::ScalarQuantizer::RangeStat>(statistic);
  quantizer.rangestat_arg = argument;
  quantizer.trained = reader.read_vector<float>(count);
  if (!are_moderate(quantizer.trained)) {
    fail(reader, "its scalar quantizer has a trained number that is too large or not finite");
  }
  return quantizer;
}

}  // namespace faiss_parts

}  // namespace iqdb::inline IQDB_PERSIST_ABI
