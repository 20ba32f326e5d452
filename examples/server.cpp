// server: a durable vector index behind HTTP, for programs on the same machine.
//
//   server FILE --dim N [--metric euclidean] [--port 8080] [--threads 32]
//
//   POST /insert      {"id": 1, "vector": [0.5, 2], "metadata": {"name": "red"}}   409 if the identifier is taken
//   POST /upsert      the same, for an identifier that may be taken
//   POST /erase       {"id": 1}                                                    404 if there is no such vector
//   POST /metadata    {"id": 1, "metadata": {"name": "blue"}}                      in place of what it had; 404 as above
//   POST /get         {"id": 1}                                                    404 as above
//   POST /search      {"vector": [0.5, 2], "k": 10, "radius": 4, "where": {"name": "blue"}}    all but the vector may be left out
//   POST /checkpoint
//   GET  /stats       as JSON
//   GET  /metrics     the same, as Prometheus reads it
//
// An identifier is an integer from 0 to 2^64-1 or a text: 1 and "1" are two vectors. When a mutation is answered with
// 200 it is on disk. An error is answered with {"error": kind, "message": text}. A mutation that was answered with 503,
// or not at all, may or may not be present: an upsert can be repeated. After other errors it is not.
//
// SIGTERM and SIGINT end the server when the requests under way are answered. A second signal, or SIGKILL, ends it at
// once, and loses nothing that was acknowledged. server_load is a client that shows this. There is no authentication:
// every user of this machine may connect, and nobody else.
#include <iqdb/index/flat.hpp>
#include <iqdb/persist/shared_index.hpp>

#include <httplib.h>
#include <nlohmann/json.hpp>

#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <functional>
#include <iostream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <tuple>
#include <utility>

#include "server/answers.hpp"
#include "server/arguments.hpp"
#include "server/requests.hpp"
#include "server/stats.hpp"

