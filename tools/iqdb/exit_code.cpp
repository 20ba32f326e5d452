#include "exit_code.hpp"

#include <exception>
#include <new>
#include <stdexcept>
#include <system_error>

#include "iqdb/index_error.hpp"

namespace iqdb_tool {

ExitCode exit_code_for(iqdb::PersistErrorKind kind) noexcept {
  switch (kind) {
    case iqdb::PersistErrorKind::io:
      return ExitCode::io;
    case iqdb::PersistErrorKind::invalid_config:
      return ExitCode::usage;
    default:
      return ExitCode::damaged;
  }
}

Failure Failure::of(const iqdb::PersistError& error) {
  return {.code = exit_code_for(error.kind()),
          .kind = std::string(to_string(error.kind())),
          .message = error.what(),
          .path = error.path().string(),
          .offset = error.offset()};
}

Failure Failure::current() {
  try {
    throw;
  } catch (const iqdb::PersistError& error) {
    return of(error);
  } catch (const iqdb::IndexError& error) {
    return {.code = ExitCode::damaged,
            .kind = std::string(to_string(error.kind())),
            .message = error.what(),
            .path = {},
            .offset = {}};
  } catch (const std::bad_alloc&) {
    return {.code = ExitCode::io,
            .kind = "out_of_memory",
            .message = "the system has no memory left for it; free some and try again",
            .path = {},
            .offset = {}};
  } catch (const std::system_error& error) {
    return {.code = ExitCode::io, .kind = "io", .message = error.what(), .path = {}, .offset = {}};
  } catch (const std::exception& error) {
    return {.code = ExitCode::damaged, .kind = "internal", .message = error.what(), .path = {}, .offset = {}};
  }
}

}  // namespace iqdb_tool
