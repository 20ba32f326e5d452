// The dumps beside the golden files (tests/golden/README.md) as indexes.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/types.hpp"

namespace iqdb_test {

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

[[nodiscard]] inline iqdb::Value golden_value(const nlohmann::json& dump) {
  const auto entry = dump.begin();
  const std::string& type = entry.key();
  const nlohmann::json& value = entry.value();
  if (type == "string") {
    return value.get<std::string>();
  }
  if (type == "int") {
    return value.get<std::int64_t>();
  }
  if (type == "float") {
    return std::bit_cast<double>(static_cast<std::uint64_t>(std::stoull(value.get<std::string>(), nullptr, 16)));
  }
  if (type == "bool") {
    return value.get<bool>();
  }
  if (type == "null") {
    return iqdb::Null{};
  }
  throw std::runtime_error("no type of a value: " + type);
}

[[nodiscard]] inline std::optional<iqdb::Metadata> golden_metadata(const nlohmann::json& dump) {
  if (dump.is_null()) {
    return std::nullopt;
  }
  iqdb::Metadata metadata;
  for (const auto& [key, value] : dump.items()) {
    metadata.emplace(key, golden_value(value));
  }
  return metadata;
}

/// The index that a dump describes.
[[nodiscard]] inline iqdb::FlatIndex index_in(const std::filesystem::path& path) {
  std::ifstream file(path);
  const nlohmann::json dump = nlohmann::json::parse(file);
  iqdb::FlatIndex index(dump.at("dim").get<std::size_t>(), golden_metric(dump.at("metric").get<std::string>()));
  for (const nlohmann::json& row : dump.at("rows")) {
    std::vector<float> vector;
    for (const nlohmann::json& bits : row.at("vec")) {
      vector.push_back(std::bit_cast<float>(bits.get<std::uint32_t>()));
    }
    index.insert(golden_id(row.at("id")), std::span<const float>(vector), golden_metadata(row.at("meta")));
  }
  if (index.size() != dump.at("n").get<std::size_t>() || dump.at("index_type").get<std::string>() != "flat") {
    throw std::runtime_error("the dump contradicts itself: " + path.string());
  }
  return index;
}

}  // namespace iqdb_test
