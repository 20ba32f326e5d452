// How a call ended, in words: for calls whose outcome crosses a process or a thread, and for comparing many at once.
#pragma once

#include <exception>
#include <string>
#include <utility>

#include "iqdb/persist/error.hpp"

namespace iqdb_test {

/// "ok", or the kind of the PersistError that `callable` throws, for io followed by the number of the system's error.
template <class Callable>
[[nodiscard]] std::string outcome_of(Callable&& callable) {
  try {
    static_cast<void>(std::forward<Callable>(callable)());
    return "ok";
  } catch (const iqdb::PersistError& error) {
    std::string text(to_string(error.kind()));
    if (error.code()) {
      text += " " + std::to_string(error.code().value());
    }
    return text;
  } catch (const std::exception& error) {
    return std::string("another exception: ") + error.what();
  } catch (...) {
    return "what is no std::exception";
  }
}

/// What outcome_of gives for a call that the system refused with this error.
[[nodiscard]] inline std::string refused_with(int error) { return "io " + std::to_string(error); }

}  // namespace iqdb_test
