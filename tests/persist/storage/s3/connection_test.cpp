#include "iqdb/persist/storage/s3/connection.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <thread>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/storage/s3_object_store.hpp"
#include "support/catch.hpp"
#include "support/child_process.hpp"
#include "support/expect_error.hpp"
#include "support/scripted_server.hpp"
#include "support/temporary_directory.hpp"

namespace of_s3_connection {

using iqdb::PersistErrorKind;
using iqdb::s3::Connection;
using iqdb::s3::HttpEnd;
using iqdb::s3::HttpReply;
using iqdb_test::mentions;
using iqdb_test::require_kind;
using iqdb_test::ScriptedReply;
using iqdb_test::ScriptedServer;

// A server with TLS, by the program openssl, whose certificate is its own and names the address 127.0.0.1.
class EncryptedServer {
 public:
  explicit EncryptedServer(const std::filesystem::path& directory)
      : certificate_(directory / "certificate.pem"),
        key_(directory / "key.pem"),
        words_(directory / "words"),
        child_([&] { return run(); }) {
    // It says where it listens, in a line "ACCEPT 127.0.0.1:12345".
    constexpr int most_looks = 1000;
    for (int look = 0; look < most_looks && port_.empty(); ++look) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      std::ifstream words(words_);
      for (std::string line; std::getline(words, line);) {
        if (line.starts_with("ACCEPT ") && !words.eof()) {
          port_ = line.substr(line.rfind(':') + 1);
        }
      }
    }
    if (port_.empty()) {
      throw std::runtime_error("the program openssl does not listen; is it installed?");
    }
  }

  [[nodiscard]] const std::filesystem::path& certificate() const noexcept { return certificate_; }
  [[nodiscard]] const std::string& port() const noexcept { return port_; }

