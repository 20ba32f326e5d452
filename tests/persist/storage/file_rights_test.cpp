// The rights of a new file: those of the one that it replaces, or less, and never a failure for them.
#include "iqdb/persist/storage/file_rights.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <span>
#include <vector>

#include "iqdb/persist.hpp"
#include "support/catch.hpp"
#include "support/durable.hpp"
#include "support/expect_error.hpp"
#include "support/faulty_file_system.hpp"
#include "support/temporary_directory.hpp"

namespace {

namespace fs = std::filesystem;
using iqdb_test::FaultyFileSystem;
using iqdb_test::FaultyStorage;
using iqdb_test::FileCall;
using iqdb_test::TemporaryDirectory;
using FaultyDb = iqdb::PersistedIndex<iqdb::FlatIndex, FaultyStorage>;
using AclBytes = std::vector<std::byte>;

unsigned permissions_of(const fs::path& path) {
  struct ::stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  return status.st_mode & 07777U;
}

// An access control list as Linux stores it: version 2, then entries of tag, rights and id.
class Acl {
 public:
  Acl() { number(2, 4); }
  Acl& entry(unsigned tag, unsigned rights, std::uint32_t id = 0xFFFFFFFF) {
    number(tag, 2);
    number(rights, 2);
    number(id, 4);
    return *this;
  }
  [[nodiscard]] const AclBytes& bytes() const { return bytes_; }

  static constexpr unsigned user = 1;
  static constexpr unsigned named_user = 2;
  static constexpr unsigned group = 4;
  static constexpr unsigned mask = 16;
  static constexpr unsigned others = 32;

 private:
  void number(std::uint32_t value, unsigned count) {
    for (unsigned each = 0; each < count; ++each) {
      bytes_.push_back(static_cast<std::byte>(value >> (8U * each)));
    }
  }
  AclBytes bytes_;
};

// The owner may read and write, user 4711 may read, the group nothing: the mode says 0640.
AclBytes private_but_for_one() {
  return Acl()
      .entry(Acl::user, 6)
      .entry(Acl::named_user, 4, 4711)
      .entry(Acl::group, 0)
      .entry(Acl::mask, 4)
      .entry(Acl::others, 0)
      .bytes();
}

AclBytes acl_of(const fs::path& path) {
  const auto [list, error] = iqdb::PosixFileSystem().acl(AT_FDCWD, path);
  REQUIRE_FALSE(error);
  return list;
}

// False where the file system has no lists.
bool set_acl(const fs::path& path, const AclBytes& list) {
  iqdb::PosixFileSystem system;
  const auto [handle, error] = system.open(path, iqdb::OpenMode::write, 0);
  REQUIRE_FALSE(error);
  const std::error_code refused = system.set_acl(handle, list);
  system.close(handle);
  return !refused;
}

// A saved index in a directory of its own, and the file system on which it is saved again.
struct Saved {
  explicit Saved(unsigned permissions) : path(directory / "index.iqdb") {
    FaultyDb::open_with(iqdb_test::index_of({1}), {.path = path, .wal_enabled = true}, FaultyStorage(system)).close();
    fs::permissions(path, fs::perms(permissions));
  }

  void checkpoint() { FaultyDb::load({.path = path, .wal_enabled = true}, FaultyStorage(system)).checkpoint(); }
  [[nodiscard]] fs::path log() const { return path.string() + ".wal"; }

  TemporaryDirectory directory;
  fs::path path;
  FaultyFileSystem system;
};

}  // namespace

TEST_CASE("Rights without the group are those that the group and all others had", "[file_rights]") {
  using iqdb::file_rights::without_group;
  CHECK(without_group(0644) == 0644);
  CHECK(without_group(0640) == 0600);
  CHECK(without_group(0664) == 0644);
  CHECK(without_group(0604) == 0600);  // members of the old group had none, and are others now
  CHECK(without_group(0777) == 0777);
  CHECK(without_group(0654) == 0644);
}

