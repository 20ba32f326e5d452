// The store that the environment names, and a place in it that nobody else has.
#pragma once

#include <chrono>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>

#include "iqdb/persist/storage/s3_object_store.hpp"

namespace with_s3 {

using iqdb::S3Config;
using iqdb::S3ObjectStore;

inline std::string variable(const char* name, const char* unless_set = nullptr) {
  const char* const value = std::getenv(name);
  if (value == nullptr && unless_set == nullptr) {
    throw std::runtime_error("the environment has no " + std::string(name) +
                             "; see the top of tests/ceph/s3_store.cpp");
  }
  return value == nullptr ? unless_set : value;
}

inline S3Config config_of_environment(const std::string& prefix) {
  return {.endpoint = variable("S3_ENDPOINT"),
          .region = variable("S3_REGION", "us-east-1"),
          .bucket = variable("S3_BUCKET"),
          .prefix = prefix,
          .style = variable("S3_STYLE", "path") == "host" ? iqdb::S3AddressStyle::host : iqdb::S3AddressStyle::path,
          .credentials = iqdb::s3_fixed_credentials(variable("S3_ACCESS_KEY"), variable("S3_SECRET_KEY")),
          .request_timeout = std::chrono::milliseconds(20000)};
}

// A prefix that nobody else has, below which nothing is left in the end.
class Place {
 public:
  Place() : prefix_("iqdb-test-" + std::to_string(std::random_device()()) + "/"), store_(config()) {}
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
  ~Place() {
    try {
      for (auto uploads = store_.list_uploads("", {}, 1000); !uploads.empty();
           uploads = store_.list_uploads("", {}, 1000)) {
        for (const iqdb::ObjectUpload& upload : uploads) {
          store_.abort_upload(upload);
        }
      }
      for (auto keys = store_.list("", "", 1000); !keys.empty(); keys = store_.list("", "", 1000)) {
        for (const std::string& key : keys) {
          store_.remove(key);
        }
      }
    } catch (const std::exception& error) {
      std::cerr << "objects are left below " << prefix_ << ": " << error.what() << '\n';
    }
  }

  [[nodiscard]] S3Config config() const { return config_of_environment(prefix_); }
  [[nodiscard]] S3ObjectStore& store() noexcept { return store_; }

 private:
  std::string prefix_;
  S3ObjectStore store_;
};

}  // namespace with_s3
