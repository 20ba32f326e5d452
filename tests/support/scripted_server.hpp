// A server of HTTP on the loopback address that answers by a script: byte by byte, cut off, late, or not at all.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace iqdb_test {

/// A request as it came.
struct ReceivedRequest {
  std::string method;                               ///< "PUT"
  std::string target;                               ///< path and query
  std::map<std::string, std::string> headers = {};  ///< names in lower case
  std::string body = {};
};

/// What the server does about a request.
struct ScriptedReply {
  std::string bytes = {};    ///< sent as they are
  bool then_closes = false;  ///< the connection ends behind them
  bool then_hangs = false;   ///< nothing more happens until the client gives up
};

/// An answer with these lines of headers, each with its line break, and a length that is right.
[[nodiscard]] inline ScriptedReply http_reply(const std::string& status, const std::string& headers,
                                              const std::string& body = {}) {
  return {.bytes = "HTTP/1.1 " + status + "\r\n" + headers + "Content-Length: " + std::to_string(body.size()) +
                   "\r\n\r\n" + body};
}

/// S3's error of this code.
[[nodiscard]] inline ScriptedReply s3_error(const std::string& status, const std::string& code) {
  return http_reply(status, "Content-Type: application/xml\r\nx-amz-request-id: id-of-the-server\r\n",
                    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>" + code +
                        "</Code><Message>&lt;words&gt;</Message><RequestId>id-of-the-server</RequestId></Error>");
}

/// A page as a proxy sends it.
[[nodiscard]] inline ScriptedReply html_page(const std::string& status) {
  return http_reply(status, "Content-Type: text/html; charset=utf-8\r\nETag: \"page\"\r\n",
                    "<html><body>Log in<br></body></html>");
}

/// Listens on a free port of 127.0.0.1 and asks `answer` what to do about each request, one at a time.
class ScriptedServer {
 public:
  using Answer = std::function<ScriptedReply(const ReceivedRequest&)>;

  explicit ScriptedServer(Answer answer) : answer_(std::move(answer)), listening_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    constexpr int waiting = 16;
    if (listening_ == -1 || ::bind(listening_, reinterpret_cast<sockaddr*>(&address), size) == -1 ||
        ::listen(listening_, waiting) == -1 ||
        ::getsockname(listening_, reinterpret_cast<sockaddr*>(&address), &size) == -1) {
      throw std::system_error(errno, std::generic_category(), "cannot listen on the loopback address");
    }
    port_ = ntohs(address.sin_port);
    accepting_ = std::thread([this] { accept_all(); });
  }

  ScriptedServer(const ScriptedServer&) = delete;
  ScriptedServer& operator=(const ScriptedServer&) = delete;

  ~ScriptedServer() {
    ::shutdown(listening_, SHUT_RDWR);
    accepting_.join();
    ::close(listening_);
    for (Peer& each : peers_) {
      ::shutdown(each.socket, SHUT_RDWR);
      each.thread.join();
      ::close(each.socket);
    }
  }

  [[nodiscard]] std::string endpoint() const { return "http://127.0.0.1:" + std::to_string(port_); }

  /// The requests that came, in their order.
  [[nodiscard]] std::vector<ReceivedRequest> requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
  }

  /// How many connections were made.
  [[nodiscard]] std::size_t connections() const {
    const std::lock_guard lock(mutex_);
    return peers_.size();
  }

 private:
  struct Peer {
    int socket;
    std::thread thread = {};
  };

  void accept_all() {
    for (int socket = 0; (socket = ::accept(listening_, nullptr, nullptr)) != -1;) {
      const std::lock_guard lock(mutex_);
      Peer& peer = peers_.emplace_back(Peer{.socket = socket});
      peer.thread = std::thread([this, socket] { serve(socket); });
    }
  }

  void serve(int socket) {
    std::string received;
    for (ReceivedRequest request; receive(socket, received, request); request = {}) {
      ScriptedReply reply;
      {
        const std::lock_guard lock(mutex_);
        requests_.push_back(request);
        reply = answer_(request);
      }
      for (std::size_t sent = 0; sent < reply.bytes.size();) {
        const ssize_t count = ::send(socket, reply.bytes.data() + sent, reply.bytes.size() - sent, MSG_NOSIGNAL);
        if (count <= 0) {
          return;
        }
        sent += static_cast<std::size_t>(count);
      }
      if (reply.then_hangs) {
        std::string ignored;
        while (receive_some(socket, ignored)) {
        }
        return;
      }
      if (reply.then_closes) {
        ::shutdown(socket, SHUT_RDWR);
        return;
      }
    }
  }

  static bool receive_some(int socket, std::string& into) {
    char bytes[4096];  // NOLINT(*-avoid-c-arrays): as recv(2) wants it
    const ssize_t count = ::recv(socket, bytes, sizeof bytes, 0);
    into.append(bytes, count > 0 ? static_cast<std::size_t>(count) : 0);
    return count > 0;
  }

  static bool receive(int socket, std::string& received, ReceivedRequest& request) {
    std::size_t end = 0;
    while ((end = received.find("\r\n\r\n")) == std::string::npos) {
      if (!receive_some(socket, received)) {
        return false;
      }
    }
    const std::string head = received.substr(0, end + 2);
    received.erase(0, end + 4);
    const std::size_t line = head.find("\r\n");
    const std::size_t first = head.find(' ');
    const std::size_t second = head.find(' ', first + 1);
    request.method = head.substr(0, first);
    request.target = head.substr(first + 1, second - first - 1);
    for (std::size_t at = line + 2; at < head.size();) {
      const std::size_t next = head.find("\r\n", at);
      const std::size_t colon = head.find(':', at);
      std::string name = head.substr(at, colon - at);
      std::ranges::transform(name, name.begin(),
                             [](unsigned char each) { return static_cast<char>(std::tolower(each)); });
      request.headers[name] = head.substr(std::min(colon + 2, next), next - std::min(colon + 2, next));
      at = next + 2;
    }
    const auto length = request.headers.find("content-length");
    const std::size_t size = length == request.headers.end() ? 0 : std::stoul(length->second);
    while (received.size() < size) {
      if (!receive_some(socket, received)) {
        return false;
      }
    }
    request.body = received.substr(0, size);
    received.erase(0, size);
    return true;
  }

  Answer answer_;
  int listening_;
  std::uint16_t port_ = 0;
  mutable std::mutex mutex_;
  std::vector<ReceivedRequest> requests_;
  std::list<Peer> peers_;
  std::thread accepting_;
};

}  // namespace iqdb_test
