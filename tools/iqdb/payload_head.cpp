#include "payload_head.hpp"

#include <array>
#include <initializer_list>
#include <string_view>

#include "iqdb/index/support/payload.hpp"
#include "iqdb/persist/bytes/row_format.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/codec/compression.hpp"
#include "iqdb/persist/storage/storage.hpp"

namespace iqdb_tool {

namespace {

using iqdb::Reader;

constexpr std::size_t head_piece_bytes = 4096;

void read_settings(Reader& reader, PayloadHead& head, std::initializer_list<std::string_view> names) {
  for (const std::string_view name : names) {
    head.settings.emplace_back(name, reader.read_le<std::uint64_t>());
  }
}

// dim 8 | metric 1 | vectors 8
PayloadHead read_flat(Reader& reader) {
  PayloadHead head;
  head.dim = reader.read_le<std::uint64_t>();
  head.metric = iqdb::metric_from_tag(reader.read_le<std::uint8_t>());
  head.vectors = reader.read_le<std::uint64_t>();
  return head;
}

// magic 4 | version 4 | kind 1 | settings of the kind | dim 8 | metric 1 | vectors 8
PayloadHead read_core(Reader& reader) {
  constexpr std::string_view payload_magic = "IQDC";
  if (const std::string found = reader.read_string(payload_magic.size()); found != payload_magic) {
    reader.fail(iqdb::PersistErrorKind::invalid_payload,
                "the payload begins with " + iqdb::printable(found) + "; expected " + iqdb::printable(payload_magic));
  }
  static_cast<void>(reader.read_le<std::uint32_t>());
  PayloadHead settings;
  switch (reader.read_le<std::uint8_t>()) {
    case 0:
      settings.kind = "flat";
      break;
    case 1:
      settings.kind = "hnsw";
      read_settings(reader, settings, {"m", "ef_construction", "ef_search", "filter_widen", "seed"});
      break;
    case 2:
      settings.kind = "ivf";
      read_settings(reader, settings, {"n_clusters", "n_probes", "training_sample_size"});
      settings.settings.emplace_back("use_pq", reader.read_le<std::uint8_t>());
      if (reader.read_le<std::uint8_t>() != 0) {
        read_settings(reader, settings, {"pq_subvectors"});
      }
      settings.settings.emplace_back("pq_refine_factor", reader.read_le<std::uint32_t>());
      read_settings(reader, settings, {"seed"});
      break;
    default:
      reader.fail(iqdb::PersistErrorKind::invalid_payload, "the database is of an unknown kind; expected 0, 1 or 2");
  }
  PayloadHead head = read_flat(reader);
  head.kind = std::move(settings.kind);
  head.settings = std::move(settings.settings);
  return head;
}

PayloadHead read_adapter(Reader& reader, std::string_view type) {
  const auto common = iqdb::index_support::read_head(reader, type);
  PayloadHead head;
  head.dim = common.dim;
  head.metric = common.metric;
  if (type == "hnsw") {
    read_settings(reader, head, {"links", "ef_construction", "ef", "capacity", "seed"});
  } else if (type == "usearch") {
    constexpr std::array scalars{"f32", "f16", "i8", "bf16", "f64"};
    const auto scalar = reader.read_le<std::uint8_t>();
    head.kind = scalar < scalars.size() ? scalars.at(scalar) : "unknown scalar";
    read_settings(reader, head, {"connectivity", "connectivity_base", "expansion_add", "expansion_search"});
  }
  return head;
}

}  // namespace

iqdb::RegionPreamble preamble_of(AnyFile file, const iqdb::FileHeader& header) {
  const std::uint64_t region = iqdb::header_bytes(header.index_type.size());
  if (header.version == 1) {
    return {.scheme = iqdb::CompressionScheme::none, .payload_bytes = file.size() - region};
  }
  iqdb::FileRange data(file, region, file.size());
  Reader reader(data, file.size() - region, iqdb::LengthEvidence::stored, iqdb::RegionPreamble::bytes);
  return iqdb::read_preamble(reader);
}

std::optional<PayloadHead> payload_head_of(AnyFile file, const iqdb::FileHeader& header) {
  const std::string& type = header.index_type;
  const bool is_adapter = type == "hnsw" || type == "faiss" || type == "usearch";
  if (!is_adapter && type != "flat" && type != "iqdb-core") {
    return std::nullopt;
  }
  const iqdb::RegionPreamble preamble = preamble_of(file, header);
  const std::uint64_t data_begin =
      iqdb::header_bytes(type.size()) + (header.version == 1 ? 0 : iqdb::RegionPreamble::bytes);
  const std::uint64_t data_bytes = file.size() - data_begin;
  constexpr std::uint64_t largest_block = std::uint64_t{4} << 20U;
  if (preamble.scheme == iqdb::CompressionScheme::lz4_block &&
      (data_bytes > largest_block || preamble.payload_bytes > largest_block)) {
    return std::nullopt;
  }
  iqdb::FileRange data(file, data_begin, file.size());
  const auto decoder =
      iqdb::make_decoder(preamble, data, data_bytes, {.buffer_bytes = head_piece_bytes, .helper_threads = 0});
  Reader reader(*decoder, preamble.payload_bytes, decoder->evidence(), head_piece_bytes);
  if (is_adapter) {
    return read_adapter(reader, type);
  }
  return type == "flat" ? read_flat(reader) : read_core(reader);
}

}  // namespace iqdb_tool
