#include "iqdb/text.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "support/catch.hpp"

namespace {

using namespace std::string_view_literals;
using iqdb::hexadecimal;
using iqdb::is_utf8;
using iqdb::printable;

std::string bytes(std::vector<unsigned> values) {
  std::string text;
  for (const unsigned value : values) {
    text += static_cast<char>(static_cast<unsigned char>(value));
  }
  return text;
}

// A row of table 3-7 of The Unicode Standard: the ranges of the bytes of a well-formed sequence.
struct Range {
  unsigned first, last;
};
using Row = std::vector<Range>;
const std::vector<Row> table_3_7 = {
    {{0x00, 0x7F}},
    {{0xC2, 0xDF}, {0x80, 0xBF}},
    {{0xE0, 0xE0}, {0xA0, 0xBF}, {0x80, 0xBF}},
    {{0xE1, 0xEC}, {0x80, 0xBF}, {0x80, 0xBF}},
    {{0xED, 0xED}, {0x80, 0x9F}, {0x80, 0xBF}},
    {{0xEE, 0xEF}, {0x80, 0xBF}, {0x80, 0xBF}},
    {{0xF0, 0xF0}, {0x90, 0xBF}, {0x80, 0xBF}, {0x80, 0xBF}},
    {{0xF1, 0xF3}, {0x80, 0xBF}, {0x80, 0xBF}, {0x80, 0xBF}},
    {{0xF4, 0xF4}, {0x80, 0x8F}, {0x80, 0xBF}, {0x80, 0xBF}},
};

bool in_table(const std::vector<unsigned>& sequence) {
  for (const Row& row : table_3_7) {
    bool matches = row.size() == sequence.size();
    for (std::size_t at = 0; matches && at < row.size(); ++at) {
      matches = sequence[at] >= row[at].first && sequence[at] <= row[at].last;
    }
    if (matches) {
      return true;
    }
  }
  return false;
}

// The bytes at which one range of the table ends and another begins.
const std::vector<unsigned> edges = {0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1,
                                     0xC2, 0xDF, 0xE0, 0xE1, 0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3,
                                     0xF4, 0xF5, 0xF7, 0xF8, 0xFB, 0xFC, 0xFD, 0xFE, 0xFF};

// Whether a text of up to three bytes is a sequence of sequences of the table.
bool well_formed(const std::vector<unsigned>& text) {
  if (text.empty()) {
    return true;
  }
  for (std::size_t length = 1; length <= text.size() && length <= 4; ++length) {
    const auto middle = text.begin() + static_cast<std::ptrdiff_t>(length);
    if (in_table({text.begin(), middle}) && well_formed({middle, text.end()})) {
      return true;
    }
  }
  return false;
}

}  // namespace

TEST_CASE("is_utf8: a single byte is well-formed up to 7F", "[text]") {
  for (unsigned value = 0; value <= 0xFF; ++value) {
    CAPTURE(value);
    CHECK(is_utf8(bytes({value})) == (value <= 0x7F));
  }
}

