// What is known of a log, as text and as JSON.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "iqdb/persist/inspect.hpp"
#include "output.hpp"

namespace iqdb_tool {

/// A number that names something, as hexadecimal text: JSON's numbers are too small for it.
[[nodiscard]] std::string name_of_id(std::uint64_t id);

/// The facts of a report as JSON. `beside_snapshot` is whether it was read together with a snapshot.
[[nodiscard]] Json json_of_log(const iqdb::LogReport& report, const std::filesystem::path& path, bool beside_snapshot);

/// Prints the facts of a report as fields. `in_use` is whether a writer holds the index.
void print_log(Output& out, const iqdb::LogReport& report, bool beside_snapshot, bool in_use);

/// Problems as JSON: an array of objects as in error_document().
[[nodiscard]] Json json_of_problems(const std::vector<iqdb::PersistError>& problems);

/// Prints problems, one a line.
void print_problems(Output& out, const std::vector<iqdb::PersistError>& problems);

}  // namespace iqdb_tool
