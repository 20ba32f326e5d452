// What a call throws.
#pragma once

#include <exception>
#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "iqdb/index_error.hpp"
#include "iqdb/persist/error.hpp"
#include "support/catch.hpp"

namespace iqdb_test {

namespace detail {

// FAIL in a template would be one copy of the macro's code for each callable.
[[noreturn]] inline void fail(const std::string& message) {
  FAIL(message);
  throw std::logic_error("FAIL returned");
}

template <class Error, class Callable>
Error thrown_by(Callable&& callable, const std::string& expected) {
  try {
    if constexpr (std::is_void_v<std::invoke_result_t<Callable>>) {
      std::invoke(std::forward<Callable>(callable));
    } else {
      static_cast<void>(std::invoke(std::forward<Callable>(callable)));
    }
  } catch (const Error& error) {
    return error;
  } catch (const std::exception& error) {
    fail("expected " + expected + ", but this was thrown: " + error.what());
  } catch (...) {
    fail("expected " + expected + ", but what was thrown is no std::exception");
  }
  fail("expected " + expected + ", but nothing was thrown");
}

}  // namespace detail

/// The PersistError that `callable` throws; the test fails where it throws nothing or something else.
template <class Callable>
[[nodiscard]] iqdb::PersistError error_of(Callable&& callable) {
  return detail::thrown_by<iqdb::PersistError>(std::forward<Callable>(callable), "a PersistError");
}

/// The IndexError that `callable` throws; the test fails where it throws nothing or something else.
template <class Callable>
[[nodiscard]] iqdb::IndexError index_error_of(Callable&& callable) {
  return detail::thrown_by<iqdb::IndexError>(std::forward<Callable>(callable), "an IndexError");
}

/// Requires that `callable` throws a PersistError of `kind`, and returns it.
template <class Callable>
iqdb::PersistError require_kind(iqdb::PersistErrorKind kind, Callable&& callable) {
  iqdb::PersistError error = error_of(std::forward<Callable>(callable));
  if (error.kind() != kind) {
    detail::fail("expected the kind " + std::string(to_string(kind)) + ", got " + std::string(to_string(error.kind())) +
                 ": " + error.what());
  }
  CHECK(error.kind() == kind);
  return error;
}

/// Requires that `callable` throws an IndexError of `kind`, and returns it.
template <class Callable>
iqdb::IndexError require_kind(iqdb::IndexErrorKind kind, Callable&& callable) {
  iqdb::IndexError error = index_error_of(std::forward<Callable>(callable));
  if (error.kind() != kind) {
    detail::fail("expected the kind " + std::string(to_string(kind)) + ", got " + std::string(to_string(error.kind())) +
                 ": " + error.what());
  }
  CHECK(error.kind() == kind);
  return error;
}

/// Whether the message of `error` has `part` in it.
[[nodiscard]] inline bool mentions(const std::exception& error, std::string_view part) {
  return std::string_view(error.what()).find(part) != std::string_view::npos;
}

}  // namespace iqdb_test

// Catch2 prints a kind by its name.
template <>
struct Catch::StringMaker<iqdb::PersistErrorKind> {
  static std::string convert(iqdb::PersistErrorKind kind) { return std::string(iqdb::to_string(kind)); }
};
template <>
struct Catch::StringMaker<iqdb::IndexErrorKind> {
  static std::string convert(iqdb::IndexErrorKind kind) { return std::string(iqdb::to_string(kind)); }
};
