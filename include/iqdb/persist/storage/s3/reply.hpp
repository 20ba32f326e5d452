// What an answer of a store means: done, no answer that counts, or a refusal that stays one.
//
// Invariant: only what S3 says is believed. On the way there may be a proxy, a balancer, a page that asks for a password: each
// answers with a status of its own, 200 and 404 among them, and its answers say nothing about an object. So an error counts if its
// body is the XML of S3's errors with a code, and a success by the marks that marks.hpp asks for.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/storage/s3/connection.hpp"
#include "iqdb/persist/storage/s3/xml.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/text.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace s3 {

/// An answer, with what S3 says in it of an error.
struct Answer {
  HttpReply http;
  std::string code = {};        ///< S3's name of the error, as "NoSuchKey"; empty if there is none
  std::string request_id = {};  ///< by which the store's operator finds the request; may be empty
};

/// What to do about an answer that is not what was asked for.
enum class Meaning : std::uint8_t {
  no_answer,  ///< it says nothing of the object: no answer, one of a proxy, or the store cannot answer just now
  expired,    ///< the credentials have expired: with new ones it may be made again
  refused,    ///< the store refuses, and would again
};

namespace detail {

// What may be a code or an id, and nothing else: a message gets no more of what a server says.
[[nodiscard]] inline std::string token_of(std::string_view text) {
  constexpr std::size_t longest = 128;
  constexpr std::string_view letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.+/=";
  const bool is_token = text.size() <= longest && text.find_first_not_of(letters) == std::string_view::npos;
  return is_token ? std::string(text) : std::string();
}

}  // namespace detail

/// Finds out what S3 says in a reply. Any thread may call it.
[[nodiscard]] inline Answer answer_of(HttpReply reply) {
  Answer answer{.http = std::move(reply)};
  answer.request_id = detail::token_of(answer.http.header("x-amz-request-id").value_or(""));
  if (answer.http.end == HttpEnd::answered && answer.http.status >= 300) {
    const auto document = read_xml(answer.http.text());
    if (document && document->name == "Error") {
      answer.code = detail::token_of(document->text_of("Code").value_or(""));
      if (answer.request_id.empty()) {
        answer.request_id = detail::token_of(document->text_of("RequestId").value_or(""));
      }
    }
  }
  return answer;
}

/// What an answer means that is not what was asked for. Any thread may call it.
[[nodiscard]] inline Meaning meaning_of(const Answer& answer) {
  if (answer.http.end == HttpEnd::untrusted) {
    return Meaning::refused;
  }
  const long status = answer.http.status;
  if (answer.http.end != HttpEnd::answered || answer.code.empty()) {
    return Meaning::no_answer;
  }
  if (answer.code == "ExpiredToken" || answer.code == "TokenRefreshRequired") {
    return Meaning::expired;
  }
  // With a status of 400 or 409, and yet no fault of the request: it was cut or spoilt on the way, or met another one.
  constexpr std::array<std::string_view, 8> passing = {
      "RequestTimeout", "IncompleteBody",   "BadDigest",    "XAmzContentSHA256Mismatch", "ConditionalRequestConflict",
      "SlowDown",       "OperationAborted", "InternalError"};
  const bool is_passing = status == 408 || status == 425 || status == 429 ||
                          (status >= 500 && answer.code != "NotImplemented") ||
                          std::ranges::find(passing, answer.code) != passing.end();
  return is_passing ? Meaning::no_answer : Meaning::refused;
}

/// What whoever reads the message of a refusal can do about it. Any thread may call it.
[[nodiscard]] inline std::string_view advice_for(const Answer& answer) {
  if (answer.http.end == HttpEnd::untrusted) {
    return "nothing was sent, since the certificate of the server is not trusted; see that the endpoint is right, and "
           "name the "
           "file with its certificate in S3Config::certificates";
  }
  constexpr auto advice = std::to_array<std::pair<std::string_view, std::string_view>>({
      {"InvalidAccessKeyId", "the store does not know this access key; see S3Config::credentials"},
      {"SignatureDoesNotMatch",
       "the secret key is not that of the access key, or a proxy changed the request; see "
       "S3Config::credentials"},
      {"AccessDenied", "these credentials may not do that here; see the policy of the user and of the bucket"},
      {"RequestTimeTooSkewed",
       "the clocks of this machine and of the store differ by more than 15 minutes; set this one"},
      {"ExpiredToken", "the credentials have expired; get new ones, or give S3Config::credentials a source that does"},
      {"TokenRefreshRequired",
       "the credentials have expired; get new ones, or give S3Config::credentials a source that does"},
      {"InvalidToken", "the session token is not valid; get new credentials"},
      {"NoSuchBucket", "there is no such bucket; make it, or see S3Config::bucket and the endpoint"},
      {"AuthorizationHeaderMalformed", "the bucket is most likely in another region; see S3Config::region"},
      {"PermanentRedirect", "the bucket is in another region; see S3Config::endpoint and region"},
      {"TemporaryRedirect", "the bucket is in another region, or new; see S3Config::endpoint and region, or wait"},
      {"IllegalLocationConstraintException", "the bucket is in another region; see S3Config::endpoint and region"},
      {"NotImplemented", "the store does not know this request; use one that does"},
      {"EntityTooSmall", "a part that is not the last one is too small for this store; use larger parts"},
      {"InvalidPart",
       "a part is not there as it was put; some stores want all parts but the last one of one size: use larger parts"},
      {"InvalidObjectState", "the object is archived; restore it, and exempt it from the rules that archive"},
  });
  const auto* const found =
      std::ranges::find(advice, answer.code, &std::pair<std::string_view, std::string_view>::first);
  return found == std::end(advice) ? "see what the store's documentation says about this error" : found->second;
}

/// An answer in words, without anything but its status, its code, its id and the reason of libcurl. Any thread may call it.
[[nodiscard]] inline std::string words_of(const Answer& answer) {
  if (answer.http.end == HttpEnd::too_large) {
    return "the answer was " + std::to_string(answer.http.status) + ", with more bytes than it may have";
  }
  if (answer.http.end != HttpEnd::answered) {
    return "there was no answer: " + printable(answer.http.why, CURL_ERROR_SIZE);
  }
  std::string words = "the answer was " + std::to_string(answer.http.status);
  if (!answer.code.empty()) {
    words += " " + answer.code;
  } else {
    const std::string type = detail::token_of(answer.http.header("content-type").value_or("").substr(0, 40));
    words += ", and not that of a store of S3";
    words += type.empty() ? "" : " (its type is " + type + ")";
  }
  if (!answer.request_id.empty()) {
    words += " (request id " + answer.request_id + ")";
  }
  return words;
}

}  // namespace s3
}  // namespace iqdb