TEST_CASE("is_utf8: all pairs of bytes are judged as the table does", "[text]") {
  unsigned wrong = 0;
  for (unsigned first = 0; first <= 0xFF; ++first) {
    for (unsigned second = 0; second <= 0xFF; ++second) {
      const bool expected =
          (first <= 0x7F && second <= 0x7F) || (first >= 0xC2 && first <= 0xDF && second >= 0x80 && second <= 0xBF);
      wrong += is_utf8(bytes({first, second})) == expected ? 0U : 1U;
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("is_utf8: three bytes at the edges of the table are judged as it does", "[text]") {
  std::vector<std::vector<unsigned>> wrong;
  for (const unsigned first : edges) {
    for (const unsigned second : edges) {
      for (const unsigned third : edges) {
        const std::vector<unsigned> text = {first, second, third};
        if (is_utf8(bytes(text)) != well_formed(text)) {
          wrong.push_back(text);
        }
      }
    }
  }
  CHECK(wrong.empty());
}

TEST_CASE("is_utf8: four bytes at the edges of the table are judged as it does", "[text]") {
  std::vector<std::vector<unsigned>> wrong;
  for (const unsigned first : edges) {
    for (const unsigned second : edges) {
      for (const unsigned third : {0x00U, 0x7FU, 0x80U, 0x8FU, 0xBFU, 0xC0U, 0xFFU}) {
        for (const unsigned fourth : {0x00U, 0x7FU, 0x80U, 0x8FU, 0xBFU, 0xC0U, 0xFFU}) {
          const std::vector<unsigned> text = {first, second, third, fourth};
          if (is_utf8(bytes(text)) != well_formed(text)) {
            wrong.push_back(text);
          }
        }
      }
    }
  }
  CHECK(wrong.empty());
}

TEST_CASE("is_utf8: no text is well-formed", "[text]") { CHECK(is_utf8("")); }

TEST_CASE("is_utf8: takes the first and last code point of each length", "[text]") {
  CHECK(is_utf8("\0"sv));
  CHECK(is_utf8("\x7F"));
  CHECK(is_utf8("\xC2\x80"));
  CHECK(is_utf8("\xDF\xBF"));
  CHECK(is_utf8("\xE0\xA0\x80"));
  CHECK(is_utf8("\xEF\xBF\xBF"));
  CHECK(is_utf8("\xF0\x90\x80\x80"));
  CHECK(is_utf8("\xF4\x8F\xBF\xBF"));
}

TEST_CASE("is_utf8: refuses overlong forms and surrogates and what is beyond the last code point", "[text]") {
  CHECK_FALSE(is_utf8("\xC0\x80"));
  CHECK_FALSE(is_utf8("\xC1\xBF"));
  CHECK_FALSE(is_utf8("\xE0\x9F\xBF"));
  CHECK_FALSE(is_utf8("\xF0\x8F\xBF\xBF"));
  CHECK_FALSE(is_utf8("\xED\xA0\x80"));
  CHECK_FALSE(is_utf8("\xED\xBF\xBF"));
  CHECK_FALSE(is_utf8("\xF4\x90\x80\x80"));
  CHECK_FALSE(is_utf8("\xF5\x80\x80\x80"));
}

TEST_CASE("is_utf8: a sequence cut short by the end or by another is refused", "[text]") {
  CHECK_FALSE(is_utf8("abc\xE2\x82"));
  CHECK_FALSE(is_utf8("abc\xF0\x9F\x99"));
  CHECK_FALSE(is_utf8("\xE2\x82xyz"));
  CHECK_FALSE(is_utf8("\xE2\xE2\x82\xAC"));
  CHECK(is_utf8("abc\xE2\x82\xACxyz\xF0\x9F\x99\x82"));
}

TEST_CASE("is_utf8: works at compile time", "[text]") {
  static_assert(is_utf8("flat"));
  static_assert(!is_utf8("\xFF"));
  SUCCEED();
}

TEST_CASE("printable: keeps printable ASCII and escapes every other byte", "[text]") {
  for (unsigned value = 0; value <= 0xFF; ++value) {
    CAPTURE(value);
    const std::string digits = "0123456789abcdef";
    const bool kept = value >= 0x20 && value <= 0x7E && value != '"' && value != '\\';
    const std::string expected = kept ? bytes({value}) : std::string("\\x") + digits[value / 16] + digits[value % 16];
    CHECK(printable(bytes({value})) == '"' + expected + '"');
  }
}

TEST_CASE("printable: says where it cut", "[text]") {
  CHECK(printable("abc", 3) == "\"abc\"");
  CHECK(printable("abcd", 3) == "\"abc\"…");
  CHECK(printable("", 0) == "\"\"");
  CHECK(printable(std::string(64, 'x')) == '"' + std::string(64, 'x') + '"');
  CHECK(printable(std::string(65, 'x')) == '"' + std::string(64, 'x') + "\"…");
}

TEST_CASE("hexadecimal: eight digits with leading zeros", "[text]") {
  CHECK(hexadecimal(0) == "0x00000000");
  CHECK(hexadecimal(0xF) == "0x0000000f");
  CHECK(hexadecimal(0x01234567) == "0x01234567");
  CHECK(hexadecimal(0x89ABCDEF) == "0x89abcdef");
  CHECK(hexadecimal(0xFFFFFFFF) == "0xffffffff");
}
