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
#include "iqdb/persist/storage/s3/xml.hpp"
#include "support/scripted_server.hpp"

namespace iqdb_test {

/// The objects of a bucket named "b", and the answers about them. One thread at a time calls it, as ScriptedServer does.
class FakeS3 {
 public:
  std::map<std::string, std::string> objects = {};  ///< by keys with the prefix of the store
  bool ignores_conditions = false;
  std::map<std::pair<std::string, std::string>, std::map<std::string, std::string>> uploads =
      {};                       ///< by key and id: parts
  std::size_t aborted = 0;      ///< or completed
  bool encodes_uploads = true;  ///< whether it encodes their keys in a listing

  [[nodiscard]] ScriptedReply answer(const ReceivedRequest& request) {
    const std::size_t question = request.target.find('?');
    const std::string path = iqdb::s3::percent_decoded(request.target.substr(0, question)).value_or("");
    auto query = fields_of(question == std::string::npos ? "" : request.target.substr(question + 1));
    if (path == "/b") {
      return query.contains("uploads") ? list_uploads(query) : list(query);
    }
    if (!path.starts_with("/b/")) {
      return s3_error("404 Not Found", "NoSuchBucket");
    }
    const std::string key = path.substr(3);
    const auto found = objects.find(key);
    if (query.contains("uploads")) {
      const std::string id = "2~" + std::to_string(uploads.size() + aborted) + "/+=";
      uploads[{key, id}] = {};
      return http_reply(
          "200 OK", "",
          "<InitiateMultipartUploadResult><UploadId>" + id + "</UploadId></InitiateMultipartUploadResult>");
    }
    if (query.contains("uploadId")) {
      return answer_of_upload(request, key, query);
    }
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

  using Fields = std::map<std::string, std::string>;

  static Fields fields_of(const std::string& query) {
    Fields fields;
    for (std::size_t at = 0; at < query.size();) {
      const std::size_t end = std::min(query.find('&', at), query.size());
      const std::size_t equals = query.find('=', at);
      fields[query.substr(at, equals - at)] =
          iqdb::s3::percent_decoded(query.substr(equals + 1, end - equals - 1)).value_or("");
      at = end + 1;
    }
    return fields;
  }

  // An ETag that follows from the bytes, with a character that XML must escape.
  static std::string etag_of(const std::string& bytes) {
    return "\"" + std::to_string(std::hash<std::string>()(bytes)) + "&\"";
  }

  ScriptedReply answer_of_upload(const ReceivedRequest& request, const std::string& key, Fields& query) {
    const auto upload = uploads.find({key, query["uploadId"]});
    if (upload == uploads.end()) {
      return s3_error("404 Not Found", "NoSuchUpload");
    }
    if (request.method == "PUT") {
      upload->second[query["partNumber"]] = request.body;
      return http_reply("200 OK", "ETag: " + etag_of(request.body) + "\r\n");
    }
    ++aborted;
    if (request.method == "DELETE") {
      uploads.erase(upload);
      return {.bytes = "HTTP/1.1 204 No Content\r\nx-amz-request-id: 1\r\n\r\n"};
    }
    const auto document = iqdb::s3::read_xml(request.body);
    std::string object;
    unsigned long last = 0;
    for (const iqdb::s3::XmlElement& each : document.value().children) {
      const std::string number = each.text_of("PartNumber").value();
      const auto part = upload->second.find(number);
      if (std::stoul(number) <= last) {
        return s3_error("400 Bad Request", "InvalidPartOrder");
      }
      if (part == upload->second.end() || etag_of(part->second) != each.text_of("ETag")) {
        return s3_error("400 Bad Request", "InvalidPart");
      }
      last = std::stoul(number);
      object += part->second;
    }
    objects[key] = object;
    uploads.erase(upload);
    // As AWS does, which keeps a connection up by space while it works.
    return http_reply("200 OK", "Content-Type: application/xml\r\n",
                      "<?xml version=\"1.0\"?>\n  \n<CompleteMultipartUploadResult><Key>k</Key><ETag></ETag>"
                      "</CompleteMultipartUploadResult>");
  }

  [[nodiscard]] ScriptedReply list_uploads(Fields& fields) const {
    const std::size_t most = std::stoul(fields["max-uploads"]);
    std::string listed;
    std::size_t count = 0;
    bool is_cut = false;
    for (const auto& [upload, parts] : uploads) {
      const auto& [key, id] = upload;
      const bool is_behind = fields["upload-id-marker"].empty()
                                 ? key > fields["key-marker"]
                                 : upload > std::pair(fields["key-marker"], fields["upload-id-marker"]);
      if (!key.starts_with(fields["prefix"]) || !is_behind) {
        continue;
      }
      if (count == most) {
        is_cut = true;
        break;
      }
      ++count;
      std::string written;
      for (const char each : key) {
        written += each == '&' ? "&amp;" : each == '<' ? "&lt;" : std::string(1, each);
      }
      listed += "<Upload><Key>" + (encodes_uploads ? iqdb::s3::percent_encoded(key, true) : written) +
                "</Key><UploadId>" + id + "</UploadId></Upload>";
    }
    return http_reply("200 OK", "Content-Type: application/xml\r\n",
                      "<ListMultipartUploadsResult><IsTruncated>" + std::string(is_cut ? "true" : "false") +
                          "</IsTruncated>" + (encodes_uploads ? "<EncodingType>url</EncodingType>" : "") + listed +
                          "</ListMultipartUploadsResult>");
  }

  [[nodiscard]] ScriptedReply list(Fields& fields) const {
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
