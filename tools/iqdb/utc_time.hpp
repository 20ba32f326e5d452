// A time as the command line has it.
#pragma once

#include <chrono>
#include <string>

namespace iqdb_tool {

/// The end of the second that `text` names: "2026-11-29 10:52:24", with a T in the middle or not, with " UTC" or "Z" behind it or
/// not. It is UTC in any case. Throws CLI::ValidationError for other text.
[[nodiscard]] std::chrono::system_clock::time_point end_of_second(const std::string& text);

}  // namespace iqdb_tool
