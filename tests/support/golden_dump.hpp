// The golden files (tests/golden/README.md): which there are, and the dumps beside them as indexes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/types.hpp"

namespace iqdb_test {

/// Where the golden files are.
[[nodiscard]] inline std::filesystem::path golden_directory() { return TEST_GOLDEN_DIR; }

/// A line of the manifest.
struct GoldenCase {
  std::string file;      ///< the snapshot
  std::string mode;      ///< "snapshot", or "wal": loaded with the log on
  std::string expected;  ///< the dump of its rows, or the Rust crate's error

  [[nodiscard]] bool expects_rows() const { return expected.ends_with(".json"); }
};

/// The cases of a mode, or all of them.
[[nodiscard]] inline std::vector<GoldenCase> golden_cases(const std::string& mode = {}) {
  std::ifstream manifest(golden_directory() / "MANIFEST.tsv");
  std::vector<GoldenCase> all;
  for (std::string line; std::getline(manifest, line);) {
    if (line.empty() || line.starts_with('#')) {
      continue;
    }
    std::istringstream fields(line);
    GoldenCase one;
    std::getline(fields, one.file, '\t');
    std::getline(fields, one.mode, '\t');
    std::getline(fields, one.expected, '\t');
    if (mode.empty() || one.mode == mode) {
      all.push_back(std::move(one));
    }
  }
  return all;
}

// ---- What the files say, without the code that is tested ------------------------------------------------------------

[[nodiscard]] inline std::uint64_t integer_at(const std::vector<std::byte>& bytes, std::size_t offset,
                                              std::size_t size) {
  std::uint64_t value = 0;
  for (std::size_t at = 0; at < size; ++at) {
    value |= std::to_integer<std::uint64_t>(bytes.at(offset + at)) << (8 * at);
  }
  return value;
}

/// The scheme tag of a version-2 snapshot, if it goes that far.
[[nodiscard]] inline std::optional<unsigned> scheme_of(const std::vector<std::byte>& file) {
  if (file.size() < 20 || integer_at(file, 8, 4) != 2) {
    return std::nullopt;
  }
  const std::uint64_t offset = 41 + integer_at(file, 12, 8);
  return offset < file.size() ? std::optional(std::to_integer<unsigned>(file[offset])) : std::nullopt;
}

/// Whether a snapshot is compressed with a codec that this program was built without.
[[nodiscard]] inline bool codec_is_missing(const std::vector<std::byte>& file) {
  switch (scheme_of(file).value_or(0)) {
    case 1:
      return IQDB_PERSIST_HAS_ZSTD == 0;
    case 2:
    case 3:
      return IQDB_PERSIST_HAS_LZ4 == 0;
    default:
      return false;
  }
}

[[nodiscard]] inline iqdb::DistanceMetric golden_metric(const std::string& name) {
  static const std::map<std::string, iqdb::DistanceMetric> metrics = {{"cosine", iqdb::DistanceMetric::cosine},
                                                                      {"dot", iqdb::DistanceMetric::dot_product},
                                                                      {"euclidean", iqdb::DistanceMetric::euclidean},
                                                                      {"manhattan", iqdb::DistanceMetric::manhattan},
                                                                      {"hamming", iqdb::DistanceMetric::hamming}};
  return metrics.at(name);
}

[[nodiscard]] inline std::string golden_bytes(const std::string& hex) {
  std::string bytes;
  for (std::size_t at = 0; at + 1 < hex.size(); at += 2) {
    bytes += static_cast<char>(std::stoi(hex.substr(at, 2), nullptr, 16));
  }
  return bytes;
}

[[nodiscard]] inline iqdb::VectorId golden_id(const nlohmann::json& dump) {
  return dump.contains("u64") ? iqdb::VectorId(dump.at("u64").get<std::uint64_t>())
                              : iqdb::VectorId::from_stored_bytes(golden_bytes(dump.at("bytes").get<std::string>()));
}

// In its place: a copy of a number may change the bits of a NaN.
inline void read_golden_value(const nlohmann::json& dump, iqdb::Value& to) {
  const auto entry = dump.begin();
  const std::string& type = entry.key();
  const nlohmann::json& value = entry.value();
  if (type == "string") {
    to = value.get<std::string>();
  } else if (type == "int") {
    to = value.get<std::int64_t>();
  } else if (type == "float") {
    const auto bits = static_cast<std::uint64_t>(std::stoull(value.get<std::string>(), nullptr, 16));
    std::memcpy(&to.emplace<double>(), &bits, sizeof(bits));
  } else if (type == "bool") {
    to = value.get<bool>();
  } else if (type == "null") {
    to = iqdb::Null{};
  } else {
    throw std::runtime_error("no type of a value: " + type);
  }
}

[[nodiscard]] inline std::optional<iqdb::Metadata> golden_metadata(const nlohmann::json& dump) {
  if (dump.is_null()) {
    return std::nullopt;
  }
  iqdb::Metadata metadata;
  for (const auto& [key, value] : dump.items()) {
    read_golden_value(value, metadata[key]);
  }
  return metadata;
}

/// The index that a dump describes.
[[nodiscard]] inline iqdb::FlatIndex index_in(const std::filesystem::path& path) {
  std::ifstream file(path);
  const nlohmann::json dump = nlohmann::json::parse(file);
  iqdb::FlatIndex index(dump.at("dim").get<std::size_t>(), golden_metric(dump.at("metric").get<std::string>()));
  for (const nlohmann::json& row : dump.at("rows")) {
    const auto bits = row.at("vec").get<std::vector<std::uint32_t>>();
    std::vector<float> vector(bits.size());
    if (!bits.empty()) {
      std::memcpy(vector.data(), bits.data(), bits.size() * sizeof(float));
    }
    index.insert(golden_id(row.at("id")), std::span<const float>(vector), golden_metadata(row.at("meta")));
  }
  if (index.size() != dump.at("n").get<std::size_t>() || dump.at("index_type").get<std::string>() != "flat") {
    throw std::runtime_error("the dump contradicts itself: " + path.string());
  }
  return index;
}

}  // namespace iqdb_test
