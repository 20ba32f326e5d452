// server: a durable vector index behind HTTP, for programs on the same machine.
//
//   server FILE --dim N [--metric euclidean] [--port 8080] [--threads 32]
//   server --storage dir:DIRECTORY/NAME --dim N [--take-over] …                  on an object store, in a directory
//   server --storage s3://BUCKET/PREFIX/NAME [--endpoint URL] [--region R] [--style path|host] --dim N …    or over S3
//   server FILE --follow [--port 8080] …                                         answers searches beside the one that writes
//
//   POST /insert      {"id": 1, "vector": [0.5, 2], "metadata": {"name": "red"}}   409 if the identifier is taken
//   POST /upsert      the same, for an identifier that may be taken
//   POST /erase       {"id": 1}                                                    404 if there is no such vector
//   POST /metadata    {"id": 1, "metadata": {"name": "blue"}}                      in place of what it had; 404 as above
//   POST /get         {"id": 1}                                                    404 as above
//   POST /search      {"vector": [0.5, 2], "k": 10, "radius": 4, "where": {"name": "blue"}}    all but the vector may be left out
//   POST /checkpoint
//   POST /promote     a server that follows becomes the one that writes
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
//
// With --follow the server shows what another one writes into the same index, a moment later, and stores nothing. When that one
// has died, POST /promote. On an object store it need not be dead: from then on it acknowledges nothing. A server that was
// killed is started again with --take-over there. The endpoint and the region of S3 are also those of AWS_ENDPOINT_URL and
// AWS_REGION, and the keys those of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; docs/object-store.md says more.
#include <iqdb/index/flat.hpp>
#include <iqdb/persist/follower.hpp>
#include <iqdb/persist/object_storage.hpp>
#include <iqdb/persist/shared_index.hpp>
#include <iqdb/persist/storage/directory_object_store.hpp>
#include <iqdb/persist/storage/object_address.hpp>
#if SERVER_HAS_S3
#include <iqdb/persist/storage/s3/environment.hpp>
#include <iqdb/persist/storage/s3_object_store.hpp>
#endif

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
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <tuple>
#include <utility>

#include "server/answers.hpp"
#include "server/arguments.hpp"
#include "server/requests.hpp"
#include "server/service.hpp"
#include "server/stats.hpp"

