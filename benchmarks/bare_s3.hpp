// S3 by libcurl alone, as somebody would ask it who wants an object there and nothing else: what the store over S3 is compared with.
// libcurl signs (CURLOPT_AWS_SIGV4), with the hash of what is sent.
#pragma once

#include <curl/curl.h>
#include <openssl/evp.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace iqdb_benchmarks {

/// Where a bucket is, and who asks.
struct BareBucket {
  std::string url;  ///< of the bucket, in the style of a path; without a slash at the end
  std::string region;
  std::string access_key;
  std::string secret_key;
};

/// What came back.
struct BareReply {
  long status = 0;
  std::string etag = {};
  std::string body = {};
};

/// One connection. One thread uses it at a time. Keys and queries need no encoding, and fields of a query come in their order.
class BareS3 {
 public:
  explicit BareS3(BareBucket bucket) : bucket_(std::move(bucket)), curl_(curl_easy_init()) {
    if (!curl_) {
      throw std::runtime_error("libcurl gives no handle");
    }
  }

  /// Sends a request, and throws unless its status is `expected`. What is read is written to `into`, if that is not empty.
  BareReply send(const std::string& method, const std::string& key_and_query, std::span<const std::byte> body,
                 const std::vector<std::string>& headers, long expected, std::span<std::byte> into = {}) {
    CURL* const curl = curl_.get();
    curl_easy_reset(curl);
    BareReply reply;
    UnderWay under_way{.reply = &reply, .into = into};
    curl_slist* list = nullptr;
    list = curl_slist_append(list, ("x-amz-content-sha256: " + hash_of(body)).c_str());
    for (const std::string& header : headers) {
      list = curl_slist_append(list, header.c_str());
    }
    const std::string url = bucket_.url + "/" + key_and_query;
    const std::string signing = "aws:amz:" + bucket_.region + ":s3";
    const std::string user = bucket_.access_key + ":" + bucket_.secret_key;
    curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
    curl_easy_setopt(curl, CURLOPT_AWS_SIGV4, signing.c_str());
    curl_easy_setopt(curl, CURLOPT_USERPWD, user.c_str());
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, list);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(curl, CURLOPT_EXPECT_100_TIMEOUT_MS, 1L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &UnderWay::on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &under_way);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, &UnderWay::on_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, &under_way);
    if (method == "PUT" || method == "POST") {
      curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
      curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body.empty() ? "" : reinterpret_cast<const char*>(body.data()));
    }
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method.c_str());
    const CURLcode code = curl_easy_perform(curl);
    curl_slist_free_all(list);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &reply.status);
    if (code != CURLE_OK || reply.status != expected) {
      throw std::runtime_error("the bare client's " + method + " of " + key_and_query + " ended with " +
                               std::to_string(reply.status) + ", " + curl_easy_strerror(code));
    }
    return reply;
  }

  /// Puts an object if there is none of its key.
  void put_if_absent(const std::string& key, std::span<const std::byte> bytes) {
    send("PUT", key, bytes, {"content-type: application/octet-stream", "if-none-match: *"}, ok);
  }

  /// Reads a range into `into`.
  void get(const std::string& key, std::uint64_t offset, std::span<std::byte> into) {
    const std::string range = std::to_string(offset) + "-" + std::to_string(offset + into.size() - 1);
    send("GET", key, {}, {"range: bytes=" + range}, partial, into);
  }

  std::string begin_upload(const std::string& key) {
    const BareReply reply = send("POST", key + "?uploads=", {}, {"content-type: application/octet-stream"}, ok);
    const std::string begin = "<UploadId>";
    const std::size_t at = reply.body.find(begin) + begin.size();
    return reply.body.substr(at, reply.body.find('<', at) - at);
  }

  /// Returns the part's ETag.
  std::string put_part(const std::string& key, const std::string& id, std::size_t number,
                       std::span<const std::byte> bytes) {
    return send("PUT", key + "?partNumber=" + std::to_string(number) + "&uploadId=" + id, bytes,
                {"content-type: application/octet-stream"}, ok)
        .etag;
  }

  void complete(const std::string& key, const std::string& id, const std::vector<std::string>& etags) {
    std::string body = "<CompleteMultipartUpload>";
    for (std::size_t at = 0; at < etags.size(); ++at) {
      body += "<Part><PartNumber>" + std::to_string(at + 1) + "</PartNumber><ETag>" + etags[at] + "</ETag></Part>";
    }
    body += "</CompleteMultipartUpload>";
    send("POST", key + "?uploadId=" + id, std::as_bytes(std::span(body)), {"content-type: application/xml"}, ok);
  }

 private:
  static constexpr long ok = 200;
  static constexpr long partial = 206;

  struct UnderWay {
    BareReply* reply;
    std::span<std::byte> into;

    static std::size_t on_body(char* data, std::size_t size, std::size_t count, void* self) {
      auto* const own = static_cast<UnderWay*>(self);
      const auto bytes = std::as_bytes(std::span(data, size * count));
      if (own->into.empty()) {
        own->reply->body.append(data, bytes.size());
      } else if (bytes.size() <= own->into.size()) {
        std::ranges::copy(bytes, own->into.begin());
        own->into = own->into.subspan(bytes.size());
      }
      return bytes.size();
    }

    static std::size_t on_header(char* data, std::size_t size, std::size_t count, void* self) {
      const std::string_view line(data, size * count);
      if (line.starts_with("ETag: ") && line.size() > std::string_view("ETag: \r\n").size()) {
        static_cast<UnderWay*>(self)->reply->etag = line.substr(6, line.size() - 8);
      }
      return line.size();
    }
  };

  static std::string hash_of(std::span<const std::byte> bytes) {
    unsigned char digest[EVP_MAX_MD_SIZE];  // NOLINT(*-avoid-c-arrays)
    unsigned size = 0;
    if (EVP_Digest(bytes.data(), bytes.size(), digest, &size, EVP_sha256(), nullptr) != 1) {
      throw std::runtime_error("libcrypto gives no hash");
    }
    std::string text;
    for (unsigned at = 0; at < size; ++at) {
      text += "0123456789abcdef"[digest[at] >> 4U];
      text += "0123456789abcdef"[digest[at] & 0xFU];
    }
    return text;
  }

  struct Free {
    void operator()(CURL* curl) const noexcept { curl_easy_cleanup(curl); }
  };

  BareBucket bucket_;
  std::unique_ptr<CURL, Free> curl_;
};

}  // namespace iqdb_benchmarks
