// Makes requests of a store: addresses them, signs them, makes them again where that is of use, and says in words why not.
//
// Invariant: no message has a secret, also where a server says one again.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/storage/object_key.hpp"
#include "iqdb/persist/storage/s3/config.hpp"
#include "iqdb/persist/storage/s3/connection.hpp"
#include "iqdb/persist/storage/s3/digest.hpp"
#include "iqdb/persist/storage/s3/percent.hpp"
#include "iqdb/persist/storage/s3/reply.hpp"
#include "iqdb/persist/storage/s3/signature.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/text.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace s3 {

/// A request of a bucket, before it is signed.
struct Request {
  std::string method;                               ///< GET, HEAD, PUT, POST or DELETE
  std::string path;                                 ///< percent-encoded; of Client::path_of or bucket_path()
  Fields query = {};                                ///< not encoded
  Fields headers = {};                              ///< names in lower case
  std::span<const std::byte> body = {};             ///< of a PUT or a POST
  std::size_t most_bytes = std::size_t{64} << 10U;  ///< that the body of a successful answer may have
};

/// Makes requests of one bucket, by one connection. One thread uses it at a time, and not in the child of a fork.
class Client {
 public:
  /// Asks nobody yet. Throws PersistError invalid_config for settings that cannot be used; unsupported if libcurl cannot be used.
  explicit Client(S3Config config) : config_(checked(std::move(config))), connection_(config_) {
    const Endpoint endpoint = parse_endpoint(config_.endpoint);
    const bool in_host = config_.style == S3AddressStyle::host;
    host_ = (in_host ? config_.bucket + "." : "") + endpoint.host;
    bucket_path_ = in_host ? "" : "/" + percent_encoded(config_.bucket, false);
    root_ = (endpoint.is_encrypted ? "https://" : "http://") + host_;
  }

  /// How the store is used.
  [[nodiscard]] const S3Config& config() const noexcept { return config_; }

  /// The path of the bucket itself.
  [[nodiscard]] std::string bucket_path() const { return bucket_path_.empty() ? "/" : bucket_path_; }

  /// The path of an object. Throws PersistError invalid_config for a key that is not valid, or too long with the prefix.
  [[nodiscard]] std::string path_of(std::string_view key) const {
    require_object_key(key);
    if (config_.prefix.size() + key.size() > largest_object_key) {
      throw_persist_error(PersistErrorKind::invalid_config, "cannot use the key " + printable(key) +
                                                                ": with S3Config::prefix in front it has more than " +
                                                                std::to_string(largest_object_key) +
                                                                " bytes; choose a shorter prefix or name");
    }
    return bucket_path_ + "/" + percent_encoded(config_.prefix + std::string(key), true);
  }

  /// Signs a request with the credentials of now, sends it once, and says what came back. Throws PersistError invalid_config for
  /// credentials that cannot be used, poisoned in the child of a fork, and what their source throws.
  [[nodiscard]] Answer send(const Request& request) {
    renew_credentials();
    const std::string date = amz_date(config_.now());
    RequestToSign to_sign{.method = request.method,
                          .path = request.path,
                          .query = request.query,
                          .headers = request.headers,
                          .payload_hash = hex(sha256(request.body))};
    to_sign.headers.emplace_back("host", host_);
    to_sign.headers.emplace_back("x-amz-content-sha256", to_sign.payload_hash);
    to_sign.headers.emplace_back("x-amz-date", date);
    if (!credentials_->session_token.empty()) {
      to_sign.headers.emplace_back("x-amz-security-token", credentials_->session_token);
    }
    const std::string query = canonical_query(request.query);
    HttpRequest http{.method = request.method,
                     .url = root_ + request.path + (query.empty() ? "" : "?" + query),
                     .headers = to_sign.headers,
                     .body = request.body,
                     .most_bytes = request.most_bytes};
    http.headers.emplace_back("authorization", authorization(to_sign, *credentials_, config_.region, date));
    return answer_of(connection_.send(http));
  }

