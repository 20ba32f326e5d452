// An object store over the protocol of S3: AWS, Ceph, MinIO, R2, and others that honour `If-None-Match: *` of a put.
//
// Invariants: "stored" is told only for an answer that no proxy gives: 200, with an ETag and without a body. "Was there" only for
// S3's own PreconditionFailed, and "not there" only for S3's own NoSuchKey: a bucket that is missing is an error. Whatever else
// comes back is no answer. A put if absent is sent once for each call; all else is made again, with pauses.
//
// Why an ETag and an empty body: a page of a proxy may come with any status, but has a body; a proxy that swallows a put answers
// without an ETag. An id in x-amz-request-id is not asked for, since not every store sends one.
//
// An object is read only from an answer that has an ETag and its length, and is no HTML. One of unknown length, which ends where
// the connection does, could be a part of it.
#pragma once

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/storage/object_key.hpp"
#include "iqdb/persist/storage/object_store.hpp"
#include "iqdb/persist/storage/s3/config.hpp"
#include "iqdb/persist/storage/s3/connection.hpp"
#include "iqdb/persist/storage/s3/digest.hpp"
#include "iqdb/persist/storage/s3/percent.hpp"
#include "iqdb/persist/storage/s3/reply.hpp"
#include "iqdb/persist/storage/s3/signature.hpp"
#include "iqdb/persist/storage/s3/xml.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/text.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// An ObjectStore over the protocol of S3. One thread uses an object at a time, and it has one connection: for requests that are
/// to be under way at once, make several. Not usable in the child of a fork: make one there.
///
/// Each call throws PersistError invalid_config where the store refuses and would again (credentials, a policy, the clock, the
/// bucket, the region), and for a key that is not valid or that is too long with the prefix; unsupported for a request that the
/// store does not know; poisoned in the child of a fork; io if there is no answer after S3Config::most_attempts; and what the
/// source of the credentials throws. The message names the key, the status, S3's code and the id of the request, and no secret.
class S3ObjectStore {
 public:
  /// Asks nobody yet. Throws PersistError invalid_config for settings that cannot be used; unsupported if libcurl cannot be used.
  explicit S3ObjectStore(S3Config config) : config_(std::move(config)), connection_((s3::require_usable(config_), config_)) {
    const s3::Endpoint endpoint = s3::parse_endpoint(config_.endpoint);
    const bool in_host = config_.style == S3AddressStyle::host;
    host_ = (in_host ? config_.bucket + "." : "") + endpoint.host;
    bucket_path_ = in_host ? "" : "/" + s3::percent_encoded(config_.bucket, false);
    root_ = (endpoint.is_encrypted ? "https://" : "http://") + host_;
  }

  /// Stores an object unless there is one of its key, with one request. `unknown` for no answer, an error of the server, and an
  /// answer that is not S3's. Throws as above, but never io.
  [[nodiscard]] PutOutcome put_if_absent(std::string_view key, std::span<const std::byte> bytes) {
    const s3::Answer answer = send(request_of("PUT", key, {{"if-none-match", "*"}}, bytes));
    if (is_stored(answer)) {
      return PutOutcome::stored;
    }
    if (answer.http.status == 412 && answer.code == "PreconditionFailed") {
      return PutOutcome::was_there;
    }
    if (!may_be_repeated(answer)) {
      refuse("store", key, answer);
    }
    return PutOutcome::unknown;
  }

  /// Stores an object in place of one that may be there. Throws as above.
  void put(std::string_view key, std::span<const std::byte> bytes) {
    static_cast<void>(ask("store", key, request_of("PUT", key, {}, bytes), [](const s3::Answer& answer) {
      return is_stored(answer) ? std::optional(true) : std::nullopt;
    }));
  }

  /// The whole object, or nothing if none is there. Throws as above; invalid_config for one of more than
  /// S3Config::largest_whole_object.
  [[nodiscard]] std::optional<ObjectBytes> get(std::string_view key) {
    Request request = request_of("GET", key, {}, {});
    request.most_bytes = config_.largest_whole_object;
    return ask("read", key, request, [](s3::Answer& answer) -> Found<ObjectBytes> {
      if (answer.http.status == 200 && is_object(answer)) {
        return Found<ObjectBytes>(std::move(answer.http.body));
      }
      return absent<ObjectBytes>(answer);
    });
  }

