// What a server must hold, according to what it acknowledged, and the vectors of which this is said.
#pragma once

#include <nlohmann/json.hpp>

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <map>
#include <optional>
#include <random>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace load {

using nlohmann::json;

// The version of a vector. An upsert makes the next one.
using Version = std::uint64_t;
constexpr Version gone = 0;

struct Known {
  Version acknowledged = gone;
  std::optional<Version> in_doubt = {};  // of a request that was not answered: it may be present instead
};

// By the number of a vector.
using Record = std::map<std::uint64_t, Known>;

inline Record read_record(const std::string& file) {
  Record record;
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    std::istringstream fields(line);
    std::uint64_t number = 0;
    Known known;
    Version in_doubt = gone;
    if (!(fields >> number >> known.acknowledged)) {
      throw std::runtime_error("'" + file + "' is no record of server_load");
    }
    if (fields >> in_doubt) {
      known.in_doubt = in_doubt;
    }
    record[number] = known;
  }
  return record;
}

inline void write_record(const std::string& file, const Record& record) {
  std::ofstream out(file, std::ios::trunc);
  for (const auto& [number, known] : record) {
    out << number << ' ' << known.acknowledged;
    if (known.in_doubt) {
      out << ' ' << *known.in_doubt;
    }
    out << '\n';
  }
  if (!out.flush()) {
    throw std::runtime_error("cannot write '" + file + "'");
  }
}

// Identifiers are integers and texts.
inline json id_of(std::uint64_t number) { return number % 3 == 0 ? json("v" + std::to_string(number)) : json(number); }

inline std::vector<float> vector_of(std::uint64_t number, Version version, std::size_t dim) {
  std::mt19937_64 random(number * 1'000'003 + version);
  std::vector<float> vector(dim);
  for (float& component : vector) {
    component = static_cast<float>(random() % 4096) / 4096;  // exact in decimal digits, too
  }
  return vector;
}

}  // namespace load
