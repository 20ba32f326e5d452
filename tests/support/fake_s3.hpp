// A server that speaks as much of S3 as the store uses, in memory, for tests of what is sent and what becomes of it. It is no
// judge of signatures: the examples of AWS and a real Ceph are.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "iqdb/persist/storage/s3/percent.hpp"
#include "support/scripted_server.hpp"

namespace iqdb_test {

/// The objects of a bucket named "b", and the answers about them. One thread at a time calls it, as ScriptedServer does.
class FakeS3 {
 public:
  std::map<std::string, std::string> objects = {};  ///< by keys with the prefix of the store
  bool ignores_conditions = false;

  [[nodiscard]] ScriptedReply answer(const ReceivedRequest& request) {
    const std::size_t question = request.target.find('?');
    const std::string path = iqdb::s3::percent_decoded(request.target.substr(0, question)).value_or("");
    if (path == "/b") {
      return list(question == std::string::npos ? "" : request.target.substr(question + 1));
    }
    if (!path.starts_with("/b/")) {
      return s3_error("404 Not Found", "NoSuchBucket");
    }
    const std::string key = path.substr(3);
    const auto found = objects.find(key);
    if (request.method == "PUT") {
      const auto condition = request.headers.find("if-none-match");
      if (condition != request.headers.end() && condition->second == "*" && found != objects.end() &&
          !ignores_conditions) {
        return s3_error("412 Precondition Failed", "PreconditionFailed");
      }
      objects[key] = request.body;
      return http_reply("200 OK", "ETag: \"0123\"\r\nx-amz-request-id: 1\r\n");
    }
    if (request.method == "DELETE") {
      objects.erase(key);
      return {.bytes = "HTTP/1.1 204 No Content\r\nx-amz-request-id: 1\r\n\r\n"};
    }
    if (found == objects.end()) {
      ScriptedReply missing = s3_error("404 Not Found", "NoSuchKey");
      if (request.method == "HEAD") {
        missing.bytes.resize(missing.bytes.find("\r\n\r\n") + 4);
      }
      return missing;
    }
    return read(request, found->second);
  }

 private:
  static ScriptedReply read(const ReceivedRequest& request, const std::string& bytes) {
    std::string headers = "ETag: \"0123\"\r\nContent-Type: application/octet-stream\r\n";
    if (request.method == "HEAD") {
      ScriptedReply reply = http_reply("200 OK", headers, bytes);
      reply.bytes.resize(reply.bytes.size() - bytes.size());
      return reply;
    }
    const auto range = request.headers.find("range");
    if (range == request.headers.end()) {
      return http_reply("200 OK", headers, bytes);
    }
    const std::size_t dash = range->second.find('-');
    const std::uint64_t first = std::stoull(range->second.substr(6, dash - 6));
    if (first >= bytes.size()) {
      return s3_error("416 Requested Range Not Satisfiable", "InvalidRange");
    }
    const std::uint64_t last = std::min<std::uint64_t>(std::stoull(range->second.substr(dash + 1)), bytes.size() - 1);
    headers += "Content-Range: bytes " + std::to_string(first) + "-" + std::to_string(last) + "/" +
               std::to_string(bytes.size()) + "\r\n";
    return http_reply("206 Partial Content", headers, bytes.substr(first, last - first + 1));
  }

  [[nodiscard]] ScriptedReply list(const std::string& query) const {
    std::map<std::string, std::string> fields;
    for (std::size_t at = 0; at < query.size();) {
      const std::size_t end = std::min(query.find('&', at), query.size());
      const std::size_t equals = query.find('=', at);
      fields[query.substr(at, equals - at)] =
          iqdb::s3::percent_decoded(query.substr(equals + 1, end - equals - 1)).value_or("");
      at = end + 1;
    }
    const std::size_t most = std::stoul(fields["max-keys"]);
    std::string contents;
    std::size_t count = 0;
    bool is_cut = false;
    for (auto at = objects.upper_bound(fields["start-after"]); at != objects.end(); ++at) {
      if (!at->first.starts_with(fields["prefix"])) {
        continue;
      }
      if (count == most) {
        is_cut = true;
        break;
      }
      ++count;
      contents += "<Contents><Key>" + iqdb::s3::percent_encoded(at->first, true) + "</Key><Size>1</Size></Contents>";
    }
    return http_reply(
        "200 OK", "Content-Type: application/xml\r\n",
        "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><IsTruncated>" +
            std::string(is_cut ? "true" : "false") + "</IsTruncated><EncodingType>url</EncodingType>" + contents +
            "</ListBucketResult>");
  }
};

}  // namespace iqdb_test