namespace {

using nlohmann::json;
using server::BadRequest;

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

template <class Storage>
void add_endpoints(httplib::Server& http, server::Service<Storage>& service) {
  post(http, "/insert", [&service](const json& request) {
    server::require_known_fields(request, {"id", "vector", "metadata"});
    service.write(
        [&](auto& db) { db.insert(server::id_of(request), server::vector_of(request), server::metadata_of(request)); });
    return json{{"id", request["id"]}};
  });
  post(http, "/upsert", [&service](const json& request) {
    server::require_known_fields(request, {"id", "vector", "metadata"});
    service.write(
        [&](auto& db) { db.upsert(server::id_of(request), server::vector_of(request), server::metadata_of(request)); });
    return json{{"id", request["id"]}};
  });
  post(http, "/erase", [&service](const json& request) {
    server::require_known_fields(request, {"id"});
    service.write([&](auto& db) { db.erase(server::id_of(request)); });
    return json{{"id", request["id"]}};
  });
  post(http, "/metadata", [&service](const json& request) {
    server::require_known_fields(request, {"id", "metadata"});
    std::ignore = server::field(request, "metadata");  // null takes it away; who forgets it would lose what was there
    service.write([&](auto& db) { db.update_metadata(server::id_of(request), server::metadata_of(request)); });
    return json{{"id", request["id"]}};
  });
  post(http, "/get", [&service](const json& request) {
    server::require_known_fields(request, {"id"});
    const iqdb::VectorId id = server::id_of(request);
    return server::json_of(id, service.read([&](const auto& index) { return index.get(id); }));
  });
  post(http, "/search", [&service](const json& request) {
    server::require_known_fields(request, {"vector", "k", "radius", "where"});
    json hits = json::array();
    const std::vector<float> vector = server::vector_of(request);
    const iqdb::SearchParams params = server::params_of(request);
    for (const iqdb::Hit& hit : service.read([&](const auto& index) { return index.search(vector, params); })) {
      hits.push_back(server::json_of(hit));
    }
    return json{{"hits", std::move(hits)}};
  });
  http.Post("/checkpoint", [&service](const httplib::Request&, httplib::Response& response) {
    const iqdb::SnapshotInfo info = service.write([](auto& db) { return db.checkpoint(); });
    server::answer(response, 200, {{"vectors", info.vectors}, {"lsn", info.lsn}, {"bytes", info.file_bytes}});
  });
  http.Post("/promote", [&service](const httplib::Request&, httplib::Response& response) {
    service.promote();
    server::answer(response, 200, service.read([](const auto& index) { return server::stats_as_json(index); }));
  });
  http.Get("/stats", [&service](const httplib::Request&, httplib::Response& response) {
    server::answer(response, 200, service.read([](const auto& index) { return server::stats_as_json(index); }));
  });
  http.Get("/metrics", [&service](const httplib::Request&, httplib::Response& response) {
    response.set_content(service.read([](const auto& index) { return server::stats_for_prometheus(index); }),
                         "text/plain; version=0.0.4");
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
  std::string where;                           // a file, or the name of an index on an object store
  std::optional<iqdb::ObjectAddress> address;  // of the latter
  std::size_t dim;
  iqdb::DistanceMetric metric;
  int port;
  std::size_t threads;
  bool follows;
  bool takes_over;
  std::string endpoint;
  std::string region;
  std::string style;
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
  Options options{.where = arguments.text("--storage", ""),
                  .address = std::nullopt,
                  .dim = arguments.number<std::size_t>("--dim", 0, 1, 65536),
                  .metric = metric_of(arguments.text("--metric", "euclidean")),
                  .port = arguments.number("--port", 8080, 0, 65535),
                  .threads = arguments.number<std::size_t>("--threads", 32, 1, 1024),
                  .follows = arguments.has("--follow"),
                  .takes_over = arguments.has("--take-over"),
                  .endpoint = arguments.text("--endpoint", ""),
                  .region = arguments.text("--region", ""),
                  .style = arguments.text("--style", "")};
  if (arguments.words().size() != (options.where.empty() ? 1 : 0)) {
    throw server::UsageError("the FILE of the index is missing, or there are several, or one beside --storage");
  }
  if (options.where.empty()) {
    options.where = arguments.words().front();
  } else {
    options.address = iqdb::parse_object_address(options.where);
    options.where = options.address->name;
  }
  if (options.dim == 0 && !options.follows) {
    throw server::UsageError("--dim is missing: how many components each vector has");
  }
  if (options.takes_over && (!options.address || options.follows)) {
    throw server::UsageError(options.follows
                                 ? "--take-over is for the server that writes; one that follows is promoted"
                                 : "--take-over is for an object store; the lock of a FILE ends with its server");
  }
  if (!options.style.empty() && options.style != "path" && options.style != "host") {
    throw server::UsageError("--style is '" + options.style + "'; it is path or host");
  }
  return options;
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

// The index, as this server has it.
template <class Storage>
std::unique_ptr<server::Service<Storage>> opened(const Options& options, Storage storage) {
  using Service = server::Service<Storage>;
  constexpr std::chrono::milliseconds pause{
      100};  // between two looks, of which each costs two requests on an object store
  // A server that follows takes over when it is promoted: that it is told so is what allows it.
  const iqdb::PersistConfig config{.path = options.where,
                                   .wal_enabled = true,
                                   .on_event = print,
                                   .take_over = options.address && (options.takes_over || options.follows)};
  if (options.follows) {
    using Follower = typename Service::Follower;
    std::unique_ptr<Follower> follower(new Follower(Follower::load(config, std::move(storage))));
    follower->catch_up_every(pause);
    std::cout << options.where << ": follows; " << follower->size() << " vectors" << std::endl;
    return std::make_unique<Service>(std::move(follower));
  }
  using Database = typename Service::Database;
  std::unique_ptr<Database> db(
      new Database(Database::load_or_create(config, iqdb::FlatIndex(options.dim, options.metric), std::move(storage))));
  std::cout << options.where << ": " << server::what_was_found(*db) << std::endl;
  return std::make_unique<Service>(std::move(db));
}

template <class Storage>
int run(const Options& options, Storage storage) {
  sigset_t ends;
  sigemptyset(&ends);
  for (const int signal : {SIGTERM, SIGINT, SIGUSR1}) {
    sigaddset(&ends, signal);
  }
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);   // before any thread starts, since threads inherit it
  std::ignore = std::signal(SIGXFSZ, SIG_IGN);  // a limit on file sizes is then an error of the write

  const auto service = opened(options, std::move(storage));
  httplib::Server http;
  add_endpoints(http, *service);
  std::cout << "listening on http://127.0.0.1:" << bind(http, options) << std::endl;
  serve(http, ends);

  try {
    service->write([](auto& db) {
      try {
        db.checkpoint();  // so that the next start has nothing to replay
      } catch (const iqdb::PersistError&) {
        // print() has said so. The log holds everything.
      }
      db.close();
    });
  } catch (const server::OnlyFollows&) {
    // It has nothing to store.
  }
  std::cout << "closed" << std::endl;
  return EXIT_SUCCESS;
}

int run_on_s3(const Options& options) {
#if SERVER_HAS_S3
  const auto style = options.style.empty() ? std::nullopt
                                           : std::optional(options.style == "host" ? iqdb::S3AddressStyle::host
                                                                                   : iqdb::S3AddressStyle::path);
  const iqdb::S3ObjectStore store(
      iqdb::s3_config_of_environment(options.address->place, options.address->prefix,
                                     {.endpoint = options.endpoint, .region = options.region, .style = style}));
  return run(options, iqdb::ObjectStorage<iqdb::S3ObjectStore>(store));
#else
  throw server::UsageError("--storage s3://" + options.address->place +
                           ": this server was built without S3, which needs libcurl and libcrypto (on Debian "
                           "libcurl4-openssl-dev and libssl-dev); build it again with them");
#endif
}

int run(const Options& options) {
  if (!options.address) {
    return run(options, iqdb::FileStorage());
  }
  if (options.address->kind == iqdb::ObjectAddress::Kind::s3) {
    return run_on_s3(options);
  }
  return run(options,
             iqdb::ObjectStorage<iqdb::DirectoryObjectStore>(iqdb::DirectoryObjectStore(options.address->place)));
}

}  // namespace

int main(int argc, char** argv) try {
  return run(options_of(server::Arguments(
      argc, argv, {"--storage", "--endpoint", "--region", "--style", "--dim", "--metric", "--port", "--threads"},
      {"--follow", "--take-over"})));
} catch (const server::UsageError& error) {
  std::cerr
      << "server: " << error.what()
      << "\nusage: server FILE --dim N [--metric euclidean] [--port 8080] [--threads 32]\n"
         "       server --storage ADDRESS --dim N [--take-over] [--endpoint URL] [--region R] [--style path|host] …\n"
         "       server FILE --follow …, server --storage ADDRESS --follow …\n"
         "ADDRESS is dir:DIRECTORY/NAME or s3://BUCKET/PREFIX/NAME\n";
  return 2;
} catch (const iqdb::PersistError& error) {
  std::cerr << "server: " << error.what() << " [" << to_string(error.kind()) << "]\n";
  return EXIT_FAILURE;
} catch (const std::exception& error) {
  std::cerr << "server: " << error.what() << '\n';
  return EXIT_FAILURE;
}