namespace {

using nlohmann::json;
using server::BadRequest;
using server::Database;

constexpr std::size_t most_body_bytes = std::size_t{4} << 20U;

json body_of(const httplib::ContentReader& read, const httplib::Response& response) {
  std::string body;
  std::size_t size = 0;
  const bool whole = read([&](const char* data, std::size_t length) {
    size += length;
    if (size <= most_body_bytes) {
      body.append(data, length);
    }
    return true;  // also what is too much is taken from the connection, behind which the next request stands
  });
  if (size > most_body_bytes || response.status == 413) {
    throw BadRequest("the body is larger than " + std::to_string(most_body_bytes) + " bytes", 413);
  }
  if (!whole) {
    throw BadRequest("the body did not arrive whole");
  }
  return json::parse(body);
}

// Answers POST requests to `path` with what `action` makes of their bodies.
void post(httplib::Server& http, const char* path, std::function<json(const json& request)> action) {
  http.Post(path, [action = std::move(action)](const httplib::Request&, httplib::Response& response,
                                               const httplib::ContentReader& read) {
    server::answer(response, 200, action(body_of(read, response)));
  });
}

void add_endpoints(httplib::Server& http, Database& db) {
  post(http, "/insert", [&db](const json& request) {
    server::require_known_fields(request, {"id", "vector", "metadata"});
    db.insert(server::id_of(request), server::vector_of(request), server::metadata_of(request));
    return json{{"id", request["id"]}};
  });
  post(http, "/upsert", [&db](const json& request) {
    server::require_known_fields(request, {"id", "vector", "metadata"});
    db.upsert(server::id_of(request), server::vector_of(request), server::metadata_of(request));
    return json{{"id", request["id"]}};
  });
  post(http, "/erase", [&db](const json& request) {
    server::require_known_fields(request, {"id"});
    db.erase(server::id_of(request));
    return json{{"id", request["id"]}};
  });
  post(http, "/metadata", [&db](const json& request) {
    server::require_known_fields(request, {"id", "metadata"});
    std::ignore = server::field(request, "metadata");  // null takes it away; who forgets it would lose what was there
    db.update_metadata(server::id_of(request), server::metadata_of(request));
    return json{{"id", request["id"]}};
  });
  post(http, "/get", [&db](const json& request) {
    server::require_known_fields(request, {"id"});
    const iqdb::VectorId id = server::id_of(request);
    return server::json_of(id, db.get(id));
  });
  post(http, "/search", [&db](const json& request) {
    server::require_known_fields(request, {"vector", "k", "radius", "where"});
    json hits = json::array();
    for (const iqdb::Hit& hit : db.search(server::vector_of(request), server::params_of(request))) {
      hits.push_back(server::json_of(hit));
    }
    return json{{"hits", std::move(hits)}};
  });
  http.Post("/checkpoint", [&db](const httplib::Request&, httplib::Response& response) {
    const iqdb::SnapshotInfo info = db.checkpoint();
    server::answer(response, 200, {{"vectors", info.vectors}, {"lsn", info.lsn}, {"bytes", info.file_bytes}});
  });
  http.Get("/stats", [&db](const httplib::Request&, httplib::Response& response) {
    server::answer(response, 200, server::stats_as_json(db));
  });
  http.Get("/metrics", [&db](const httplib::Request&, httplib::Response& response) {
    response.set_content(server::stats_for_prometheus(db), "text/plain; version=0.0.4");
  });

  http.set_exception_handler([](const httplib::Request&, httplib::Response& response, std::exception_ptr thrown) {
    try {
      std::rethrow_exception(std::move(thrown));
    } catch (...) {
      server::answer_with_current_exception(response);
    }
  });
  // What httplib refuses by itself has no body yet.
  http.set_error_handler([](const httplib::Request& request, httplib::Response& response) {
    if (response.body.empty() && response.status == 404) {
      server::answer_with_error(response, 404, "no_such_endpoint",
                                "there is no " + request.method + " " + request.path);
    } else if (response.body.empty()) {
      server::answer_with_error(response, response.status, "bad_request", "this is not a request that can be answered");
    }
  });
}

// ---- Start and end -----------------------------------------------------------------------------------------------------------

struct Options {
  std::filesystem::path file;
  std::size_t dim;
  iqdb::DistanceMetric metric;
  int port;
  std::size_t threads;
};

iqdb::DistanceMetric metric_of(const std::string& name) {
  for (std::uint8_t tag = 0; is_valid(static_cast<iqdb::DistanceMetric>(tag)); ++tag) {
    if (to_string(static_cast<iqdb::DistanceMetric>(tag)) == name) {
      return static_cast<iqdb::DistanceMetric>(tag);
    }
  }
  throw server::UsageError("there is no metric '" + name + "'");
}

Options options_of(const server::Arguments& arguments) {
  if (arguments.words().size() != 1) {
    throw server::UsageError("the FILE of the index is missing, or there are several");
  }
  const auto dim = arguments.number<std::size_t>("--dim", 0, 1, 65536);
  if (dim == 0) {
    throw server::UsageError("--dim is missing: how many components each vector has");
  }
  return {.file = arguments.words().front(),
          .dim = dim,
          .metric = metric_of(arguments.text("--metric", "euclidean")),
          .port = arguments.number("--port", 8080, 0, 65535),
          .threads = arguments.number<std::size_t>("--threads", 32, 1, 1024)};
}

// Binds to 127.0.0.1 and returns the port.
int bind(httplib::Server& http, const Options& options) {
  // httplib by itself also asks for SO_REUSEPORT. Two servers could then have one port, and share what comes in.
  http.set_socket_options([](socket_t socket) {
    const int on = 1;
    std::ignore = ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  });
  http.set_tcp_nodelay(true);
  http.set_keep_alive_max_count(100);  // then those that wait for a thread have their turn
  http.set_keep_alive_timeout(2);      // seconds; an end in order waits so long for idle connections
  http.set_payload_max_length(most_body_bytes);
  // A connection has its thread. Mutations that wait for the disk at the same time share a sync, so many threads help.
  http.new_task_queue = [threads = options.threads] { return new httplib::ThreadPool(threads); };
  const int port = options.port == 0 ? http.bind_to_any_port("127.0.0.1")
                                     : (http.bind_to_port("127.0.0.1", options.port) ? options.port : -1);
  if (port < 0) {
    throw std::system_error(errno, std::generic_category(),
                            "cannot listen on 127.0.0.1:" + std::to_string(options.port));
  }
  return port;
}

// Serves until a signal of `ends` comes. The calling thread waits for the signals, which every thread has blocked: a
// signal handler could call nothing of all this.
void serve(httplib::Server& http, sigset_t ends) {
  std::atomic<bool> listening_ended = false;
  std::thread listener([&] {
    http.listen_after_bind();
    listening_ended = true;
    ::kill(::getpid(), SIGUSR1);  // in case it ended by itself
  });
  int signal = 0;
  sigwait(&ends, &signal);
  // From now on a second signal does what it does to any program.
  sigdelset(&ends, SIGUSR1);
  pthread_sigmask(SIG_UNBLOCK, &ends, nullptr);
  while (!http.is_running() && !listening_ended) {  // a stop that comes before the start would have no effect
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  http.stop();
  listener.join();  // when the last request is answered
  if (signal == SIGUSR1) {
    throw std::runtime_error("the server cannot accept connections any more");
  }
  std::cout << "stopped by " << ::strsignal(signal) << std::endl;
}

// One line, in one piece: several threads may tell something at a time.
void print(const iqdb::Event& event) {
  std::cerr << std::string(to_string(event.kind)).append(": ").append(event.message).append("\n");
}

int run(const Options& options) {
  sigset_t ends;
  sigemptyset(&ends);
  for (const int signal : {SIGTERM, SIGINT, SIGUSR1}) {
    sigaddset(&ends, signal);
  }
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);   // before any thread starts, since threads inherit it
  std::ignore = std::signal(SIGXFSZ, SIG_IGN);  // a limit on file sizes is then an error of the write

  Database db = Database::load_or_create({.path = options.file, .wal_enabled = true, .on_event = print},
                                         iqdb::FlatIndex(options.dim, options.metric));
  std::cout << options.file.string() << ": " << server::what_was_found(db) << std::endl;
  httplib::Server http;
  add_endpoints(http, db);
  std::cout << "listening on http://127.0.0.1:" << bind(http, options) << std::endl;
  serve(http, ends);

  try {
    db.checkpoint();  // so that the next start has nothing to replay
  } catch (const iqdb::PersistError&) {
    // print() has said so. The log holds everything.
  }
  db.close();
  std::cout << "closed" << std::endl;
  return EXIT_SUCCESS;
}

}  // namespace

int main(int argc, char** argv) try {
  return run(options_of(server::Arguments(argc, argv, {"--dim", "--metric", "--port", "--threads"})));
} catch (const server::UsageError& error) {
  std::cerr << "server: " << error.what()
            << "\nusage: server FILE --dim N [--metric euclidean] [--port 8080] [--threads 32]\n";
  return 2;
} catch (const iqdb::PersistError& error) {
  std::cerr << "server: " << error.what() << " [" << to_string(error.kind()) << "]\n";
  return EXIT_FAILURE;
} catch (const std::exception& error) {
  std::cerr << "server: " << error.what() << '\n';
  return EXIT_FAILURE;
}
