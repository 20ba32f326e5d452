// What is answered: hits as JSON, and a status and a text for each failure.
#pragma once

#include <iqdb/index/flat.hpp>
#include <iqdb/persist/error.hpp>

#include <httplib.h>
#include <nlohmann/json.hpp>

#include <exception>
#include <new>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>

#include "requests.hpp"
#include "service.hpp"

namespace server {

inline json json_of(const iqdb::VectorId& id) { return id.is_integer() ? json(id.integer()) : json(id.bytes()); }

inline json json_of(const iqdb::Metadata& metadata) {
  json object = json::object();
  for (const auto& [key, value] : metadata) {
    object[key] = std::visit(
        [](const auto& content) -> json {
          if constexpr (std::is_same_v<decltype(content), const iqdb::Null&>) {
            return nullptr;
          } else {
            return content;
          }
        },
        value);
  }
  return object;
}

inline json json_of(const iqdb::Hit& hit) {
  json answer = {{"id", json_of(hit.id)}, {"distance", hit.distance}};
  if (hit.metadata) {
    answer["metadata"] = json_of(*hit.metadata);
  }
  return answer;
}

inline json json_of(const iqdb::VectorId& id, const iqdb::StoredVector& stored) {
  json answer = {{"id", json_of(id)}, {"vector", stored.vector}};
  if (stored.metadata) {
    answer["metadata"] = json_of(*stored.metadata);
  }
  return answer;
}

inline void answer(httplib::Response& response, int status, const json& body) {
  response.status = status;
  // Another program may have stored bytes that are no UTF-8, which JSON cannot show.
  response.set_content(body.dump(-1, ' ', false, json::error_handler_t::replace) + "\n", "application/json");
}

inline void answer_with_error(httplib::Response& response, int status, std::string_view kind,
                              std::string_view message) {
  answer(response, status, {{"error", kind}, {"message", message}});
}

inline int status_of(iqdb::IndexErrorKind kind) {
  switch (kind) {
    case iqdb::IndexErrorKind::not_found:
      return 404;
    case iqdb::IndexErrorKind::duplicate:
      return 409;
    default:
      return 400;
  }
}

// 503 for what may be different when the disk has space again, when the server was started again, or at another server.
inline int status_of(iqdb::PersistErrorKind kind) {
  switch (kind) {
    case iqdb::PersistErrorKind::record_too_large:
      return 413;
    case iqdb::PersistErrorKind::io:
    case iqdb::PersistErrorKind::poisoned:
    case iqdb::PersistErrorKind::fenced:
      return 503;
    default:
      return 500;
  }
}

inline void answer_with_current_exception(httplib::Response& response) {
  try {
    throw;
  } catch (const BadRequest& error) {
    answer_with_error(response, error.status(), "bad_request", error.what());
  } catch (const OnlyFollows& error) {
    answer_with_error(response, 503, "only_follows", error.what());
  } catch (const json::exception& error) {
    answer_with_error(response, 400, "bad_json", error.what());
  } catch (const iqdb::IndexError& error) {
    answer_with_error(response, status_of(error.kind()), to_string(error.kind()), error.what());
  } catch (const iqdb::PersistError& error) {
    answer_with_error(response, status_of(error.kind()), to_string(error.kind()), error.what());
  } catch (const std::bad_alloc&) {
    answer_with_error(response, 503, "out_of_memory", "there is not enough memory for this request");
  } catch (const std::exception& error) {
    answer_with_error(response, 500, "internal", error.what());
  }
}

}  // namespace server
