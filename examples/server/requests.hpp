// What the body of a request says: JSON becomes the types of the library, and what is wrong is refused in words.
#pragma once

#include <iqdb/index/flat.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace server {

using nlohmann::json;

// A request that the index is never asked about.
class BadRequest : public std::runtime_error {
 public:
  explicit BadRequest(const std::string& what, int status = 400) : std::runtime_error(what), status_(status) {}
  [[nodiscard]] int status() const noexcept { return status_; }

 private:
  int status_;
};

// A misspelt field that may be left out, as "metdata", must not pass unnoticed.
inline void require_known_fields(const json& request, std::initializer_list<std::string_view> known) {
  if (!request.is_object()) {
    throw BadRequest(std::string("the body is a JSON ") + request.type_name() + "; it must be an object");
  }
  for (const auto& [key, value] : request.items()) {
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      throw BadRequest("the field " + iqdb::printable(key) + " is unknown here");
    }
  }
}

inline const json& field(const json& request, const char* name) {
  const auto found = request.find(name);
  if (found == request.end()) {
    throw BadRequest(std::string("the field \"") + name + "\" is missing");
  }
  return *found;
}

inline iqdb::VectorId id_of(const json& request) {
  const json& id = field(request, "id");
  if (id.is_string()) {
    return iqdb::VectorId::from_bytes(id.get_ref<const std::string&>());
  }
  if (!id.is_number_unsigned()) {
    throw BadRequest("an \"id\" is an integer from 0 to 2^64-1, or a text");
  }
  return id.get<std::uint64_t>();
}

inline std::vector<float> vector_of(const json& request) {
  const json& components = field(request, "vector");
  if (!components.is_array()) {
    throw BadRequest("a \"vector\" is an array of numbers");
  }
  std::vector<float> vector;
  vector.reserve(components.size());
  for (const json& component : components) {
    // What is beyond the range of float becomes infinite.
    if (!component.is_number() || !std::isfinite(component.get<float>())) {
      throw BadRequest("component " + std::to_string(vector.size()) + " of \"vector\" is no number that fits a float");
    }
    vector.push_back(component.get<float>());
  }
  return vector;
}

inline iqdb::Value value_of(const std::string& key, const json& value) {
  switch (value.type()) {
    case json::value_t::string:
      return iqdb::make_value(value.get<std::string>());
    case json::value_t::number_integer:
      return iqdb::make_value(value.get<std::int64_t>());
    case json::value_t::number_unsigned:
      return iqdb::make_value(value.get<std::uint64_t>());
    case json::value_t::number_float:
      return iqdb::make_value(value.get<double>());
    case json::value_t::boolean:
      return iqdb::make_value(value.get<bool>());
    case json::value_t::null:
      return iqdb::Null{};
    default:
      throw BadRequest("the metadata of key " + iqdb::printable(key) + " is an " + value.type_name() +
                       "; it must be a text, a number, a bool or null");
  }
}

inline std::optional<iqdb::Metadata> metadata_of(const json& request) {
  const auto found = request.find("metadata");
  if (found == request.end() || found->is_null()) {
    return {};
  }
  if (!found->is_object()) {
    throw BadRequest("\"metadata\" is an object");
  }
  iqdb::Metadata metadata;
  for (const auto& [key, value] : found->items()) {
    metadata.emplace(key, value_of(key, value));
  }
  return metadata;
}

inline iqdb::SearchParams params_of(const json& request) {
  const json k = request.value("k", json(iqdb::SearchParams{}.k));
  if (!k.is_number_unsigned()) {
    throw BadRequest("\"k\" is how many hits are wanted at most: an integer");
  }
  return {.k = k.get<std::size_t>()};
}

}  // namespace server
