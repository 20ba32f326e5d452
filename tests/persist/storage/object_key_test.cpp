#include "iqdb/persist/storage/object_key.hpp"

#include <string>

#include "iqdb/persist/error.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"

TEST_CASE("require_object_key: takes parts of up to 200 bytes, 1,024 in all", "[object_key]") {
  const std::string part(200, 'a');
  iqdb::require_object_key("a");
  iqdb::require_object_key("index/log/00000000000000000001");
  iqdb::require_object_key("with space/\xC3\xA4/a.b..c-");
  iqdb::require_object_key(part + "/" + part + "/" + part + "/" + part + "/" + part + "/" + std::string(19, 'b'));
}

TEST_CASE("require_object_key: says what is wrong with a key that could lead elsewhere or be no name", "[object_key]") {
  const std::string part(200, 'a');
  const std::string of_1025 = part + "/" + part + "/" + part + "/" + part + "/" + part + "/" + std::string(20, 'b');
  const auto refused = [](const std::string& key) {
    return std::string(
        iqdb_test::require_kind(iqdb::PersistErrorKind::invalid_config, [&] { iqdb::require_object_key(key); }).what());
  };
  CHECK(refused("").find("is empty") != std::string::npos);
  CHECK(refused(of_1025).find("1025 bytes") != std::string::npos);
  CHECK(refused("a/" + part + "a").find("201 bytes") != std::string::npos);
  CHECK(refused("..").find("begins with a dot") != std::string::npos);
  CHECK(refused("a/../../etc/passwd").find("begins with a dot") != std::string::npos);
  CHECK(refused("a/.tmp-1").find("begins with a dot") != std::string::npos);
  CHECK(refused("/a").find("empty part") != std::string::npos);
  CHECK(refused("a/").find("empty part") != std::string::npos);
  CHECK(refused("a//b").find("empty part") != std::string::npos);
  CHECK(refused(std::string("a\0b", 3)).find("control character") != std::string::npos);
  CHECK(refused("a\x7F").find("control character") != std::string::npos);
  CHECK(refused("a\n").find("control character") != std::string::npos);
}
