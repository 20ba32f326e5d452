// One connection to a store, by libcurl: sends a request, and says what came back, or that nothing did.
//
// Invariants: an answer counts only if it came whole: all of its headers, and a body whose end is known by its length or its last
// chunk. One that ends where the connection does may be a part; libcurl takes it for whole, even in the middle of the headers. What
// an answer may hold is bounded before it is read. Nobody is followed to another address. The certificate of the server is verified.
//
// libcurl sends a request again by itself where the server had closed a connection that was kept: also a put, and then the first
// answer that is seen may speak of one's own object. A new connection for each request would avoid that, and cost an exchange or
// three each time; what is above must bear it anyway, since any proxy may do the same.
#pragma once

#include <curl/curl.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/process_mark.hpp"
#include "iqdb/persist/storage/object_store.hpp"
#include "iqdb/persist/storage/s3/config.hpp"
#include "iqdb/persist/storage/s3/signature.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace s3 {

/// A request, signed.
struct HttpRequest {
  std::string method;                    ///< GET, HEAD, PUT, POST or DELETE
  std::string url;                       ///< with the query
  Fields headers = {};                   ///< as they are sent
  std::span<const std::byte> body = {};  ///< of a PUT or a POST
  std::size_t most_bytes = 0;            ///< that the body of a successful answer may have
};

/// How a request ended.
enum class HttpEnd : std::uint8_t {
  answered,   ///< a whole answer came
  no_answer,  ///< none, or a part of one: the request may have been carried out, may be later, or never
  too_large,  ///< an answer came whose body has more bytes than it may have; the first of them are there
  untrusted,  ///< the server has no certificate that is trusted, or there are no certificates to trust: nothing was sent
};

/// What came back.
struct HttpReply {
  HttpEnd end = HttpEnd::no_answer;
  std::string why = {};   ///< libcurl's words, unless there is an answer
  long status = 0;        ///< 200
  Fields headers = {};    ///< names in lower case
  ObjectBytes body = {};  ///< up to what it may hold

  /// The value of the first header of this name, or nothing.
  [[nodiscard]] std::optional<std::string> header(std::string_view name) const {
    const auto found = std::ranges::find(headers, name, &std::pair<std::string, std::string>::first);
    return found == headers.end() ? std::nullopt : std::optional(found->second);
  }

  /// The body as text.
  [[nodiscard]] std::string_view text() const noexcept {
    return {reinterpret_cast<const char*>(body.data()), body.size()};
  }
};

namespace detail {

// What libcurl's callbacks fill in. They may not throw: libcurl is C.
struct ReplyUnderWay {
  static constexpr std::size_t most_header_bytes = 64UL << 10U;
  static constexpr std::size_t most_error_bytes = 64UL << 10U;

  HttpReply reply;
  std::size_t most_bytes = 0;
  std::size_t header_bytes = 0;
  bool has_all_headers = false;
  bool is_too_large = false;
  std::exception_ptr thrown = nullptr;

  // Takes one line of the headers; returns whether to go on.
  bool take_header(std::string_view line) {
    header_bytes += line.size();
    if (header_bytes > most_header_bytes) {
      return false;
    }
    if (line.starts_with("HTTP/")) {
      // Headers of an interim answer, as 100, do not count.
      reply.headers.clear();
      has_all_headers = false;
      const std::size_t space = line.find(' ');
      const std::string_view digits = space == std::string_view::npos ? std::string_view() : line.substr(space + 1, 3);
      reply.status = 0;
      for (const char digit : digits) {
        reply.status = reply.status * 10 + (digit - '0');
      }
      return true;
    }
    if (line == "\r\n" || line == "\n") {
      has_all_headers = true;
    }
    const std::size_t colon = line.find(':');
    if (colon != std::string_view::npos && !has_all_headers) {  // what comes behind the body counts for nothing
      std::string name(trimmed(line.substr(0, colon)));
      std::ranges::transform(name, name.begin(), [](char each) {
        return each >= 'A' && each <= 'Z' ? static_cast<char>(each - 'A' + 'a') : each;
      });
      reply.headers.emplace_back(std::move(name), std::string(trimmed(line.substr(colon + 1))));
    }
    return true;
  }