TEST_CASE("A file is created with no right that it may not keep", "[file_rights]") {
  using iqdb::file_rights::at_first;
  CHECK(at_first({.status = {.permissions = 0640}, .acl = {}}) == 0600);
  CHECK(at_first({.status = {.permissions = 06755}, .acl = {}}) == 0755);
  CHECK(at_first({.status = {.permissions = 0644}, .acl = AclBytes(4)}) == 0600);
  CHECK(at_first({.status = {.permissions = 0644}, .acl = {}, .acl_known = false}) == 0600);
}

TEST_CASE("A file system that refuses permissions costs rights and no load", "[file_rights]") {
  const int answer = GENERATE(EPERM, ENOTSUP, ENOSYS, EOPNOTSUPP);
  Saved saved(0660);
  saved.system.plan(iqdb_test::fail_every(FileCall::set_permissions, answer));
  CHECK_NOTHROW(saved.checkpoint());
  CHECK(permissions_of(saved.path) == 0600);
  CHECK(permissions_of(saved.log()) == 0600);
  CHECK_NOTHROW(saved.checkpoint());
}

TEST_CASE("A failure to set permissions that is no refusal is an error", "[file_rights]") {
  Saved saved(0640);
  saved.system.plan(iqdb_test::fail_every(FileCall::set_permissions, EIO));
  CHECK(iqdb_test::require_kind(iqdb::PersistErrorKind::io, [&] { saved.checkpoint(); }).code().value() == EIO);
}

TEST_CASE("An access control list is kept by the snapshot and given to the log", "[file_rights][acl]") {
  Saved saved(0640);
  if (!set_acl(saved.path, private_but_for_one())) {
    WARN("this file system has no access control lists");
    return;
  }
  saved.checkpoint();
  CHECK(acl_of(saved.path) == private_but_for_one());
  CHECK(acl_of(saved.log()) == private_but_for_one());
  CHECK(permissions_of(saved.path) == 0640);
}

TEST_CASE("A list that cannot be kept leaves the owner alone with the file", "[file_rights][acl]") {
  const FileCall failing = GENERATE(FileCall::set_acl, FileCall::acl);
  Saved saved(0640);
  if (!set_acl(saved.path, private_but_for_one())) {
    WARN("this file system has no access control lists");
    return;
  }
  saved.system.plan(iqdb_test::fail_every(failing, failing == FileCall::acl ? EACCES : ENOTSUP));
  saved.checkpoint();
  saved.system.plan({});
  CHECK(permissions_of(saved.path) == 0600);
  CHECK(permissions_of(saved.log()) == 0600);
  CHECK(acl_of(saved.path).empty());
}

TEST_CASE("A list that the directory gives to new files is not given to a file that had none", "[file_rights][acl]") {
  Saved saved(0640);
  // As setfacl --default does, by another attribute.
  const AclBytes list = private_but_for_one();
  if (::setxattr(saved.directory.path().c_str(), "system.posix_acl_default", list.data(), list.size(), 0) != 0) {
    WARN("this file system has no access control lists");
    return;
  }
  saved.checkpoint();
  CHECK(acl_of(saved.path).empty());
  CHECK(permissions_of(saved.path) == 0640);
}

TEST_CASE("Rights of a group that is lost are not kept for another group", "[file_rights]") {
  Saved saved(0664);
  saved.system.plan([](const iqdb_test::CallRecord& call) {
    const bool refused = call.call == FileCall::set_owner || call.call == FileCall::set_group;
    return iqdb_test::Fault{.error = iqdb_test::system_error(refused ? EPERM : 0)};
  });
  saved.checkpoint();
  saved.system.plan({});
  CHECK(permissions_of(saved.path) == 0644);
  CHECK(permissions_of(saved.log()) == 0644);
}

TEST_CASE("A list whose group is lost is not kept for another group", "[file_rights][acl]") {
  Saved saved(0640);
  if (!set_acl(saved.path, private_but_for_one())) {
    WARN("this file system has no access control lists");
    return;
  }
  saved.system.plan([](const iqdb_test::CallRecord& call) {
    const bool refused = call.call == FileCall::set_owner || call.call == FileCall::set_group;
    return iqdb_test::Fault{.error = iqdb_test::system_error(refused ? EPERM : 0)};
  });
  saved.checkpoint();
  saved.system.plan({});
  CHECK(acl_of(saved.path).empty());
  CHECK(permissions_of(saved.path) == 0600);
}