  /// Up to `count` bytes of the object from `offset` on, or nothing if none is there. Throws as get().
  [[nodiscard]] std::optional<ObjectBytes> get(std::string_view key, std::uint64_t offset, std::size_t count) {
    constexpr std::uint64_t largest = std::numeric_limits<std::int64_t>::max();  // that servers can read
    if (count == 0 || offset > largest) {
      return head(key) ? std::optional(ObjectBytes()) : std::nullopt;
    }
    const std::uint64_t last = offset + std::min<std::uint64_t>(count - 1, largest - offset);
    const std::string range = "bytes=" + std::to_string(offset) + "-" + std::to_string(last);
    Request request = request_of("GET", key, {{"range", range}}, {});
    request.most_bytes = std::min(count, config_.largest_whole_object);
    return ask("read", key, request, [&](s3::Answer& answer) -> Found<ObjectBytes> {
      if (answer.http.status == 206 && is_object(answer) && is_range(answer, offset, last)) {
        return Found<ObjectBytes>(std::move(answer.http.body));
      }
      if (answer.http.status == 416 && answer.code == "InvalidRange") {
        return Found<ObjectBytes>(ObjectBytes());
      }
      return absent<ObjectBytes>(answer);
    });
  }

  /// The object's size in bytes, or nothing if none is there. Throws as above.
  [[nodiscard]] std::optional<std::uint64_t> head(std::string_view key) {
    const Request request = request_of("HEAD", key, {}, {});
    return ask("find out the size of", key, request, [&](s3::Answer& answer) -> Found<std::uint64_t> {
      if (answer.http.status == 200 && is_object(answer)) {
        return Found<std::uint64_t>(number_of(answer.http.header("content-length").value_or("")));
      }
      if (answer.http.end == s3::HttpEnd::answered && answer.http.status < 500) {
        // The answer to a HEAD has no body, so it does not say what is missing: the object, or the bucket. A GET does.
        Request first_byte = request_of("GET", key, {{"range", "bytes=0-0"}}, {});
        first_byte.most_bytes = 1;
        answer = send(first_byte);
      }
      return absent<std::uint64_t>(answer);
    });
  }

  /// The first keys, at most `most` and at most 1,000, that begin with `prefix` and are larger than `behind`. Leaves out what is
  /// under no valid key. Throws as above.
  [[nodiscard]] std::vector<std::string> list(std::string_view prefix, std::string_view behind, std::size_t most) {
    constexpr std::size_t most_at_once = 1000;  // that a store lists
    std::string full_behind = behind.empty() ? std::string() : config_.prefix + std::string(behind);
    const std::string full_prefix = config_.prefix + std::string(prefix);
    for (;;) {
      Request request{.method = "GET", .path = bucket_path_.empty() ? "/" : bucket_path_};
      request.query = {{"encoding-type", "url"},
                       {"list-type", "2"},
                       {"max-keys", std::to_string(std::clamp<std::size_t>(most, 1, most_at_once))},
                       {"prefix", full_prefix}};
      if (!full_behind.empty()) {
        request.query.emplace_back("start-after", full_behind);
      }
      request.most_bytes = std::size_t{16} << 20U;  // a thousand of the longest keys, each byte encoded, and as much beside them
      const Page page = ask("list the objects behind", behind, request, [&](const s3::Answer& answer) {
        return answer.http.status == 200 ? page_of(answer, full_prefix, full_behind, most) : std::nullopt;
      });
      std::vector<std::string> keys;
      for (const std::string& each : page.keys) {
        if (const std::string key = each.substr(config_.prefix.size()); object_keys::wrong_with(key).empty()) {
          keys.push_back(key);
        }
      }
      if (!keys.empty() || !page.is_cut) {
        return keys;
      }
      full_behind = page.keys.back();
    }
  }

  /// Deletes an object. Does nothing if there is none. Throws as above.
  void remove(std::string_view key) {
    static_cast<void>(ask("delete", key, request_of("DELETE", key, {}, {}), [](const s3::Answer& answer) {
      return answer.http.status == 204 || is_absent(answer) ? std::optional(true) : std::nullopt;
    }));
  }

 private:
  // A request before it is signed.
  struct Request {
    std::string method;
    std::string path;
    s3::Fields query = {};
    s3::Fields headers = {};
    std::span<const std::byte> body = {};
    std::size_t most_bytes = std::size_t{64} << 10U;
  };