 private:
  [[nodiscard]] int run() const {
    const std::string make =
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test -addext "
        "subjectAltName=IP:127.0.0.1 -keyout '" +
        key_.string() + "' -out '" + certificate_.string() + "' 2>/dev/null";
    if (std::system(make.c_str()) != 0) {  // NOLINT(cert-env33-c): the paths are of this test
      return 1;
    }
    const int words = ::open(words_.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    ::dup2(words, STDOUT_FILENO);
    ::dup2(words, STDERR_FILENO);
    ::execlp("openssl", "openssl", "s_server", "-accept", "127.0.0.1:0", "-www", "-cert", certificate_.c_str(), "-key",
             key_.c_str(), static_cast<char*>(nullptr));
    return 1;
  }

  std::filesystem::path certificate_;
  std::filesystem::path key_;
  std::filesystem::path words_;
  iqdb_test::ChildProcess child_;
  std::string port_;
};

iqdb::S3Config encrypted(const EncryptedServer& server, const std::string& host, const std::string& certificates) {
  return {.endpoint = "https://" + host + ":" + server.port(),
          .bucket = "b",
          .credentials = iqdb::s3_fixed_credentials("a", "s"),
          .certificates = certificates,
          .most_attempts = 1};
}

TEST_CASE("Connection: a server whose certificate is not trusted is refused", "[s3_connection]") {
  const iqdb_test::TemporaryDirectory directory;
  const EncryptedServer server(directory.path());
  iqdb::S3ObjectStore store(encrypted(server, "127.0.0.1", ""));
  CHECK(mentions(require_kind(PersistErrorKind::invalid_config, [&] { return store.get("k"); }), "certificate"));
  CHECK(mentions(require_kind(PersistErrorKind::invalid_config, [&] { return store.put_if_absent("k", {}); }),
                 "nothing was sent"));
}

TEST_CASE("Connection: a server whose certificate is of another host is refused", "[s3_connection]") {
  const iqdb_test::TemporaryDirectory directory;
  const EncryptedServer server(directory.path());
  iqdb::S3ObjectStore store(encrypted(server, "localhost", server.certificate()));
  CHECK(mentions(require_kind(PersistErrorKind::invalid_config, [&] { return store.get("k"); }), "certificate"));
}

TEST_CASE("Connection: a file of certificates says which are trusted", "[s3_connection]") {
  const iqdb_test::TemporaryDirectory directory;
  const EncryptedServer server(directory.path());
  iqdb::S3ObjectStore store(encrypted(server, "127.0.0.1", server.certificate()));
  // It is reached, and is no store of S3.
  const auto error = require_kind(PersistErrorKind::io, [&] { return store.get("k"); });
  CHECK_FALSE(mentions(error, "certificate"));
  iqdb::S3ObjectStore without(encrypted(server, "127.0.0.1", directory / "none.pem"));
  require_kind(PersistErrorKind::invalid_config, [&] { return without.get("k"); });
}

HttpReply reply_to(const ScriptedReply& reply, const std::string& method = "GET", std::size_t most_bytes = 10) {
  const ScriptedServer server([&](const iqdb_test::ReceivedRequest&) { return reply; });
  Connection connection(
      iqdb::S3Config{.endpoint = server.endpoint(), .request_timeout = std::chrono::milliseconds(2000)});
  return connection.send({.method = method, .url = server.endpoint() + "/k", .most_bytes = most_bytes});
}

TEST_CASE("Connection: an answer is whole if its length or its last chunk came", "[s3_connection]") {
  CHECK(reply_to({.bytes = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"}).text() == "abc");
  CHECK(reply_to({.bytes = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"}).text() ==
        "abc");
  CHECK(reply_to({.bytes = "HTTP/1.1 204 No Content\r\n\r\n"}).end == HttpEnd::answered);
  CHECK(reply_to({.bytes = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"}, "HEAD").end == HttpEnd::answered);
  for (const char* bytes :
       {"", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", "HTTP/1.1 204 No Content\r\nETag: x\r\n",
        "HTTP/1.1 200 OK\r\n\r\nabc", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "HTTP/1.1 100 Continue\r\n\r\n"}) {
    INFO(bytes);
    CHECK(reply_to({.bytes = bytes, .then_closes = true}).end == HttpEnd::no_answer);
  }
}

TEST_CASE("Connection: headers of an interim answer and of a trailer count for nothing", "[s3_connection]") {
  const HttpReply reply =
      reply_to({.bytes = "HTTP/1.1 100 Continue\r\nETag: a\r\n\r\nHTTP/1.1 200 OK\r\nX: b\r\nTransfer-Encoding: "
                         "chunked\r\n\r\n1\r\nx\r\n0\r\nETag: c\r\n\r\n"});
  CHECK(reply.end == HttpEnd::answered);
  CHECK(reply.status == 200);
  CHECK_FALSE(reply.header("etag"));
  CHECK(reply.header("x") == "b");
}

TEST_CASE("Connection: bounds the body and the headers of an answer", "[s3_connection]") {
  CHECK(reply_to(iqdb_test::http_reply("200 OK", "", std::string(10, 'x'))).end == HttpEnd::answered);
  CHECK(reply_to(iqdb_test::http_reply("200 OK", "", std::string(11, 'x'))).end == HttpEnd::too_large);
  CHECK(reply_to(iqdb_test::http_reply("404 Not Found", "", std::string(65536, 'x'))).end == HttpEnd::answered);
  CHECK(reply_to(iqdb_test::http_reply("404 Not Found", "", std::string(65537, 'x'))).end == HttpEnd::no_answer);
  std::string many;
  for (int line = 0; line < 1000; ++line) {
    many += "X-" + std::to_string(line) + ": " + std::string(80, 'x') + "\r\n";
  }
  CHECK(reply_to(iqdb_test::http_reply("200 OK", many)).end == HttpEnd::no_answer);
}

TEST_CASE("Connection: is kept, and made again where the server has closed it", "[s3_connection]") {
  bool closes = false;
  const ScriptedServer server([&](const iqdb_test::ReceivedRequest&) {
    ScriptedReply reply = iqdb_test::http_reply("200 OK", "");
    reply.then_closes = closes;
    return reply;
  });
  Connection connection(iqdb::S3Config{.endpoint = server.endpoint()});
  const auto ask = [&] { return connection.send({.method = "GET", .url = server.endpoint() + "/k"}).end; };
  CHECK(ask() == HttpEnd::answered);
  closes = true;
  CHECK(ask() == HttpEnd::answered);
  CHECK(server.connections() == 1);
  closes = false;
  CHECK(ask() == HttpEnd::answered);
  CHECK(server.connections() == 2);
}

}  // namespace of_s3_connection