  bool take_body(std::span<const std::byte> bytes) {
    const bool is_success = reply.status >= 200 && reply.status < 300;
    const std::size_t most = is_success ? most_bytes : most_error_bytes;
    if (bytes.size() > most - std::min(most, reply.body.size())) {
      is_too_large = is_success;
      return false;
    }
    if (reply.body.empty()) {
      reply.body.reserve(std::min(announced_bytes(), most));
    }
    reply.body.insert(reply.body.end(), bytes.begin(), bytes.end());
    return true;
  }

  // What the server says that the body has; 0 if it says nothing, or more than is taken on its word.
  [[nodiscard]] std::size_t announced_bytes() const {
    constexpr std::size_t most_believed = std::size_t{16} << 20U;
    const std::string text = reply.header("content-length").value_or("");
    std::size_t bytes = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), bytes);
    return error == std::errc() && end == text.data() + text.size() && bytes <= most_believed ? bytes : 0;
  }

  // Whether what came is a whole answer to this method.
  [[nodiscard]] bool is_whole(std::string_view method) const {
    return has_all_headers &&
           (method == "HEAD" || reply.status == 204 || reply.header("transfer-encoding") == "chunked" ||
            reply.header("content-length") == std::to_string(reply.body.size()));
  }

  template <class Take>
  std::size_t guarded(std::size_t size, Take&& take) noexcept {
    try {
      return take() ? size : size + 1;  // another number than that of the bytes ends the request
    } catch (...) {
      thrown = std::current_exception();
      return size + 1;
    }
  }

  static std::size_t on_header(char* data, std::size_t size, std::size_t count, void* self) noexcept {
    auto* const under_way = static_cast<ReplyUnderWay*>(self);
    return under_way->guarded(size * count, [&] { return under_way->take_header({data, size * count}); });
  }

  static std::size_t on_body(char* data, std::size_t size, std::size_t count, void* self) noexcept {
    auto* const under_way = static_cast<ReplyUnderWay*>(self);
    return under_way->guarded(size * count,
                              [&] { return under_way->take_body(std::as_bytes(std::span(data, size * count))); });
  }
};

// libcurl's own state, made by the first of all threads. It stays to the end of the process: others may use it too.
inline void require_curl() {
  static const CURLcode made = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (made != CURLE_OK) {
    throw_persist_error(PersistErrorKind::unsupported,
                        std::string("cannot use libcurl: ") + curl_easy_strerror(made) + "; see how it was built");
  }
}

}  // namespace detail

/// One connection, which is made when it is needed, kept, and made again. One thread uses it at a time, and not in the child of a
/// fork.
class Connection {
 public:
  /// Throws PersistError unsupported if libcurl cannot be used; std::bad_alloc.
  explicit Connection(const S3Config& config)
      : connect_timeout_(config.connect_timeout),
        request_timeout_(config.request_timeout),
        certificates_(config.certificates),
        is_encrypted_(parse_endpoint(config.endpoint).is_encrypted) {
    detail::require_curl();
    curl_.reset(curl_easy_init());
    if (!curl_) {
      throw std::bad_alloc();
    }
  }

  Connection(Connection&&) noexcept = default;
  Connection& operator=(Connection&&) noexcept = default;
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() {
    if (made_in_.inherited()) {
      static_cast<void>(
          curl_.release());  // the connection is the parent's, and to end it would say goodbye in its name
    }
  }

