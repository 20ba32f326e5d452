#include "number_list.hpp"

#include <algorithm>
#include <charconv>
#include <string>
#include <system_error>

#include "iqdb/persist/error.hpp"
#include "iqdb/text.hpp"

namespace iqdb_tool {

std::vector<float> parse_numbers(std::string_view text, std::string_view what) {
  constexpr std::string_view spaces = " \t\r\n";
  constexpr std::string_view between = ", \t\r\n";
  const auto trim = [&text](std::string_view characters) {
    text.remove_prefix(std::min(text.find_first_not_of(characters), text.size()));
    text = text.substr(0, text.find_last_not_of(characters) + 1);
  };
  trim(spaces);
  if (text.size() >= 2 && text.front() == '[' && text.back() == ']') {
    text = text.substr(1, text.size() - 2);
  }
  trim(between);
  std::vector<float> numbers;
  while (!text.empty()) {
    const std::string_view word = text.substr(0, text.find_first_of(between));
    const std::string_view digits = word.starts_with('+') ? word.substr(1) : word;
    float number = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (error != std::errc() || end != digits.data() + digits.size()) {
      iqdb::throw_persist_error(iqdb::PersistErrorKind::invalid_config,
                                std::string(what) + " has " + iqdb::printable(word) + " as its component " +
                                    std::to_string(numbers.size() + 1) +
                                    "; expected floats, separated by commas or spaces");
    }
    numbers.push_back(number);
    text.remove_prefix(word.size());
    text.remove_prefix(std::min(text.find_first_not_of(between), text.size()));
  }
  return numbers;
}

}  // namespace iqdb_tool
