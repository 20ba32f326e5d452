#include "utc_time.hpp"

#include <chrono>
#include <iomanip>
#include <iterator>
#include <sstream>
#include <string>

#include <CLI/CLI.hpp>

namespace iqdb_tool {

std::chrono::system_clock::time_point end_of_second(const std::string& text) {
  for (const char* form : {"%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S"}) {
    std::istringstream stream(text);
    std::tm read{};
    stream >> std::get_time(&read, form);
    if (!stream) {
      continue;
    }
    const std::string zone{std::istreambuf_iterator<char>(stream), {}};
    constexpr int first_year = 1900;
    const std::chrono::year_month_day date(std::chrono::year(first_year + read.tm_year),
                                           std::chrono::month(static_cast<unsigned>(read.tm_mon + 1)),
                                           std::chrono::day(static_cast<unsigned>(read.tm_mday)));
    if (!date.ok() || !(zone.empty() || zone == "Z" || zone == " UTC")) {
      break;
    }
    return std::chrono::sys_days(date) + std::chrono::hours(read.tm_hour) + std::chrono::minutes(read.tm_min) +
           std::chrono::seconds(read.tm_sec) + std::chrono::milliseconds(999);
  }
  throw CLI::ValidationError("'" + text + "' is no time; expected one like '2026-11-29 10:52:24', in UTC");
}

}  // namespace iqdb_tool
