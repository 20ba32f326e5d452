// What iqdb prints: lines of text, with colours on a terminal, or JSON.
//
// Invariants: standard output carries answers alone, standard error everything else. Text that comes from a file or from
// the command line never reaches a terminal as control characters.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "exit_code.hpp"

namespace iqdb_tool {

/// JSON whose members stay in the order in which they were added.
using Json = nlohmann::ordered_json;

/// When text is coloured.
enum class Colour { automatic, always, never };

/// `text` with control characters as \xNN, so that a file name or a message cannot steer a terminal.
[[nodiscard]] std::string harmless(std::string_view text);

/// A number, or null for one that is not known.
[[nodiscard]] Json number_or_null(const std::optional<std::uint64_t>& number);

/// A number of bytes for people: "1.5 GiB (1610612736 bytes)".
[[nodiscard]] std::string bytes_text(std::uint64_t bytes);

/// How many there are of something: "1 vector", "2 vectors".
[[nodiscard]] std::string count_text(std::uint64_t count, const std::string& what);

/// The document that tells of an error: {"error": {"kind", "message", "path", "offset"}}.
[[nodiscard]] Json error_document(const Failure& failure);

/// Prints answers. Used by one thread.
class Output {
 public:
  Output(bool json, Colour colour);

  /// Whether answers are JSON.
  [[nodiscard]] bool json() const noexcept { return json_; }

  /// Prints a document, indented, and a line feed. One command prints one.
  void document(const Json& document);

  /// From now on failures are documents of one line, too: for commands that print a document for each item.
  void answer_in_lines() noexcept { in_lines_ = true; }

  /// Prints a document in one line.
  void json_line(const Json& document);

  /// Prints `text` and a line feed. Pass what did not come from here through harmless().
  void line(std::string_view text = {});

  /// Prints "  label   value", aligned with other fields.
  void field(std::string_view label, std::string_view value);

  /// Words for lines: bold, green, yellow, red where text is coloured.
  [[nodiscard]] std::string bold(std::string_view text) const { return styled("1", text); }
  [[nodiscard]] std::string good(std::string_view text) const { return styled("32", text); }
  [[nodiscard]] std::string warning(std::string_view text) const { return styled("33", text); }
  [[nodiscard]] std::string bad(std::string_view text) const { return styled("31", text); }

  /// Tells of a failure: a document with JSON, else a line to standard error.
  void failure(const Failure& failure);

  /// Writes what is still held. Throws PersistError io if standard output does not take it, e.g. on a full disk.
  void flush();

 private:
  [[nodiscard]] std::string styled(std::string_view code, std::string_view text) const;
  void print(std::string_view text);

  bool json_;
  bool in_lines_ = false;
  bool coloured_;
  bool errors_coloured_;
};

}  // namespace iqdb_tool