  // A part of a listing, with the prefix of the store.
  struct Page {
    std::vector<std::string> keys;
    bool is_cut = false;  // there are more keys
  };

  static bool is_stored(const s3::Answer& answer) {
    return answer.http.status == 200 && answer.http.body.empty() && !answer.http.header("etag").value_or("").empty();
  }

  static bool is_absent(const s3::Answer& answer) { return answer.http.status == 404 && answer.code == "NoSuchKey"; }

  // What a read found: an object, or that there is none; or nothing, for an answer that says neither.
  template <class T>
  using Found = std::optional<std::optional<T>>;

  template <class T>
  static Found<T> absent(const s3::Answer& answer) {
    return is_absent(answer) ? Found<T>(std::in_place) : std::nullopt;
  }

  static bool is_object(const s3::Answer& answer) {
    return !answer.http.header("etag").value_or("").empty() &&
           number_of(answer.http.header("content-length").value_or("")).has_value() &&
           !answer.http.header("content-type").value_or("").starts_with("text/html");
  }

  // Whether the body is the part of the object from `first` to `last`, or to the object's end.
  static bool is_range(const s3::Answer& answer, std::uint64_t first, std::uint64_t last) {
    const std::string range = answer.http.header("content-range").value_or("");
    const std::string begin = "bytes " + std::to_string(first) + "-";
    const std::size_t slash = range.find('/');
    if (answer.http.body.empty() || !range.starts_with(begin) || slash == std::string::npos) {
      return false;
    }
    const auto size = number_of(std::string_view(range).substr(slash + 1));
    return size && *size > first && answer.http.body.size() == std::min(last, *size - 1) - first + 1;
  }

  static std::optional<std::uint64_t> number_of(std::string_view digits) {
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    return error == std::errc() && end == digits.data() + digits.size() && !digits.empty() ? std::optional(number)
                                                                                            : std::nullopt;
  }

  // What a listing says, or nothing if it is not one: of these keys, in their order, each once.
  static std::optional<Page> page_of(const s3::Answer& answer, const std::string& prefix, const std::string& behind,
                                     std::size_t most) {
    const auto document = s3::read_xml(answer.http.text());
    if (!document || document->name != "ListBucketResult" || document->text_of("EncodingType") != "url") {
      return std::nullopt;
    }
    const std::string cut = document->text_of("IsTruncated").value_or("");
    Page page{.keys = {}, .is_cut = cut == "true"};
    for (const s3::XmlElement& each : document->children) {
      if (each.name != "Contents") {
        continue;
      }
      const auto key = s3::percent_decoded(each.text_of("Key").value_or(""));
      const std::string& last = page.keys.empty() ? behind : page.keys.back();
      if (!key || !key->starts_with(prefix) || *key <= last) {
        return std::nullopt;
      }
      page.keys.push_back(*key);
    }
    const bool makes_sense = (page.is_cut || cut == "false") && !(page.is_cut && page.keys.empty()) && page.keys.size() <= most;
    return makes_sense ? std::optional(std::move(page)) : std::nullopt;
  }

  [[nodiscard]] Request request_of(std::string_view method, std::string_view key, s3::Fields headers,
                                   std::span<const std::byte> body) const {
    require_object_key(key);
    if (config_.prefix.size() + key.size() > largest_object_key) {
      throw_persist_error(PersistErrorKind::invalid_config,
                          "cannot use the key " + printable(key) + ": with S3Config::prefix in front it has more than " +
                              std::to_string(largest_object_key) + " bytes; choose a shorter prefix or name");
    }
    Request request{.method = std::string(method), .path = {}, .headers = std::move(headers), .body = body};
    request.path = bucket_path_ + "/" + s3::percent_encoded(config_.prefix + std::string(key), true);
    if (method == "PUT") {
      request.headers.emplace_back("content-type", "application/octet-stream");
    }
    return request;
  }