  /// Makes a request until `read` understands its answer: until it returns a result for it, which is then returned. `read` gets the
  /// Answer, which is a whole one, or has the first bytes of a body that is too large. Throws as send(); and PersistError io,
  /// invalid_config or unsupported, which names `action` ("read") and `key`, if nobody answers, or the store refuses.
  template <class Read>
  auto ask(const char* action, std::string_view key, const Request& request, Read&& read) ->
      typename std::invoke_result_t<Read&, Answer&>::value_type {
    for (unsigned failures = 1;; ++failures) {
      Answer answer = send(request);
      if (answer.http.end == HttpEnd::answered || answer.http.end == HttpEnd::too_large) {
        if (auto result = read(answer)) {
          return *std::move(result);
        }
      }
      require_worth_repeating(action, key, answer);
      if (failures >= config_.most_attempts) {
        throw_persist_error(PersistErrorKind::io,
                            words_for(action, key) + ": after " + std::to_string(failures) + " attempts, " +
                                without_secrets(words_of(answer)) +
                                "; see that the store can be reached and that nothing on the way answers in its "
                                "place, then try again");
      }
      config_.pause(failures);
    }
  }

  /// Throws PersistError invalid_config, since `answer` has a larger object than may be read.
  [[noreturn]] void refuse_size(std::string_view key, const Answer& answer) const {
    throw_persist_error(PersistErrorKind::invalid_config,
                        words_for("read", key) + ": " + without_secrets(words_of(answer)) +
                            "; read it in ranges, or allow more with S3Config::largest_whole_object");
  }

  /// Throws PersistError invalid_config or unsupported, which names `action` and `key`, unless the request may have another answer
  /// when it is made again. Where the credentials had expired, new ones are asked for.
  void require_worth_repeating(const char* action, std::string_view key, const Answer& answer) {
    const Meaning meaning = meaning_of(answer);
    bool is_worth = meaning == Meaning::no_answer;
    if (meaning == Meaning::expired) {
      const auto before = std::exchange(credentials_, std::nullopt);
      renew_credentials();
      is_worth = credentials_ != before;
    }
    if (!is_worth) {
      throw_persist_error(
          answer.code == "NotImplemented" ? PersistErrorKind::unsupported : PersistErrorKind::invalid_config,
          words_for(action, key) + ": " + without_secrets(words_of(answer)) + "; " + std::string(advice_for(answer)));
    }
  }

 private:
  static S3Config checked(S3Config config) {
    require_usable(config);
    return config;
  }

  void renew_credentials() {
    constexpr std::chrono::minutes early{5};
    if (credentials_ && (!credentials_->expires_at || *credentials_->expires_at - early > config_.now())) {
      return;
    }
    S3Credentials credentials = config_.credentials();
    const auto is_in_line = [](const std::string& key) { return key.find_first_of("\r\n") == std::string::npos; };
    if (credentials.access_key.empty() || credentials.secret_key.empty() || !is_in_line(credentials.access_key) ||
        !is_in_line(credentials.secret_key) || !is_in_line(credentials.session_token)) {
      throw_persist_error(PersistErrorKind::invalid_config,
                          "cannot use the credentials of the object store: a key is empty or has a line break in it; "
                          "see where S3Config::credentials has them from");
    }
    credentials_ = std::move(credentials);
  }

  [[nodiscard]] std::string words_for(const char* action, std::string_view key) const {
    return std::string("cannot ") + action + " " + printable(config_.prefix + std::string(key), largest_object_key) +
           " in the bucket " + printable(config_.bucket) + " at " + host_;
  }

  // A server that is asked with a secret may say it again.
  [[nodiscard]] std::string without_secrets(std::string words) const {
    for (const std::string& secret :
         {credentials_ ? credentials_->secret_key : "", credentials_ ? credentials_->session_token : "",
          credentials_ ? credentials_->access_key : ""}) {
      for (std::size_t at = 0; !secret.empty() && (at = words.find(secret, at)) != std::string::npos;) {
        words.replace(at, secret.size(), "…");
      }
    }
    return words;
  }

  S3Config config_;
  Connection connection_;
  std::string host_;         // as the header Host has it
  std::string bucket_path_;  // in front of each path
  std::string root_;         // scheme and host
  std::optional<S3Credentials> credentials_;
};

}  // namespace s3
}  // namespace iqdb