  /// Sends a request and waits for its end. Throws PersistError poisoned in the child of a fork; std::bad_alloc.
  [[nodiscard]] HttpReply send(const HttpRequest& request) {
    if (made_in_.inherited()) {
      throw_persist_error(
          PersistErrorKind::poisoned,
          "this process is a fork of the one that made the object store, whose connection it would disturb; "
          "make a store in each process");
    }
    CURL* const curl = curl_.get();
    curl_easy_reset(curl);  // the connection stays
    std::array<char, CURL_ERROR_SIZE> words{};
    detail::ReplyUnderWay under_way;
    under_way.most_bytes = request.most_bytes;
    set_up(curl);
    std::unique_ptr<curl_slist, FreeList> headers;
    for (const auto& [name, value] : request.headers) {
      add(headers, std::string(name).append(": ").append(value));
    }
    add(headers, "Expect:");  // its wait for 100 Continue costs an exchange, or a second
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, words.data());
    curl_easy_setopt(curl, CURLOPT_URL, request.url.c_str());
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers.get());
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, &detail::ReplyUnderWay::on_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, &under_way);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &detail::ReplyUnderWay::on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &under_way);
    if (request.method == "HEAD") {
      curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
    } else if (request.method == "PUT" || request.method == "POST") {
      // As a POST under another name: what libcurl calls an upload asks for 100 Continue.
      curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
      curl_easy_setopt(curl, CURLOPT_POSTFIELDS,
                       request.body.empty() ? "" : reinterpret_cast<const char*>(request.body.data()));
      curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request.method.c_str());
    } else {
      curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request.method.c_str());
    }
    const CURLcode code = curl_easy_perform(curl);
    if (under_way.thrown) {
      std::rethrow_exception(under_way.thrown);
    }
    const bool is_whole = under_way.is_whole(request.method);
    HttpReply reply = std::move(under_way.reply);
    reply.end = under_way.is_too_large          ? HttpEnd::too_large
                : code == CURLE_OK && is_whole  ? HttpEnd::answered
                : has_refused_certificate(code) ? HttpEnd::untrusted
                                                : HttpEnd::no_answer;
    if (code == CURLE_OK) {
      reply.why = is_whole ? "" : "it does not say where it ends, and may be a part";
    } else {
      reply.why = words.front() != '\0' ? words.data() : curl_easy_strerror(code);
    }
    return reply;
  }

 private:
  struct FreeList {
    void operator()(curl_slist* list) const noexcept { curl_slist_free_all(list); }
  };
  struct FreeHandle {
    void operator()(CURL* curl) const noexcept { curl_easy_cleanup(curl); }
  };

  static void add(std::unique_ptr<curl_slist, FreeList>& list, const std::string& line) {
    curl_slist* const longer = curl_slist_append(list.get(), line.c_str());
    if (longer == nullptr) {
      throw std::bad_alloc();
    }
    static_cast<void>(list.release());
    list.reset(longer);
  }

  static bool has_refused_certificate(CURLcode code) {
    return code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE || code == CURLE_SSL_ISSUER_ERROR;
  }

  void set_up(CURL* curl) const {
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);  // a time-out must not interrupt other threads
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(connect_timeout_.count()));
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, static_cast<long>(request_timeout_.count()));
    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);  // what was signed is what is sent
    curl_easy_setopt(curl, CURLOPT_TCP_NODELAY, 1L);
#if LIBCURL_VERSION_NUM >= 0x075500
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, is_encrypted_ ? "https" : "http");
#else
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS, is_encrypted_ ? CURLPROTO_HTTPS : CURLPROTO_HTTP);
#endif
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 2L);
    if (!certificates_.empty()) {
      curl_easy_setopt(curl, CURLOPT_CAINFO, certificates_.c_str());
      curl_easy_setopt(curl, CURLOPT_CAPATH, nullptr);
    }
  }

  std::chrono::milliseconds connect_timeout_;
  std::chrono::milliseconds request_timeout_;
  std::string certificates_;
  bool is_encrypted_;
  ProcessMark made_in_;
  std::unique_ptr<CURL, FreeHandle> curl_;
};

}  // namespace s3
}  // namespace iqdb
