// A connection to the server, and one thread of the load.
#pragma once

#include <httplib.h>
#include <nlohmann/json.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <map>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "record.hpp"

namespace load {

using Clock = std::chrono::steady_clock;

class ServerGone : public std::runtime_error {
 public:
  ServerGone() : std::runtime_error("the server went away") {}
};

// A connection to the server.
class Connection {
 public:
  explicit Connection(int port) : http_("127.0.0.1", port) {
    http_.set_keep_alive(true);
    http_.set_tcp_nodelay(true);
    http_.set_read_timeout(std::chrono::seconds(60));
  }

  void close() { http_.stop(); }

  json get(const std::string& path) { return body_of(http_.Get(path)); }
  json post(const std::string& path, const json& body) {
    return body_of(http_.Post(path, body.dump(), "application/json"));
  }

 private:
  static json body_of(const httplib::Result& result) {
    if (!result) {
      throw ServerGone();
    }
    if (result->status != 200) {
      throw std::runtime_error(std::to_string(result->status) + " " + result->body);
    }
    return json::parse(result->body);
  }

  httplib::Client http_;
};

// What a thread has done.
struct Work {
  Record record = {};
  std::map<std::string, std::vector<double>> milliseconds = {};  // by path
  std::vector<std::string> refusals = {};
};

// One thread of the load. It has numbers of its own: `first`, `first + stride`, …
class Worker {
 public:
  Worker(int port, std::size_t dim, std::uint64_t first, std::uint64_t stride, std::uint64_t seed)
      : connection_(port), dim_(dim), next_(first), stride_(stride), random_(seed) {}

  // Makes a request. Throws ServerGone.
  void step() {
    const auto dice = random_() % 100;
    if (dice < 25 || (dice < 50 && live_.empty())) {
      request("/search", {{"vector", vector_of(random_(), 1, dim_)}, {"k", 10}});
    } else if (dice < 35) {
      const std::uint64_t number = live_[random_() % live_.size()];
      change("/upsert", number, work_.record[number].acknowledged + 1);
    } else if (dice < 50) {
      std::swap(live_[random_() % live_.size()], live_.back());
      const std::uint64_t number = live_.back();
      live_.pop_back();
      change("/erase", number, gone);
    } else {
      change("/insert", next_, 1);
      live_.push_back(next_);
      next_ += stride_;
    }
  }

  // A connection that stays open without a request keeps a thread of the server from others.
  void hang_up() { connection_.close(); }

  void checkpoint() { request("/checkpoint", json::object()); }

  Work& work() { return work_; }

 private:
  void change(const std::string& path, std::uint64_t number, Version version) {
    json body = {{"id", id_of(number)}};
    if (version != gone) {
      body["vector"] = vector_of(number, version, dim_);
      body["metadata"] = {{"number", number}, {"version", version}};
    }
    Known& known = work_.record[number];
    known.in_doubt = version;  // until it is answered
    if (request(path, body)) {
      known = {.acknowledged = version};
    }
  }

  bool request(const std::string& path, const json& body) {
    const auto begin = Clock::now();
    try {
      connection_.post(path, body);
    } catch (const ServerGone&) {
      throw;
    } catch (const std::exception& refusal) {
      work_.refusals.push_back(path + ": " + refusal.what());
      return false;
    }
    work_.milliseconds[path].push_back(std::chrono::duration<double, std::milli>(Clock::now() - begin).count());
    return true;
  }

  Connection connection_;
  std::size_t dim_;
  std::uint64_t next_;
  std::uint64_t stride_;
  std::mt19937_64 random_;
  std::vector<std::uint64_t> live_;
  Work work_;
};

}  // namespace load