  // Signs a request with the credentials of now, sends it once, and says what S3 answered.
  [[nodiscard]] s3::Answer send(const Request& request) {
    renew_credentials();
    const std::string date = s3::amz_date(config_.now());
    s3::RequestToSign to_sign{.method = request.method,
                              .path = request.path,
                              .query = request.query,
                              .headers = request.headers,
                              .payload_hash = s3::hex(s3::sha256(request.body))};
    to_sign.headers.emplace_back("host", host_);
    to_sign.headers.emplace_back("x-amz-content-sha256", to_sign.payload_hash);
    to_sign.headers.emplace_back("x-amz-date", date);
    if (!credentials_->session_token.empty()) {
      to_sign.headers.emplace_back("x-amz-security-token", credentials_->session_token);
    }
    const std::string query = s3::canonical_query(request.query);
    s3::HttpRequest http{.method = request.method,
                         .url = root_ + request.path + (query.empty() ? "" : "?" + query),
                         .headers = to_sign.headers,
                         .body = request.body,
                         .most_bytes = request.most_bytes};
    http.headers.emplace_back("authorization", s3::authorization(to_sign, *credentials_, config_.region, date));
    return s3::answer_of(connection_.send(http));
  }

  void renew_credentials() {
    constexpr std::chrono::minutes early{5};
    if (credentials_ && (!credentials_->expires_at || *credentials_->expires_at - early > config_.now())) {
      return;
    }
    S3Credentials credentials = config_.credentials();
    constexpr std::string_view controls = "\r\n";
    for (const std::string* each : {&credentials.access_key, &credentials.secret_key, &credentials.session_token}) {
      if (each->find_first_of(controls) != std::string::npos || (each->empty() && each != &credentials.session_token)) {
        throw_persist_error(PersistErrorKind::invalid_config,
                            "cannot use the credentials of the object store: a key is empty or has a line break in it; see "
                            "where S3Config::credentials has them from");
      }
    }
    credentials_ = std::move(credentials);
  }

  // Whether a request that got this answer may be made again, with other credentials where these have expired.
  [[nodiscard]] bool may_be_repeated(const s3::Answer& answer) {
    const s3::Meaning meaning = s3::meaning_of(answer);
    if (meaning != s3::Meaning::expired) {
      return meaning == s3::Meaning::no_answer;
    }
    const auto before = std::exchange(credentials_, std::nullopt);
    renew_credentials();
    return credentials_ != before;
  }

  // Makes a request until `read` understands an answer of it, and returns what it then returns.
  template <class Read>
  auto ask(const char* action, std::string_view key, const Request& request, Read&& read) ->
      typename std::invoke_result_t<Read&, s3::Answer&>::value_type {
    for (unsigned failures = 1;; ++failures) {
      s3::Answer answer = send(request);
      if (answer.http.end == s3::HttpEnd::answered) {
        if (auto result = read(answer)) {
          return *std::move(result);
        }
      }
      if (!may_be_repeated(answer)) {
        refuse(action, key, answer);
      }
      if (failures >= config_.most_attempts) {
        throw_persist_error(PersistErrorKind::io,
                            words_for(action, key) + ": after " + std::to_string(failures) + " attempts, " +
                                without_secrets(s3::words_of(answer)) +
                                "; see that the store can be reached and that nothing on the way answers in its place, then try "
                                "again");
      }
      config_.pause(failures);
    }
  }

  [[nodiscard]] std::string words_for(const char* action, std::string_view key) const {
    return std::string("cannot ") + action + " " + printable(config_.prefix + std::string(key), largest_object_key) +
           " in the bucket " + printable(config_.bucket) + " at " + host_;
  }

  // A server that is asked with a secret may say it again.
  [[nodiscard]] std::string without_secrets(std::string words) const {
    if (!credentials_) {
      return words;
    }
    for (const std::string& secret : {credentials_->secret_key, credentials_->session_token, credentials_->access_key}) {
      for (std::size_t at = 0; !secret.empty() && (at = words.find(secret, at)) != std::string::npos;) {
        words.replace(at, secret.size(), "(left out)");
      }
    }
    return words;
  }

  [[noreturn]] void refuse(const char* action, std::string_view key, const s3::Answer& answer) const {
    const bool is_unknown = answer.code == "NotImplemented";
    throw_persist_error(is_unknown ? PersistErrorKind::unsupported : PersistErrorKind::invalid_config,
                        words_for(action, key) + ": " + without_secrets(s3::words_of(answer)) + "; " +
                            std::string(s3::advice_for(answer)));
  }

  S3Config config_;
  s3::Connection connection_;
  std::string host_;         // as the header Host has it
  std::string bucket_path_;  // in front of each path
  std::string root_;         // scheme and host
  std::optional<S3Credentials> credentials_;
};

static_assert(ObjectStore<S3ObjectStore>);

}  // namespace iqdb
