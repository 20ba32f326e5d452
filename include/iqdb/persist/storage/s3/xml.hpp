// Reads the XML that S3 answers: lists of keys, and errors. Strict, and small: elements, text, and the five entities and numbers
// of characters. What is anything else (a document type, a comment, CDATA, an HTML page) is refused as a whole.
//
// Invariant: no input makes it use more memory than a small multiple of what it may hold, or more stack than its depth allows.
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace s3 {

/// An element. Attributes are not kept.
struct XmlElement {
  std::string name;                  ///< as it is written
  std::string text;                  ///< between its tags, without that of its children
  std::vector<XmlElement> children;  ///< in their order

  /// The text of the first child of this name, or nothing if there is none.
  [[nodiscard]] std::optional<std::string> text_of(std::string_view child) const {
    const auto found = std::ranges::find(children, child, &XmlElement::name);
    return found == children.end() ? std::nullopt : std::optional(found->text);
  }
};

/// Reads one document. One thread uses it, once.
class XmlReader {
 public:
  /// Reads `document`, which must outlive this.
  explicit XmlReader(std::string_view document) noexcept : rest_(document) {}

  /// The root, or nothing if the document is not well-formed, deeper than 16 elements, has more than 50,000 of them, or has
  /// something that S3 does not write.
  [[nodiscard]] std::optional<XmlElement> read() {
    take("\xEF\xBB\xBF");
    skip_space();
    if (take("<?xml")) {
      const std::size_t end = rest_.find("?>");
      if (end == std::string_view::npos) {
        return std::nullopt;
      }
      rest_.remove_prefix(end + 2);
    }
    skip_space();
    XmlElement root;
    if (!read_element(root, 1)) {
      return std::nullopt;
    }
    skip_space();
    return rest_.empty() ? std::optional(std::move(root)) : std::nullopt;
  }

 private:
  static constexpr unsigned most_depth = 16;
  static constexpr std::size_t most_elements = 50000;
  static constexpr std::string_view space = " \t\r\n";

  bool take(std::string_view text) {
    if (!rest_.starts_with(text)) {
      return false;
    }
    rest_.remove_prefix(text.size());
    return true;
  }

  void skip_space() { rest_.remove_prefix(std::min(rest_.find_first_not_of(space), rest_.size())); }

  std::string_view take_name() {
    constexpr std::string_view letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_:-.";
    const std::string_view name = rest_.substr(0, rest_.find_first_not_of(letters));
    rest_.remove_prefix(name.size());
    return name;
  }

  // Skips the attributes of a tag, whose form must be right.
  bool skip_attributes() {
    for (;;) {
      const std::size_t before = rest_.size();
      skip_space();
      if (rest_.starts_with(">") || rest_.starts_with("/>")) {
        return true;
      }
      if (before == rest_.size() || take_name().empty() || !take("=") || rest_.empty()) {
        return false;
      }
      const char quote = rest_.front();
      const std::size_t end = quote == '"' || quote == '\'' ? rest_.find(quote, 1) : std::string_view::npos;
      if (end == std::string_view::npos || rest_.substr(0, end).find('<') != std::string_view::npos) {
        return false;
      }
      rest_.remove_prefix(end + 1);
    }
  }

  bool read_element(XmlElement& element, unsigned depth) {
    if (depth > most_depth || ++elements_ > most_elements || !take("<")) {
      return false;
    }
    element.name = take_name();
    if (element.name.empty() || !skip_attributes()) {
      return false;
    }
    if (take("/>")) {
      return true;
    }
    if (!take(">")) {
      return false;
    }
    while (!take("</")) {
      if (rest_.starts_with("<")) {
        if (!read_element(element.children.emplace_back(), depth + 1)) {
          return false;
        }
      } else if (!read_character(element.text)) {
        return false;
      }
    }
    if (take_name() != element.name) {
      return false;
    }
    skip_space();
    return take(">");
  }

  // Reads one character of text, or what stands for one.
  bool read_character(std::string& text) {
    if (rest_.empty()) {
      return false;
    }
    if (rest_.front() == '&') {
      return read_entity(text);
    }
    const auto value = static_cast<unsigned char>(rest_.front());
    if (value < 0x20U && space.find(rest_.front()) == std::string_view::npos) {
      return false;
    }
    text += rest_.front();
    rest_.remove_prefix(1);
    return true;
  }

  bool read_entity(std::string& text) {
    constexpr std::size_t longest = 10;
    const std::size_t end = rest_.substr(0, longest).find(';');
    if (end == std::string_view::npos) {
      return false;
    }
    const std::string_view name = rest_.substr(1, end - 1);
    rest_.remove_prefix(end + 1);
    if (name.starts_with("#")) {
      return read_number(name.substr(1), text);
    }
    constexpr auto entities = std::to_array<std::pair<std::string_view, char>>(
        {{"amp", '&'}, {"lt", '<'}, {"gt", '>'}, {"quot", '"'}, {"apos", '\''}});
    const auto* const found = std::ranges::find(entities, name, &std::pair<std::string_view, char>::first);
    if (found == std::end(entities)) {
      return false;
    }
    text += found->second;
    return true;
  }

  // Adds the character of this number in UTF-8.
  static bool read_number(std::string_view digits, std::string& text) {
    const int base = digits.starts_with("x") ? 16 : 10;
    digits.remove_prefix(base == 16 ? 1 : 0);
    std::uint32_t code = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), code, base);
    const bool is_surrogate = code >= 0xD800U && code <= 0xDFFFU;
    if (digits.empty() || error != std::errc() || end != digits.data() + digits.size() || code == 0 || is_surrogate ||
        code > 0x10FFFFU) {
      return false;
    }
    const auto add = [&](std::uint32_t byte) { text += static_cast<char>(static_cast<unsigned char>(byte)); };
    if (code < 0x80U) {
      add(code);
    } else if (code < 0x800U) {
      add(0xC0U | (code >> 6U));
    } else if (code < 0x10000U) {
      add(0xE0U | (code >> 12U));
      add(0x80U | ((code >> 6U) & 0x3FU));
    } else {
      add(0xF0U | (code >> 18U));
      add(0x80U | ((code >> 12U) & 0x3FU));
      add(0x80U | ((code >> 6U) & 0x3FU));
    }
    if (code >= 0x80U) {
      add(0x80U | (code & 0x3FU));
    }
    return true;
  }

  std::string_view rest_;
  std::size_t elements_ = 0;
};

/// The root of a document that S3 may have written, or nothing: see XmlReader::read(). Any thread may call it.
[[nodiscard]] inline std::optional<XmlElement> read_xml(std::string_view document) {
  return XmlReader(document).read();
}

}  // namespace s3
}  // namespace iqdb
