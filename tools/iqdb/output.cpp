#include "output.hpp"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <system_error>

#include "iqdb/persist/error.hpp"

namespace iqdb_tool {

namespace {

// Invalid UTF-8 of a path or a message becomes U+FFFD: a document is always valid.
std::string dumped(const Json& document, int indent) {
  return document.dump(indent, ' ', false, Json::error_handler_t::replace);
}

bool may_be_coloured(Colour colour, int descriptor) {
  if (colour != Colour::automatic) {
    return colour == Colour::always;
  }
  const char* const no_colour = std::getenv("NO_COLOR");  // NOLINT(concurrency-mt-unsafe): before any thread begins
  const char* const terminal = std::getenv("TERM");       // NOLINT(concurrency-mt-unsafe)
  return ::isatty(descriptor) == 1 && (no_colour == nullptr || *no_colour == '\0') &&
         (terminal == nullptr || std::strcmp(terminal, "dumb") != 0);
}

}  // namespace

std::string harmless(std::string_view text) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string out;
  out.reserve(text.size());
  for (const char character : text) {
    const auto value = static_cast<unsigned char>(character);
    if (value < 0x20 || value == 0x7F) {
      out += "\\x";
      out += digits[value >> 4U];
      out += digits[value & 0xFU];
    } else {
      out += character;
    }
  }
  return out;
}

std::string bytes_text(std::uint64_t bytes) {
  constexpr std::array<const char*, 6> units{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  const std::string exact = std::to_string(bytes) + (bytes == 1 ? " byte" : " bytes");
  if (bytes < 1024) {
    return exact;
  }
  double value = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < units.size()) {
    value /= 1024;
    ++unit;
  }
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.1f %s", value, units.at(unit));
  return std::string(text.data()) + " (" + exact + ")";
}

std::string count_text(std::uint64_t count, const std::string& what) {
  return std::to_string(count) + " " + what + (count == 1 ? "" : "s");
}

Json number_or_null(const std::optional<std::uint64_t>& number) { return number ? Json(*number) : Json(nullptr); }

Json error_document(const Failure& failure) {
  Json error{{"kind", failure.kind}, {"message", failure.message}};
  error["path"] = failure.path.empty() ? Json(nullptr) : Json(failure.path);
  error["offset"] = failure.offset ? Json(*failure.offset) : Json(nullptr);
  return {{"error", std::move(error)}};
}

Output::Output(bool json, Colour colour)
    : json_(json),
      coloured_(!json && may_be_coloured(colour, STDOUT_FILENO)),
      errors_coloured_(may_be_coloured(colour, STDERR_FILENO)) {}

void Output::document(const Json& document) { print(dumped(document, in_lines_ ? -1 : 2) + "\n"); }

void Output::json_line(const Json& document) { print(dumped(document, -1) + "\n"); }

void Output::line(std::string_view text) { print(std::string(text) + "\n"); }

void Output::field(std::string_view label, std::string_view value) {
  constexpr std::size_t width = 16;
  std::string text = "  " + std::string(label);
  text.append(text.size() < width + 2 ? width + 2 - text.size() : 1, ' ');
  print(text + std::string(value) + "\n");
}

void Output::failure(const Failure& failure) {
  if (json_) {
    document(error_document(failure));
    return;
  }
  std::fflush(stdout);  // what was printed before stands before
  const char* const on = errors_coloured_ ? "\x1b[31m" : "";
  const char* const off = errors_coloured_ ? "\x1b[0m" : "";
  std::fprintf(stderr, "iqdb: %serror:%s %s [%s]\n", on, off, harmless(failure.message).c_str(), failure.kind.c_str());
}

void Output::flush() {
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    iqdb::throw_persist_error(iqdb::PersistErrorKind::io, "cannot write to standard output",
                              {.path = {}, .code = {errno, std::generic_category()}, .offset = {}});
  }
}

std::string Output::styled(std::string_view code, std::string_view text) const {
  return coloured_ ? "\x1b[" + std::string(code) + "m" + std::string(text) + "\x1b[0m" : std::string(text);
}

void Output::print(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) {
    flush();
  }
}

}  // namespace iqdb_tool
