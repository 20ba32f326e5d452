// Calls of a FileSystem on files by their paths: each opens the directory, works in it, and closes it.
#pragma once

#include <filesystem>
#include <system_error>

#include "iqdb/persist/storage/file_system.hpp"
#include "support/catch.hpp"

namespace iqdb_test {

template <class F, class Call>
auto in_directory_of(F& system, const std::filesystem::path& path, Call&& call) {
  const auto [directory, error] = system.open(path.parent_path(), iqdb::OpenMode::directory, 0);
  REQUIRE_FALSE(error);
  const auto answer = call(directory, path.filename());
  system.close(directory);
  return answer;
}

template <class F>
std::error_code rename_by_path(F& system, const std::filesystem::path& from, const std::filesystem::path& to) {
  return in_directory_of(system, from, [&](auto directory, const std::filesystem::path& name) {
    return system.rename(directory, name, to.filename());
  });
}

template <class F>
std::error_code link_by_path(F& system, const std::filesystem::path& from, const std::filesystem::path& to) {
  return in_directory_of(system, from, [&](auto directory, const std::filesystem::path& name) {
    return system.link(directory, name, to.filename());
  });
}

template <class F>
std::error_code remove_by_path(F& system, const std::filesystem::path& path) {
  return in_directory_of(
      system, path, [&](auto directory, const std::filesystem::path& name) { return system.remove(directory, name); });
}

template <class F>
auto lock_by_path(F& system, const std::filesystem::path& path) {
  return in_directory_of(
      system, path, [&](auto directory, const std::filesystem::path& name) { return system.lock(directory, name); });
}

}  // namespace iqdb_test
