#include "iqdb/persist/storage/s3/percent.hpp"

#include <string>

#include "support/catch.hpp"

namespace of_s3_percent {

using iqdb::s3::percent_decoded;
using iqdb::s3::percent_encoded;

TEST_CASE("percent_encoded: leaves only what S3 does and writes the rest with upper-case digits", "[s3_percent]") {
  CHECK(percent_encoded("AZaz09-._~", false) == "AZaz09-._~");
  CHECK(percent_encoded("a b+c%d&e=f*g'h(i)!", false) == "a%20b%2Bc%25d%26e%3Df%2Ag%27h%28i%29%21");
  CHECK(percent_encoded("\xC3\xA4\xFF", false) == "%C3%A4%FF");
  CHECK(percent_encoded("a/b", true) == "a/b");
  CHECK(percent_encoded("a/b", false) == "a%2Fb");
}

TEST_CASE("percent_decoded: gives back every byte and takes a plus for a space", "[s3_percent]") {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) {
    all += static_cast<char>(static_cast<unsigned char>(byte));
  }
  CHECK(percent_decoded(percent_encoded(all, true)) == all);
  CHECK(percent_decoded("a+b%2Bc%2bd") == "a b+c+d");
}

TEST_CASE("percent_decoded: refuses what is cut or has other digits", "[s3_percent]") {
  for (const char* text : {"%", "a%2", "%G0", "%0g", "%%20", "% 1"}) {
    CHECK_FALSE(percent_decoded(text));
  }
}

}  // namespace of_s3_percent
