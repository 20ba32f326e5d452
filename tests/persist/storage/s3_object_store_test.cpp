#include "iqdb/persist/storage/s3_object_store.hpp"

#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/wal/object_log.hpp"
#include "support/catch.hpp"
#include "support/child_process.hpp"
#include "support/expect_error.hpp"
#include "support/fake_s3.hpp"
#include "support/object_logs.hpp"
#include "support/object_store_semantics.hpp"
#include "support/scripted_server.hpp"

namespace of_s3_object_store {

using iqdb::PersistErrorKind;
using iqdb::PutOutcome;
using iqdb::S3Config;
using iqdb::S3ObjectStore;
using iqdb_test::error_of;
using iqdb_test::FakeS3;
using iqdb_test::html_page;
using iqdb_test::http_reply;
using iqdb_test::mentions;
using iqdb_test::object_bytes;
using iqdb_test::object_text;
using iqdb_test::ReceivedRequest;
using iqdb_test::require_kind;
using iqdb_test::s3_error;
using iqdb_test::ScriptedReply;
using iqdb_test::ScriptedServer;

const std::string secret = "verysecretkey";
const std::string token = "verysecrettoken";

S3Config config_of(const ScriptedServer& server) {
  return {.endpoint = server.endpoint(),
          .bucket = "b",
          .credentials = iqdb::s3_fixed_credentials("AKEXAMPLE", secret, token),
          .request_timeout = std::chrono::milliseconds(10000),
          .most_attempts = 2,
          .pause = [](unsigned) {}};
}

// What the message of every error is examined for.
void require_no_secret(const std::exception& error) {
  for (const std::string_view each : {std::string_view(secret), std::string_view(token), std::string_view("AKEXAMPLE"),
                                      std::string_view("Signature="), std::string_view("AWS4-HMAC")}) {
    INFO(error.what());
    CHECK_FALSE(mentions(error, each));
  }
}

const iqdb::ObjectUpload an_upload{.key = "k", .id = "1"};

// Calls every function of a store whose server always answers so.
void for_each_call(const ScriptedReply& reply,
                   const std::function<void(const std::function<void(S3ObjectStore&)>&, S3ObjectStore&)>& check) {
  const std::vector<std::function<void(S3ObjectStore&)>> calls = {
      [](S3ObjectStore& store) { store.put("k", object_bytes("x")); },
      [](S3ObjectStore& store) { std::ignore = store.get("k"); },
      [](S3ObjectStore& store) { std::ignore = store.get("k", 0, 1); },
      [](S3ObjectStore& store) { std::ignore = store.head("k"); },
      [](S3ObjectStore& store) { std::ignore = store.list("k", "", 10); },
      [](S3ObjectStore& store) { store.remove("k"); },
      [](S3ObjectStore& store) { std::ignore = store.begin_upload("k"); },
      [](S3ObjectStore& store) { std::ignore = store.put_part(an_upload, 1, object_bytes("x")); },
      [](S3ObjectStore& store) { std::ignore = store.complete_upload(an_upload, {}); },
      [](S3ObjectStore& store) { store.abort_upload(an_upload); },
      [](S3ObjectStore& store) { std::ignore = store.list_uploads("k", {}, 10); }};
  for (const auto& call : calls) {
    const ScriptedServer server([&](const ReceivedRequest& request) {
      ScriptedReply answer = reply;
      if (request.method == "HEAD" && !reply.then_hangs && !reply.then_closes) {
        answer.bytes.resize(std::min(answer.bytes.size(), answer.bytes.find("\r\n\r\n") + 4));
      }
      return answer;
    });
    S3Config config = config_of(server);
    if (reply.then_hangs) {
      config.request_timeout = std::chrono::milliseconds(100);
    }
    S3ObjectStore store(config);
    check(call, store);
  }
}

PutOutcome outcome_of(const ScriptedReply& reply) {
  const ScriptedServer server([&](const ReceivedRequest&) { return reply; });
  S3Config config = config_of(server);
  if (reply.then_hangs) {
    config.request_timeout = std::chrono::milliseconds(100);
  }
  S3ObjectStore store(config);
  const PutOutcome outcome = store.put_if_absent("k", object_bytes("x"));
  CHECK(server.requests().size() == 1);
  return outcome;
}

const std::string stored_headers = "ETag: \"0123\"\r\nx-amz-request-id: 1\r\n";

// Answers that say nothing of an object.
std::vector<ScriptedReply> answers_of_nobody() {
  std::vector<ScriptedReply> replies = {
      {.bytes = {}, .then_closes = true},                                       // the reply is lost
      {.bytes = "HTTP/1.1 200 OK\r\nETag: \"0123\"\r\n", .then_closes = true},  // and here a part of it
      {.bytes = {}, .then_hangs = true},
      {.bytes = "no HTTP at all\r\n\r\n", .then_closes = true},
      http_reply("200 OK", ""),  // a proxy that swallows what it is sent
      http_reply("503 Service Unavailable", ""),
      {.bytes = "HTTP/1.1 200 OK\r\n" + std::string("X-Long: ") + std::string(70000, 'x') + "\r\n\r\n",
       .then_closes = true}};
  for (const char* status : {"200 OK", "206 Part", "301 Moved", "302 Found", "400 Bad", "401 Log In", "403 Forbidden",
                             "404 Not Found", "407 Proxy", "409 Conflict", "412 Precondition Failed", "416 Range",
                             "429 Too Many", "500 Error", "502 Bad Gateway", "504 Gateway Timeout"}) {
    replies.push_back(html_page(status));
  }
  for (const auto& [status, code] :
       std::vector<std::pair<std::string, std::string>>{{"500 Error", "InternalError"},
                                                        {"503 Slow", "SlowDown"},
                                                        {"503 Service Unavailable", "ServiceUnavailable"},
                                                        {"429 Slow", "TooManyRequests"},
                                                        {"400 Bad", "RequestTimeout"},
                                                        {"400 Bad", "IncompleteBody"},
                                                        {"400 Bad", "BadDigest"},
                                                        {"400 Bad", "XAmzContentSHA256Mismatch"},
                                                        {"409 Conflict", "ConditionalRequestConflict"},
                                                        {"409 Conflict", "OperationAborted"}}) {
    replies.push_back(s3_error(status, code));
  }
  return replies;
}

TEST_CASE("S3ObjectStore: does what the concept promises", "[s3_object_store]") {
  for (const char* prefix : {"", "some/where/", "a b+&"}) {
    FakeS3 bucket;
    const ScriptedServer server([&](const ReceivedRequest& request) { return bucket.answer(request); });
    S3Config config = config_of(server);
    config.prefix = prefix;
    S3ObjectStore store(config);
    iqdb_test::check_object_store(store);
    // Parts have 5 MiB here, which this server sends byte by byte: once is enough.
    bucket.encodes_uploads = config.prefix.empty();
    if (config.prefix.empty()) {
      iqdb_test::check_object_uploads(store);
    } else {
      iqdb_test::check_listed_uploads(store);
    }
    for (const auto& [key, bytes] : bucket.objects) {
      CHECK(key.starts_with(prefix));
    }
    CHECK(server.connections() == 1);
  }
}

TEST_CASE("S3ObjectStore: of many that put one key at once one stores", "[s3_object_store]") {
  FakeS3 bucket;
  const ScriptedServer server([&](const ReceivedRequest& request) { return bucket.answer(request); });
  iqdb_test::check_races([&] { return S3ObjectStore(config_of(server)); }, 4, 25);
}

TEST_CASE("S3ObjectStore: a put if absent is stored only with an ETag and without a body", "[s3_object_store]") {
  CHECK(outcome_of(http_reply("200 OK", stored_headers)) == PutOutcome::stored);
  CHECK(outcome_of(http_reply("200 OK", "ETag: \"0123\"\r\n")) == PutOutcome::stored);
  CHECK(outcome_of(http_reply("200 OK", "x-amz-request-id: 1\r\n")) == PutOutcome::unknown);
  CHECK(outcome_of(http_reply("200 OK", "ETag:\r\n")) == PutOutcome::unknown);
  CHECK(outcome_of(http_reply("200 OK", stored_headers, "<html></html>")) == PutOutcome::unknown);
  CHECK(outcome_of(http_reply("201 Created", stored_headers)) == PutOutcome::unknown);
  CHECK(outcome_of(http_reply("202 Accepted", stored_headers)) == PutOutcome::unknown);
}

TEST_CASE("S3ObjectStore: a put if absent was there only by S3's own word", "[s3_object_store]") {
  CHECK(outcome_of(s3_error("412 Precondition Failed", "PreconditionFailed")) == PutOutcome::was_there);
  CHECK(outcome_of(html_page("412 Precondition Failed")) == PutOutcome::unknown);
  CHECK(outcome_of(http_reply("412 Precondition Failed", stored_headers)) == PutOutcome::unknown);
}

TEST_CASE("S3ObjectStore: a put if absent that has no answer is unknown, and is sent once", "[s3_object_store]") {
  for (const ScriptedReply& reply : answers_of_nobody()) {
    INFO(reply.bytes.substr(0, 60));
    CHECK(outcome_of(reply) == PutOutcome::unknown);
  }
}

TEST_CASE("S3ObjectStore: other calls that have no answer are made again, and then fail", "[s3_object_store]") {
  for (const ScriptedReply& reply : answers_of_nobody()) {
    INFO(reply.bytes.substr(0, 60));
    for_each_call(reply, [](const auto& call, S3ObjectStore& store) {
      const auto error = require_kind(PersistErrorKind::io, [&] { call(store); });
      CHECK(mentions(error, "after 2 attempts"));
      CHECK(mentions(error, "127.0.0.1"));
      require_no_secret(error);
    });
  }
}

TEST_CASE("S3ObjectStore: what fails once is made again with a pause", "[s3_object_store]") {
  FakeS3 bucket;
  bucket.objects["k"] = "there";
  bool fails = false;
  const ScriptedServer server([&](const ReceivedRequest& request) {
    fails = !fails;
    return fails ? s3_error("503 Slow Down", "SlowDown") : bucket.answer(request);
  });
  S3Config config = config_of(server);
  std::vector<unsigned> pauses;
  config.pause = [&](unsigned failures) { pauses.push_back(failures); };
  S3ObjectStore store(config);
  store.put("k2", object_bytes("x"));
  CHECK(object_text(store.get("k")) == "there");
  CHECK(object_text(store.get("k", 1, 2)) == "he");
  CHECK(store.list("", "", 10).size() == 2);
  store.remove("k2");
  CHECK(pauses == std::vector<unsigned>(5, 1));
}

TEST_CASE("S3ObjectStore: a refusal names the key, the status, the code and the id, and what to do",
          "[s3_object_store]") {
  const std::vector<std::tuple<std::string, std::string, std::string>> refusals = {
      {"403 Forbidden", "AccessDenied", "policy"},
      {"403 Forbidden", "InvalidAccessKeyId", "does not know this access key"},
      {"403 Forbidden", "SignatureDoesNotMatch", "secret key"},
      {"403 Forbidden", "RequestTimeTooSkewed", "clocks"},
      {"400 Bad Request", "AuthorizationHeaderMalformed", "region"},
      {"301 Moved Permanently", "PermanentRedirect", "region"},
      {"307 Temporary Redirect", "TemporaryRedirect", "region"},
      {"404 Not Found", "NoSuchBucket", "no such bucket"},
      {"400 Bad Request", "ExpiredToken", "expired"},
      {"400 Bad Request", "SomethingNew", "documentation"}};
  for (const auto& refusal : refusals) {
    const std::string& status = std::get<0>(refusal);
    const std::string& code = std::get<1>(refusal);
    const std::string& advice = std::get<2>(refusal);
    INFO(code);
    const auto check = [&, number = status.substr(0, 3)](const auto& call, S3ObjectStore& store) {
      const auto error = require_kind(PersistErrorKind::invalid_config, [&] { call(store); });
      CHECK(mentions(error, number));
      CHECK(mentions(error, code));
      CHECK(mentions(error, advice));
      CHECK(mentions(error, "id-of-the-server"));
      CHECK(mentions(error, "in the bucket \"b\""));
      require_no_secret(error);
    };
    for_each_call(s3_error(status, code), check);
    const ScriptedServer server([&](const ReceivedRequest&) { return s3_error(status, code); });
    S3ObjectStore store(config_of(server));
    check([](S3ObjectStore& of) { std::ignore = of.put_if_absent("k", object_bytes("x")); }, store);
    CHECK(server.requests().size() == 1);
  }
}

TEST_CASE("S3ObjectStore: an upload is completed by the word in the body alone", "[s3_object_store]") {
  const auto completed = [](const ScriptedReply& reply) {
    const ScriptedServer server([&](const ReceivedRequest&) { return reply; });
    S3ObjectStore store(config_of(server));
    return store.complete_upload(an_upload, {});
  };
  const std::string result = "<CompleteMultipartUploadResult><ETag></ETag></CompleteMultipartUploadResult>";
  CHECK(completed(http_reply("200 OK", "", "<?xml version=\"1.0\"?>\n \n" + result)) == iqdb::UploadOutcome::completed);
  CHECK(completed(s3_error("404 Not Found", "NoSuchUpload")) == iqdb::UploadOutcome::absent);
  CHECK(completed(s3_error("200 OK", "NoSuchUpload")) == iqdb::UploadOutcome::absent);
  // After the status was sent, the store found that it cannot; or it is told no more of the answer.
  for (const ScriptedReply& reply :
       {s3_error("200 OK", "InternalError"), s3_error("200 OK", "SlowDown"), http_reply("200 OK", stored_headers),
        http_reply("200 OK", "", "<?xml version=\"1.0\"?>\n   "), http_reply("200 OK", "", "<ListPartsResult/>"),
        http_reply("200 OK", "", result.substr(0, 50)), html_page("404 Not Found")}) {
    INFO(reply.bytes);
    require_kind(PersistErrorKind::io, [&] { return completed(reply); });
  }
  const auto error =
      require_kind(PersistErrorKind::invalid_config, [&] { return completed(s3_error("200 OK", "InvalidPart")); });
  CHECK(mentions(error, "InvalidPart"));
  require_kind(PersistErrorKind::invalid_config,
               [&] { return completed(s3_error("400 Bad Request", "EntityTooSmall")); });
  require_kind(PersistErrorKind::invalid_config, [&] { return completed(s3_error("404 Not Found", "NoSuchKey")); });
}

TEST_CASE("S3ObjectStore: an upload that is not there is absent also for a store that tells an error instead",
          "[s3_object_store]") {
  // As Ceph does: it answers the completion with an error of its own, and a question for the parts with what is true.
  const auto completed = [](const ScriptedReply& parts) {
    const ScriptedServer server([&](const ReceivedRequest& request) {
      return request.method == "GET" ? parts : s3_error("500 Internal Server Error", "InternalError");
    });
    S3ObjectStore store(config_of(server));
    return store.complete_upload(an_upload, {});
  };
  CHECK(completed(s3_error("404 Not Found", "NoSuchUpload")) == iqdb::UploadOutcome::absent);
  CHECK(completed(s3_error("404 Not Found", "NoSuchKey")) == iqdb::UploadOutcome::absent);
  for (const ScriptedReply& parts : {http_reply("200 OK", "", "<ListPartsResult/>"), html_page("404 Not Found"),
                                     s3_error("403 Forbidden", "AccessDenied")}) {
    require_kind(PersistErrorKind::io, [&] { return completed(parts); });
  }
}

TEST_CASE("S3ObjectStore: a part is stored only with an ETag, and has no upload only by S3's own word",
          "[s3_object_store]") {
  const auto put = [](const ScriptedReply& reply) {
    const ScriptedServer server([&](const ReceivedRequest&) { return reply; });
    S3ObjectStore store(config_of(server));
    return store.put_part(an_upload, 1, object_bytes("x"));
  };
  CHECK(put(http_reply("200 OK", stored_headers)) == "\"0123\"");
  CHECK_FALSE(put(s3_error("404 Not Found", "NoSuchUpload")));
  for (const ScriptedReply& reply : {http_reply("200 OK", ""), html_page("200 OK"), html_page("404 Not Found")}) {
    require_kind(PersistErrorKind::io, [&] { return put(reply); });
  }
  require_kind(PersistErrorKind::invalid_config, [&] { return put(s3_error("404 Not Found", "NoSuchBucket")); });
}

TEST_CASE("S3ObjectStore: an upload is begun only with an id", "[s3_object_store]") {
  const auto begun = [](const std::string& body) {
    const ScriptedServer server([&](const ReceivedRequest&) { return http_reply("200 OK", "", body); });
    S3ObjectStore store(config_of(server));
    return store.begin_upload("k");
  };
  CHECK(begun("<InitiateMultipartUploadResult><UploadId>a/b+c</UploadId></InitiateMultipartUploadResult>") == "a/b+c");
  for (const char* body : {"", "<InitiateMultipartUploadResult/>", "<Other><UploadId>1</UploadId></Other>",
                           "<InitiateMultipartUploadResult><UploadId></UploadId></InitiateMultipartUploadResult>"}) {
    require_kind(PersistErrorKind::io, [&] { return begun(body); });
  }
}

TEST_CASE("S3ObjectStore: a listing of uploads that makes no sense is no answer", "[s3_object_store]") {
  const auto listed = [](const std::string& inner) {
    const ScriptedServer server([&](const ReceivedRequest&) {
      return http_reply("200 OK", "", "<ListMultipartUploadsResult>" + inner + "</ListMultipartUploadsResult>");
    });
    S3ObjectStore store(config_of(server));
    return store.list_uploads("a", {.key = "a1", .id = "5"}, 2);
  };
  const auto upload = [](const std::string& key, const std::string& id) {
    return "<Upload><Key>" + key + "</Key><UploadId>" + id + "</UploadId></Upload>";
  };
  const std::string whole = "<IsTruncated>false</IsTruncated>";
  CHECK(listed(whole + upload("a1", "6") + upload("a2%", "1")).size() == 2);
  CHECK(listed(whole).empty());
  for (const std::string& inner :
       {upload("a2", "1"), whole + upload("b", "1"), whole + upload("a1", "5"), whole + upload("a2", ""),
        whole + upload("a2", "1") + upload("a3", "1") + upload("a4", "1"),
        std::string("<IsTruncated>true</IsTruncated>"),
        whole + "<EncodingType>url</EncodingType>" + upload("a%2", "1")}) {
    INFO(inner);
    require_kind(PersistErrorKind::io, [&] { return listed(inner); });
  }
}

TEST_CASE("S3ObjectStore: a request that the store does not know is unsupported", "[s3_object_store]") {
  const ScriptedServer server([](const ReceivedRequest&) { return s3_error("501 Not Implemented", "NotImplemented"); });
  S3ObjectStore store(config_of(server));
  require_kind(PersistErrorKind::unsupported, [&] { return store.put_if_absent("k", object_bytes("x")); });
}

TEST_CASE("S3ObjectStore: a bucket that is missing is not taken for an object that is", "[s3_object_store]") {
  FakeS3 bucket;
  const ScriptedServer server([&](const ReceivedRequest& request) {
    ScriptedReply reply = bucket.answer(request);
    if (request.method == "HEAD") {
      reply.bytes.resize(reply.bytes.find("\r\n\r\n") + 4);
    }
    return reply;
  });
  S3Config config = config_of(server);
  config.bucket = "other";
  S3ObjectStore store(config);
  require_kind(PersistErrorKind::invalid_config, [&] { return store.get("k"); });
  require_kind(PersistErrorKind::invalid_config, [&] { return store.get("k", 0, 1); });
  require_kind(PersistErrorKind::invalid_config, [&] { return store.head("k"); });
  require_kind(PersistErrorKind::invalid_config, [&] { store.remove("k"); });
}

TEST_CASE("S3ObjectStore: every request is signed with its hash, and the condition too", "[s3_object_store]") {
  FakeS3 bucket;
  const ScriptedServer server([&](const ReceivedRequest& request) { return bucket.answer(request); });
  S3ObjectStore store(config_of(server));
  std::ignore = store.put_if_absent("k", object_bytes("Welcome to Amazon S3."));
  std::ignore = store.get("k", 0, 1);
  std::ignore = store.head("k");
  std::ignore = store.list("", "", 1);
  store.remove("k");
  const auto requests = server.requests();
  REQUIRE(requests.size() == 5);
  CHECK(requests[0].headers.at("x-amz-content-sha256") ==
        "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072");
  CHECK(requests[0].headers.at("if-none-match") == "*");
  CHECK(
      requests[0]
          .headers.at("authorization")
          .find(
              "SignedHeaders=content-type;host;if-none-match;x-amz-content-sha256;x-amz-date;x-amz-security-token,") !=
      std::string::npos);
  CHECK_FALSE(requests[0].headers.contains("expect"));
  for (const ReceivedRequest& each : requests) {
    CHECK(each.headers.contains("authorization"));
    CHECK(each.headers.contains("x-amz-date"));
    CHECK(each.headers.at("x-amz-content-sha256").size() == 64);
    CHECK(each.headers.at("x-amz-security-token") == token);
    CHECK("http://" + each.headers.at("host") == server.endpoint());
  }
}

TEST_CASE("S3ObjectStore: a large object is sent without asking whether it may", "[s3_object_store]") {
  FakeS3 bucket;
  const ScriptedServer server([&](const ReceivedRequest& request) { return bucket.answer(request); });
  S3ObjectStore store(config_of(server));
  store.put("k", object_bytes(std::string(3 << 20, 'x')));
  CHECK_FALSE(server.requests().at(0).headers.contains("expect"));
}

TEST_CASE("S3ObjectStore: a part of an object is not taken for the whole", "[s3_object_store]") {
  const std::string headers = "ETag: \"0123\"\r\n";
  const std::vector<ScriptedReply> cut = {
      {.bytes = "HTTP/1.1 200 OK\r\n" + headers + "Content-Length: 10\r\n\r\n12345", .then_closes = true},
      {.bytes = "HTTP/1.1 200 OK\r\n" + headers + "Connection: close\r\n\r\n12345",
       .then_closes = true},  // of no known length
      {.bytes = "HTTP/1.1 200 OK\r\n" + headers + "Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n",
       .then_closes = true},
      {.bytes = "HTTP/1.1 200 OK\r\n" + headers + "Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\n\r\n"},
      http_reply("206 Partial Content", headers + "Content-Range: bytes 0-4/10\r\n", "12345")};
  for (const ScriptedReply& reply : cut) {
    INFO(reply.bytes);
    const ScriptedServer server([&](const ReceivedRequest&) { return reply; });
    S3ObjectStore store(config_of(server));
    require_kind(PersistErrorKind::io, [&] { return store.get("k"); });
  }
}

TEST_CASE("S3ObjectStore: a range that is not the one that was asked for is no answer", "[s3_object_store]") {
  const std::string headers = "ETag: \"0123\"\r\n";
  const auto answered = [](const ScriptedReply& reply) {
    const ScriptedServer server([&](const ReceivedRequest&) { return reply; });
    S3ObjectStore store(config_of(server));
    return object_text(store.get("k", 2, 4));
  };
  CHECK(answered(http_reply("206 Part", headers + "Content-Range: bytes 2-5/10\r\n", "2345")) == "2345");
  CHECK(answered(http_reply("206 Part", headers + "Content-Range: bytes 2-3/4\r\n", "23")) == "23");
  for (const ScriptedReply& reply :
       {http_reply("200 OK", headers, "2345"), http_reply("206 Part", headers, "2345"),
        http_reply("206 Part", headers + "Content-Range: bytes 0-3/10\r\n", "0123"),
        http_reply("206 Part", headers + "Content-Range: bytes 2-3/10\r\n", "23"),
        http_reply("206 Part", headers + "Content-Range: bytes 2-5/*\r\n", "2345"),
        http_reply("206 Part", headers + "Content-Range: bytes 2-5/10\r\nContent-Type: text/html\r\n", "2345"),
        http_reply("206 Part", "Content-Range: bytes 2-5/10\r\n", "2345")}) {
    INFO(reply.bytes);
    require_kind(PersistErrorKind::io, [&] { return answered(reply); });
  }
}

TEST_CASE("S3ObjectStore: an answer takes no more memory than it may", "[s3_object_store]") {
  const ScriptedServer server([](const ReceivedRequest& request) {
    return request.headers.contains("range")
               ? http_reply("206 Part", "ETag: \"0123\"\r\nContent-Range: bytes 0-999/1000\r\n", std::string(1000, 'x'))
               : http_reply("200 OK", "ETag: \"0123\"\r\n", std::string(1000, 'x'));
  });
  S3Config config = config_of(server);
  config.largest_whole_object = 999;
  S3ObjectStore store(config);
  const auto error = require_kind(PersistErrorKind::invalid_config, [&] { return store.get("k"); });
  CHECK(mentions(error, "largest_whole_object"));
  require_kind(PersistErrorKind::invalid_config, [&] { return store.get("k", 0, 1000); });
  CHECK(server.requests().size() == 2);
  // More than was asked for is no answer.
  require_kind(PersistErrorKind::io, [&] { return store.get("k", 0, 10); });
  config.largest_whole_object = 1000;
  S3ObjectStore larger(config);
  CHECK(larger.get("k").value().size() == 1000);
  CHECK(larger.get("k", 0, 1000).value().size() == 1000);
}

TEST_CASE("S3ObjectStore: a page of any length in place of an answer is no answer", "[s3_object_store]") {
  for (const char* status : {"200 OK", "403 Forbidden", "404 Not Found", "412 Precondition Failed"}) {
    const ScriptedReply page =
        http_reply(status, "Content-Type: text/html\r\nETag: \"page\"\r\n", std::string(std::size_t{20} << 20U, 'x'));
    INFO(status);
    CHECK(outcome_of(page) == PutOutcome::unknown);
    const ScriptedServer server([&](const ReceivedRequest&) { return page; });
    S3ObjectStore store(config_of(server));
    require_kind(PersistErrorKind::io, [&] { return store.get("k", 0, 10); });
    require_kind(PersistErrorKind::io, [&] { return store.list("k", "", 10); });
  }
}

TEST_CASE("S3ObjectStore: a listing that makes no sense is no answer", "[s3_object_store]") {
  const auto listed = [](const std::string& inner, const std::string& encoding = "<EncodingType>url</EncodingType>") {
    const ScriptedServer server([&](const ReceivedRequest&) {
      return http_reply("200 OK", "", "<ListBucketResult>" + encoding + inner + "</ListBucketResult>");
    });
    S3ObjectStore store(config_of(server));
    return store.list("a", "a1", 2);
  };
  const auto key = [](const std::string& name) { return "<Contents><Key>" + name + "</Key></Contents>"; };
  const std::string whole = "<IsTruncated>false</IsTruncated>";
  CHECK(listed(whole + key("a2") + key("a3")) == std::vector<std::string>{"a2", "a3"});
  CHECK(listed(whole).empty());
  for (const std::string& inner :
       {key("a2"), whole + key("a3") + key("a2"), whole + key("a2") + key("a2"), whole + key("b"), whole + key("a1"),
        whole + key("a%2"), whole + key("a2") + key("a3") + key("a4"), std::string("<IsTruncated>true</IsTruncated>"),
        "<IsTruncated>maybe</IsTruncated>" + key("a2")}) {
    INFO(inner);
    require_kind(PersistErrorKind::io, [&] { return listed(inner); });
  }
  require_kind(PersistErrorKind::io, [&] { return listed(whole + key("a2"), ""); });
}

TEST_CASE("S3ObjectStore: leaves out of a listing what is under no valid key, and lists on", "[s3_object_store]") {
  FakeS3 bucket;
  bucket.objects = {{"p/.hidden", ""}, {"p//", ""}, {"p/a/", ""}, {"p/b", ""}};
  const ScriptedServer server([&](const ReceivedRequest& request) { return bucket.answer(request); });
  S3Config config = config_of(server);
  config.prefix = "p/";
  S3ObjectStore store(config);
  CHECK(store.list("", "", 1) == std::vector<std::string>{"b"});
  CHECK(store.list("", "b", 1).empty());
}

TEST_CASE("S3ObjectStore: follows nobody to another address", "[s3_object_store]") {
  FakeS3 bucket;
  const ScriptedServer other([&](const ReceivedRequest& request) { return bucket.answer(request); });
  const ScriptedServer server([&](const ReceivedRequest& request) {
    return http_reply("307 Temporary Redirect", "Location: " + other.endpoint() + request.target + "\r\n");
  });
  S3ObjectStore store(config_of(server));
  CHECK(store.put_if_absent("k", object_bytes("x")) == PutOutcome::unknown);
  require_kind(PersistErrorKind::io, [&] { return store.get("k"); });
  CHECK(other.requests().empty());
}

TEST_CASE("S3ObjectStore: asks its source again before credentials expire, and when the store says so",
          "[s3_object_store]") {
  FakeS3 bucket;
  bool says_expired = false;
  const ScriptedServer server([&](const ReceivedRequest& request) {
    return std::exchange(says_expired, false) ? s3_error("400 Bad Request", "ExpiredToken") : bucket.answer(request);
  });
  S3Config config = config_of(server);
  auto now = std::chrono::system_clock::now();
  unsigned asked = 0;
  config.now = [&] { return now; };
  config.credentials = [&] {
    ++asked;
    return iqdb::S3Credentials{.access_key = "A" + std::to_string(asked),
                               .secret_key = "s",
                               .session_token = {},
                               .expires_at = now + std::chrono::hours(1)};
  };
  S3ObjectStore store(config);
  store.put("k", object_bytes("x"));
  now += std::chrono::minutes(54);
  store.put("k", object_bytes("x"));
  CHECK(asked == 1);
  now += std::chrono::minutes(2);
  store.put("k", object_bytes("x"));
  CHECK(asked == 2);
  says_expired = true;
  store.put("k", object_bytes("x"));
  CHECK(asked == 3);
  says_expired = true;
  CHECK(store.put_if_absent("n", object_bytes("x")) == PutOutcome::unknown);
  CHECK(store.put_if_absent("n", object_bytes("x")) == PutOutcome::stored);
  CHECK(server.requests().back().headers.at("authorization").find("Credential=A4/") != std::string::npos);
}

TEST_CASE("S3ObjectStore: credentials with a line break or without a key are refused, and not said",
          "[s3_object_store]") {
  const ScriptedServer server([](const ReceivedRequest&) { return html_page("200 OK"); });
  for (const auto& [key, other] : std::vector<std::pair<std::string, std::string>>{
           {"", secret}, {"A", ""}, {"A\r\nx: y", secret}, {"A", secret + "\n"}}) {
    S3Config config = config_of(server);
    config.credentials = iqdb::s3_fixed_credentials(key, other);
    S3ObjectStore store(config);
    require_no_secret(require_kind(PersistErrorKind::invalid_config, [&] { return store.get("k"); }));
  }
  CHECK(server.requests().empty());
}

TEST_CASE("S3ObjectStore: a server that says the secrets again does not get them into a message", "[s3_object_store]") {
  for (const std::string& said : {secret, token, std::string("AKEXAMPLE")}) {
    for_each_call(s3_error("403 Forbidden", said),
                  [](const auto& call, S3ObjectStore& store) { require_no_secret(error_of([&] { call(store); })); });
    const ScriptedServer server([&](const ReceivedRequest& request) {
      return http_reply("403 Forbidden", "x-amz-request-id: " + said + "\r\nContent-Type: " + said + "\r\n",
                        request.headers.at("authorization"));
    });
    S3ObjectStore store(config_of(server));
    require_no_secret(error_of([&] { return store.get("k"); }));
  }
}

TEST_CASE("S3ObjectStore: a key that is too long with the prefix is refused", "[s3_object_store]") {
  const ScriptedServer server([](const ReceivedRequest&) { return html_page("200 OK"); });
  S3Config config = config_of(server);
  config.prefix = std::string(1020, 'p');
  S3ObjectStore store(config);
  require_kind(PersistErrorKind::invalid_config, [&] { return store.get("abcde"); });
  CHECK(server.requests().empty());
}

TEST_CASE("S3ObjectStore: the bucket may stand in the name of the host", "[s3_object_store]") {
  const ScriptedServer server([](const ReceivedRequest&) { return http_reply("200 OK", stored_headers); });
  S3Config config = config_of(server);
  config.endpoint = "http://localhost" + server.endpoint().substr(server.endpoint().rfind(':'));
  config.style = iqdb::S3AddressStyle::host;
  S3ObjectStore store(config);
  store.put("a/k", object_bytes("x"));
  CHECK(server.requests().at(0).target == "/a/k");
  CHECK(server.requests().at(0).headers.at("host").starts_with("b.localhost:"));
}

TEST_CASE("S3ObjectStore: a child of a fork is refused, and its parent goes on", "[s3_object_store]") {
  FakeS3 bucket;
  const ScriptedServer server([&](const ReceivedRequest& request) { return bucket.answer(request); });
  S3ObjectStore store(config_of(server));
  store.put("k", object_bytes("x"));
  const std::string said = iqdb_test::in_child([&]() -> std::string {
    try {
      std::ignore = store.get("k");
    } catch (const iqdb::PersistError& error) {
      return std::string(to_string(error.kind()));
    }
    return "nothing";
  });
  CHECK(said == "poisoned");
  CHECK(object_text(store.get("k")) == "x");
  CHECK(server.connections() == 1);
}

TEST_CASE("S3ObjectStore: a log writes on when a reply is lost before or behind the effect", "[s3_object_store]") {
  FakeS3 bucket;
  unsigned number = 0;
  const ScriptedServer server([&](const ReceivedRequest& request) -> ScriptedReply {
    ++number;
    if (number % 3 == 1) {
      return {.bytes = {}, .then_closes = true};
    }
    const ScriptedReply reply = bucket.answer(request);
    return number % 5 == 2   ? ScriptedReply{.bytes = {}, .then_closes = true}
           : number % 7 == 3 ? s3_error("500 Error", "InternalError")
                             : reply;
  });
  S3Config config = config_of(server);
  config.most_attempts = 5;
  S3ObjectStore store(config);
  const auto options = iqdb_test::hasty_options(20);
  auto opened = iqdb::open_object_log(store, "index", false, options);
  for (std::uint64_t id = 1; id <= 20; ++id) {
    const std::vector<std::vector<std::byte>> bodies = {iqdb_test::erase_of_id(id)};
    CHECK(opened.writer.append(iqdb_test::spans_of(bodies)).first == id);
  }
  opened.writer.close();
  CHECK(iqdb::read_object_run(store, "index", options).next_lsn() == 21);
}

TEST_CASE("S3ObjectStore: a log is not opened in a store that ignores conditions", "[s3_object_store]") {
  FakeS3 bucket;
  bucket.ignores_conditions = true;
  const ScriptedServer server([&](const ReceivedRequest& request) { return bucket.answer(request); });
  S3ObjectStore store(config_of(server));
  require_kind(PersistErrorKind::unsupported,
               [&] { return iqdb::open_object_log(store, "index", false, iqdb_test::hasty_options()); });
}

}  // namespace of_s3_object_store
