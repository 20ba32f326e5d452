#include "iqdb/persist/storage/s3/signature.hpp"

#include <chrono>
#include <span>
#include <string>
#include <string_view>

#include "iqdb/persist/storage/s3/digest.hpp"
#include "support/catch.hpp"

namespace of_s3_signature {

using iqdb::s3::authorization;
using iqdb::s3::RequestToSign;

// The examples of "Signature Calculations for the Authorization Header" in the Amazon S3 API Reference.
const iqdb::S3Credentials of_examples{.access_key = "AKIAIOSFODNN7EXAMPLE",
                                      .secret_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                                      .session_token = {}};
const std::string host_of_examples = "examplebucket.s3.amazonaws.com";
const std::string date_of_examples = "20130524T000000Z";

std::string hash_of(std::string_view text) { return iqdb::s3::hex(iqdb::s3::sha256(std::as_bytes(std::span(text)))); }

std::string signature_of(RequestToSign request) {
  request.headers.emplace_back("host", host_of_examples);
  request.headers.emplace_back("x-amz-content-sha256", request.payload_hash);
  request.headers.emplace_back("x-amz-date", date_of_examples);
  const std::string value = authorization(request, of_examples, "us-east-1", date_of_examples);
  return value.substr(value.rfind('=') + 1);
}

TEST_CASE("authorization: signs a GET with a range as AWS's example", "[s3_signature]") {
  CHECK(signature_of(
            {.method = "GET", .path = "/test.txt", .headers = {{"range", "bytes=0-9"}}, .payload_hash = hash_of("")}) ==
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

TEST_CASE("authorization: signs a PUT of an encoded path as AWS's example", "[s3_signature]") {
  CHECK(signature_of(
            {.method = "PUT",
             .path = "/" + iqdb::s3::percent_encoded("test$file.text", true),
             .headers = {{"date", "Fri, 24 May 2013 00:00:00 GMT"}, {"x-amz-storage-class", "REDUCED_REDUNDANCY"}},
             .payload_hash = hash_of("Welcome to Amazon S3.")}) ==
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
}

TEST_CASE("authorization: signs a query without a value as AWS's example", "[s3_signature]") {
  CHECK(signature_of({.method = "GET", .path = "/", .query = {{"lifecycle", ""}}, .payload_hash = hash_of("")}) ==
        "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
}

TEST_CASE("authorization: signs a query that comes unsorted as AWS's example", "[s3_signature]") {
  CHECK(
      signature_of(
          {.method = "GET", .path = "/", .query = {{"prefix", "J"}, {"max-keys", "2"}}, .payload_hash = hash_of("")}) ==
      "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

TEST_CASE("authorization: names the user, the scope and the signed headers in their order", "[s3_signature]") {
  const RequestToSign request{.method = "GET",
                              .path = "/",
                              .headers = {{"x-amz-date", date_of_examples}, {"host", "h"}},
                              .payload_hash = hash_of("")};
  const std::string value = authorization(request, of_examples, "eu-central-1", date_of_examples);
  CHECK(value.starts_with(
      "AWS4-HMAC-SHA256 "
      "Credential=AKIAIOSFODNN7EXAMPLE/20130524/eu-central-1/s3/aws4_request,SignedHeaders=host;x-amz-date,"));
}

TEST_CASE("canonical_query: sorts by the encoded names and encodes spaces and slashes", "[s3_signature]") {
  CHECK(iqdb::s3::canonical_query({{"b", "x y/z"}, {"a", ""}, {"a+", "1"}}) == "a=&a%2B=1&b=x%20y%2Fz");
  CHECK(iqdb::s3::canonical_query({}).empty());
}

TEST_CASE("amz_date: writes a moment in UTC with two digits for each part", "[s3_signature]") {
  using std::chrono::sys_days;
  using namespace std::chrono_literals;
  CHECK(iqdb::s3::amz_date(sys_days(std::chrono::year(2013) / 5 / 24)) == "20130524T000000Z");
  CHECK(iqdb::s3::amz_date(sys_days(std::chrono::year(2026) / 12 / 31) + 23h + 59min + 59s + 999ms) ==
        "20261231T235959Z");
  CHECK(iqdb::s3::amz_date(sys_days(std::chrono::year(2024) / 2 / 29) + 1h + 2min + 3s) == "20240229T010203Z");
}

TEST_CASE("hmac_sha256: answers as the examples of RFC 4231", "[s3_signature]") {
  const std::string key = "Jefe";
  CHECK(iqdb::s3::hex(iqdb::s3::hmac_sha256(std::as_bytes(std::span(key)), "what do ya want for nothing?")) ==
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

}  // namespace of_s3_signature
