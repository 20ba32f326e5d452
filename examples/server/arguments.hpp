// The command line of a program: words, options with a value, and flags without one.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace server {

// A command line that cannot be understood.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class Arguments {
 public:
  // `options` are known, and a value follows each of them; `flags` are known, too. Throws UsageError.
  Arguments(int argc, char** argv, std::initializer_list<std::string_view> options,
            std::initializer_list<std::string_view> flags = {}) {
    for (int i = 1; i < argc; ++i) {
      const std::string argument = argv[i];
      if (!argument.starts_with("--")) {
        words_.push_back(argument);
      } else if (std::find(flags.begin(), flags.end(), argument) != flags.end()) {
        options_[argument] = {};
      } else if (std::find(options.begin(), options.end(), argument) == options.end()) {
        throw UsageError("there is no option " + argument);
      } else if (i + 1 == argc) {
        throw UsageError(argument + " needs a value");
      } else {
        options_[argument] = argv[++i];
      }
    }
  }

  [[nodiscard]] const std::vector<std::string>& words() const noexcept { return words_; }

  // Whether a flag or an option was given.
  [[nodiscard]] bool has(const std::string& option) const { return options_.contains(option); }

  [[nodiscard]] std::string text(const std::string& option, const std::string& otherwise) const {
    const auto found = options_.find(option);
    return found == options_.end() ? otherwise : found->second;
  }

  // Throws UsageError for a value that is not from `least` to `most`.
  template <class T>
  [[nodiscard]] T number(const std::string& option, T otherwise, T least, T most) const {
    const auto found = options_.find(option);
    if (found == options_.end()) {
      return otherwise;
    }
    const std::string& text = found->second;
    T value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value < least || value > most) {
      throw UsageError(option + " is '" + text + "'; it must be a number from " + std::to_string(least) + " to " +
                       std::to_string(most));
    }
    return value;
  }

 private:
  std::vector<std::string> words_;
  std::map<std::string, std::string> options_;
};

}  // namespace server
