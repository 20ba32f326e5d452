#include "iqdb/persist/storage/object_address.hpp"

#include <string>

#include "iqdb/persist/error.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"

namespace of_object_address {

using iqdb::ObjectAddress;
using iqdb::parse_object_address;

ObjectAddress in_bucket(const std::string& bucket, const std::string& prefix, const std::string& name) {
  return {.kind = ObjectAddress::Kind::s3, .place = bucket, .prefix = prefix, .name = name};
}

ObjectAddress in_directory(const std::string& path, const std::string& name) {
  return {.kind = ObjectAddress::Kind::directory, .place = path, .prefix = "", .name = name};
}

TEST_CASE("parse_object_address: the name of an index begins behind the last slash", "[object_address]") {
  CHECK(parse_object_address("s3://bucket/name") == in_bucket("bucket", "", "name"));
  CHECK(parse_object_address("s3://bucket/a/b/name") == in_bucket("bucket", "a/b/", "name"));
  CHECK(parse_object_address("dir:objects/name") == in_directory("objects", "name"));
  CHECK(parse_object_address("dir:/var/objects/name") == in_directory("/var/objects", "name"));
}

TEST_CASE("parse_object_address: a name with slashes begins behind a double one", "[object_address]") {
  CHECK(parse_object_address("s3://bucket//shop/name") == in_bucket("bucket", "", "shop/name"));
  CHECK(parse_object_address("s3://bucket/a//shop/name") == in_bucket("bucket", "a/", "shop/name"));
  CHECK(parse_object_address("dir:objects//shop/name") == in_directory("objects", "shop/name"));
}

TEST_CASE("parse_object_address: the working directory and the root can be stores, too", "[object_address]") {
  CHECK(parse_object_address("dir:name") == in_directory(".", "name"));
  CHECK(parse_object_address("dir:/name") == in_directory("/", "name"));
}

TEST_CASE("parse_object_address: what is no address is refused, with how to write one", "[object_address]") {
  const auto refused = [](const std::string& text) {
    const auto error = iqdb_test::require_kind(iqdb::PersistErrorKind::invalid_config,
                                               [&] { static_cast<void>(parse_object_address(text)); });
    CHECK(iqdb_test::mentions(error, "s3://BUCKET/PREFIX/NAME"));
    return std::string(error.what());
  };
  CHECK(refused("name").find("neither s3:// nor dir:") != std::string::npos);
  CHECK(refused("s3://").find("no bucket") != std::string::npos);
  CHECK(refused("s3:///name").find("no bucket") != std::string::npos);
  CHECK(refused("s3://bucket").find("no index") != std::string::npos);
  CHECK(refused("s3://bucket/").find("is empty") != std::string::npos);
  CHECK(refused("dir:").find("is empty") != std::string::npos);
  CHECK(refused("dir:objects/").find("is empty") != std::string::npos);
  CHECK(refused("dir:objects/..").find("begins with a dot") != std::string::npos);
  CHECK(refused("dir://objects/name").find("no slashes follow") != std::string::npos);
}

TEST_CASE("is_object_address: a path of a file is none", "[object_address]") {
  CHECK(iqdb::is_object_address("s3://"));
  CHECK(iqdb::is_object_address("dir:"));
  CHECK_FALSE(iqdb::is_object_address("./dir:x"));
  CHECK_FALSE(iqdb::is_object_address("vectors.iqdb"));
  CHECK_FALSE(iqdb::is_object_address(""));
}

}  // namespace of_object_address
