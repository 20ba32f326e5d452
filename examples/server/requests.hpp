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
#include <utility>
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

// The values by key that the field `name` has, if it is there.
inline std::optional<iqdb::Metadata> metadata_of(const json& request, const char* name = "metadata") {
  const auto found = request.find(name);
  if (found == request.end() || found->is_null()) {
    return {};
  }
  if (!found->is_object()) {
    throw BadRequest("\"" + std::string(name) + "\" is an object");
  }
  iqdb::Metadata metadata;
  for (const auto& [key, value] : found->items()) {
    metadata.emplace(key, value_of(key, value));
  }
  return metadata;
}

// Admits the vectors whose metadata has all of these values.
inline iqdb::SearchFilter filter_of(const json& request) {
  std::optional<iqdb::Metadata> wanted = metadata_of(request, "where");
  if (!wanted) {
    return {};
  }
  return {[wanted = std::move(*wanted)](const iqdb::VectorId&, const std::optional<iqdb::Metadata>& metadata) {
    return std::ranges::all_of(wanted, [&](const auto& each) {
      if (!metadata) {
        return false;
      }
      const auto found = metadata->find(each.first);
      return found != metadata->end() && found->second == each.second;
    });
  }};
}

inline iqdb::SearchParams params_of(const json& request) {
  iqdb::SearchParams params{.filter = filter_of(request)};
  if (const auto radius = request.find("radius"); radius != request.end()) {
    if (!radius->is_number()) {
      throw BadRequest("\"radius\" is how far a hit is at most: a number");
    }
    params.radius = radius->get<float>();
    params.k = iqdb::SearchParams::no_limit;  // who names a radius and no number wants all that is within
  }
  const json k = request.value("k", json(params.k));
  if (!k.is_number_unsigned()) {
    throw BadRequest("\"k\" is how many hits are wanted at most: an integer");
  }
  params.k = k.get<std::size_t>();
  return params;
}

}  // namespace server
