// The calls of Windows on files. What a system that runs Windows programs (wine 8) does not do as Windows does is asked for where
// it matters: whether a file that is open can be replaced.
#include <algorithm>
#include <array>
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "iqdb/persist/storage/file_system.hpp"
#include "iqdb/persist/storage/system_codes.hpp"
#include "iqdb/persist/storage/windows_file_system.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/temporary_directory.hpp"

namespace {

using iqdb::OpenMode;
using iqdb::WindowsFileSystem;
using iqdb_test::TemporaryDirectory;
using Handle = WindowsFileSystem::Handle;
namespace stdfs = std::filesystem;

std::vector<std::byte> bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

// An open file or directory that closes itself.
class Opened {
 public:
  explicit Opened(iqdb::SystemResult<Handle> opened) : handle_(opened.value) {
    INFO(opened.error.message());
    REQUIRE(!opened.error);
  }
  Opened(const stdfs::path& path, OpenMode mode) : Opened(WindowsFileSystem().open(path, mode, 0)) {}
  Opened(const Opened&) = delete;
  Opened& operator=(const Opened&) = delete;
  ~Opened() { close(); }

  void close() {
    if (handle_ != nullptr) {
      WindowsFileSystem().close(std::exchange(handle_, nullptr));
    }
  }
  [[nodiscard]] Handle get() const { return handle_; }

 private:
  Handle handle_;
};

std::string text_in(Handle file) {
  std::array<char, 64> text{};
  const auto [count, error] = WindowsFileSystem().read_at(file, 0, std::as_writable_bytes(std::span(text)));
  INFO(error.message());
  REQUIRE(!error);
  return {text.data(), count};
}

std::wstring full_name(const stdfs::path& path) { return iqdb::windows_names::full(path).value; }

// Whether this system replaces a file that somebody has open, as Windows 10 does on NTFS.
bool replaces_open_files() {
  const TemporaryDirectory directory;
  iqdb_test::write_bytes(directory / "from", bytes_of("new"));
  iqdb_test::write_bytes(directory / "to", bytes_of("old"));
  const Opened reader(directory / "to", OpenMode::read);
  const DWORD code = iqdb::windows_changes::rename_as_posix(full_name(directory / "from"), full_name(directory / "to"));
  REQUIRE((code == ERROR_SUCCESS || iqdb::windows_changes::means_unknown(code)));
  return code == ERROR_SUCCESS;
}

}  // namespace

TEST_CASE("a file of Windows is made once, and written and read at any place", "[windows]") {
  const TemporaryDirectory directory;
  WindowsFileSystem fs;
  const stdfs::path path = directory / "file";
  const Opened file(path, OpenMode::create_new);
  CHECK(fs.open(path, OpenMode::create_new, 0).error == std::errc::file_exists);

  CHECK(fs.write_at(file.get(), 0, bytes_of("0123456789")).value == 10);
  CHECK(fs.write_at(file.get(), 4, bytes_of("xy")).value == 2);
  CHECK(text_in(file.get()) == "0123xy6789");
  std::array<std::byte, 4> behind_the_end{};
  const auto end = fs.read_at(file.get(), 10, behind_the_end);
  CHECK(!end.error);
  CHECK(end.value == 0);
  CHECK(!fs.truncate(file.get(), 3));
  CHECK(fs.status(file.get()).value.size == 3);
  CHECK(text_in(file.get()) == "012");
}

TEST_CASE("a file of Windows can be synced by a handle that only reads", "[windows]") {
  const TemporaryDirectory directory;
  WindowsFileSystem fs;
  iqdb_test::write_bytes(directory / "file", bytes_of("some"));
  const Opened reader(directory / "file", OpenMode::read);
  CHECK(!fs.sync(reader.get()));
  CHECK(!fs.sync_data(reader.get()));
  const Opened writer(directory / "file", OpenMode::write);
  CHECK(!fs.sync(writer.get()));
}

TEST_CASE("a directory of Windows is synced, or says that it cannot be", "[windows]") {
  const TemporaryDirectory directory;
  WindowsFileSystem fs;
  const Opened opened(directory.path(), OpenMode::directory);
  const std::error_code error = fs.sync(opened.get());
  CHECK((!error || error == std::errc::not_supported));
}

TEST_CASE("a directory of Windows keeps its name while it is open", "[windows]") {
  const TemporaryDirectory directory;
  stdfs::create_directory(directory / "one");
  {
    const Opened opened(directory / "one", OpenMode::directory);
    std::error_code error;
    stdfs::rename(directory / "one", directory / "other", error);
    CHECK(error);
  }
  stdfs::rename(directory / "one", directory / "other");
  CHECK(stdfs::exists(directory / "other"));
}

TEST_CASE("what is missing, or of another kind, is answered on Windows as on POSIX", "[windows]") {
  const TemporaryDirectory directory;
  WindowsFileSystem fs;
  iqdb_test::write_bytes(directory / "file", bytes_of("some"));
  CHECK(fs.open(directory / "absent", OpenMode::read, 0).error == std::errc::no_such_file_or_directory);
  CHECK(fs.open(directory / "absent" / "file", OpenMode::read, 0).error == std::errc::no_such_file_or_directory);
  CHECK(fs.open(directory / "file", OpenMode::directory, 0).error == std::errc::not_a_directory);
  CHECK(fs.status(directory / "absent").error == std::errc::no_such_file_or_directory);
  CHECK(fs.make_directory(directory.path(), 0) == std::errc::file_exists);

  const Opened folder(directory.path(), OpenMode::directory);
  CHECK(fs.status(folder.get()).value.directory);
  CHECK_FALSE(fs.status(folder.get()).value.regular);
  CHECK(fs.status(folder.get(), "file").value.regular);
  CHECK(fs.remove(folder.get(), "absent") == std::errc::no_such_file_or_directory);
  CHECK(fs.rename(folder.get(), "absent", "file") == std::errc::no_such_file_or_directory);
  CHECK(fs.set_direct(folder.get(), false) == std::error_code());
  stdfs::create_directory(directory / "folder");
  CHECK(fs.remove(folder.get(), "folder") == std::errc::is_a_directory);
  CHECK(stdfs::exists(directory / "folder"));
}

TEST_CASE("a code of Windows by which the library decides is that of POSIX", "[windows]") {
  const auto condition = [](DWORD code) { return iqdb::windows_calls::error_of(code); };
  CHECK(condition(ERROR_SUCCESS) == std::error_code());
  CHECK(condition(ERROR_PATH_NOT_FOUND) == std::errc::no_such_file_or_directory);
  CHECK(condition(ERROR_ALREADY_EXISTS) == std::errc::file_exists);
  CHECK(condition(ERROR_LOCK_VIOLATION) == std::errc::operation_would_block);
  CHECK(condition(ERROR_HANDLE_DISK_FULL) == std::errc::no_space_on_device);
  CHECK(condition(ERROR_INVALID_PARAMETER) == std::errc::invalid_argument);
  CHECK(condition(ERROR_NOT_SAME_DEVICE) == std::errc::cross_device_link);
  CHECK(condition(ERROR_CRC).category() == std::system_category());
  CHECK(condition(ERROR_CRC).value() == ERROR_CRC);
}

TEST_CASE("a rename on Windows replaces a file", "[windows]") {
  const TemporaryDirectory directory;
  WindowsFileSystem fs;
  iqdb_test::write_bytes(directory / "from", bytes_of("new"));
  iqdb_test::write_bytes(directory / "to", bytes_of("old"));
  const Opened folder(directory.path(), OpenMode::directory);
  const Opened renamed(fs.open(folder.get(), "from", OpenMode::read, 0));
  CHECK(!fs.rename(folder.get(), "from", "to"));
  CHECK(iqdb_test::read_bytes(directory / "to") == bytes_of("new"));
  CHECK_FALSE(stdfs::exists(directory / "from"));
  CHECK(text_in(renamed.get()) == "new");
}

TEST_CASE("a rename on Windows replaces a file that this process has open", "[windows]") {
  const TemporaryDirectory directory;
  WindowsFileSystem fs;
  iqdb_test::write_bytes(directory / "from", bytes_of("new"));
  iqdb_test::write_bytes(directory / "to", bytes_of("old"));
  const Opened folder(directory.path(), OpenMode::directory);
  const Opened reader(directory / "to", OpenMode::read);
  const Opened writer(directory / "to", OpenMode::write);
  CHECK(!fs.rename(folder.get(), "from", "to"));
  CHECK(iqdb_test::read_bytes(directory / "to") == bytes_of("new"));

  if (replaces_open_files()) {
    CHECK(text_in(reader.get()) == "old");
  } else {
    // Nothing of it reaches the new file.
    std::array<std::byte, 8> some{};
    CHECK(fs.read_at(reader.get(), 0, some).error.value() == iqdb::system_codes::stale);
    CHECK(fs.status(reader.get()).error.value() == iqdb::system_codes::stale);
    CHECK(fs.write_at(writer.get(), 0, bytes_of("lost")).error.value() == iqdb::system_codes::stale);
    CHECK(fs.truncate(writer.get(), 0).value() == iqdb::system_codes::stale);
    CHECK(fs.sync(writer.get()).value() == iqdb::system_codes::stale);
    CHECK(fs.set_direct(writer.get(), true).value() == iqdb::system_codes::stale);
    CHECK(iqdb_test::read_bytes(directory / "to") == bytes_of("new"));
  }
}

TEST_CASE("files that lose their handles for a rename get them back if it fails", "[windows]") {
  const TemporaryDirectory directory;
  WindowsFileSystem fs;
  iqdb_test::write_bytes(directory / "former", bytes_of("old"));
  iqdb_test::write_bytes(directory / "other", bytes_of("other"));
  const Opened reader(directory / "former", OpenMode::read);
  stdfs::rename(directory / "former", directory / "file");
  const Opened writer(directory / "file", OpenMode::write);
  const Opened stranger(directory / "other", OpenMode::read);
  const iqdb::FileIdentity identity = fs.status(reader.get()).value.identity;

  DWORD seen = ERROR_SUCCESS;
  const DWORD answer = iqdb::WindowsOpenFiles::without_handles_to(identity, full_name(directory / "file"), [&] {
    // Nobody has it open now, so somebody may have it alone.
    const HANDLE alone = ::CreateFileW((directory / "file").c_str(), GENERIC_READ | GENERIC_WRITE, 0, nullptr,
                                       OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, nullptr);
    seen = alone == INVALID_HANDLE_VALUE ? ::GetLastError() : DWORD{ERROR_SUCCESS};
    ::CloseHandle(alone);
    return DWORD{ERROR_DISK_FULL};
  });
  CHECK(answer == ERROR_DISK_FULL);
  CHECK(seen == ERROR_SUCCESS);
  CHECK(text_in(reader.get()) == "old");
  CHECK(fs.write_at(writer.get(), 0, bytes_of("new")).value == 3);
  CHECK(text_in(reader.get()) == "new");
  CHECK(text_in(stranger.get()) == "other");
}

TEST_CASE("a file that lost its handles for a rename is not opened again under another file's name", "[windows]") {
  const TemporaryDirectory directory;
  WindowsFileSystem fs;
  iqdb_test::write_bytes(directory / "file", bytes_of("old"));
  const Opened reader(directory / "file", OpenMode::read);
  const iqdb::FileIdentity identity = fs.status(reader.get()).value.identity;
  iqdb::WindowsOpenFiles::without_handles_to(identity, full_name(directory / "file"), [&] {
    stdfs::rename(directory / "file", directory / "aside");
    iqdb_test::write_bytes(directory / "file", bytes_of("of another one"));
    return DWORD{ERROR_DISK_FULL};
  });
  CHECK(fs.status(reader.get()).error.value() == iqdb::system_codes::stale);
}

TEST_CASE("what another program has open for a moment is waited for on Windows", "[windows]") {
  const TemporaryDirectory directory;
  WindowsFileSystem fs;
  iqdb_test::write_bytes(directory / "file", bytes_of("some"));
  const HANDLE alone = ::CreateFileW((directory / "file").c_str(), GENERIC_READ, 0, nullptr, OPEN_EXISTING,
                                     FILE_ATTRIBUTE_NORMAL, nullptr);
  REQUIRE(alone != INVALID_HANDLE_VALUE);
  std::thread other([alone] {
    ::Sleep(300);
    ::CloseHandle(alone);
  });
  const auto opened = fs.open(directory / "file", OpenMode::read, 0);
  other.join();
  REQUIRE(!opened.error);
  fs.close(opened.value);
}

TEST_CASE("a second name on Windows is the same file", "[windows]") {
  const TemporaryDirectory directory;
  WindowsFileSystem fs;
  iqdb_test::write_bytes(directory / "file", bytes_of("some"));
  iqdb_test::write_bytes(directory / "taken", bytes_of("other"));
  const Opened folder(directory.path(), OpenMode::directory);
  CHECK(!fs.link(folder.get(), "file", "second"));
  CHECK(fs.status(folder.get(), "file").value.identity == fs.status(folder.get(), "second").value.identity);
  CHECK(fs.status(folder.get(), "file").value.identity != fs.status(folder.get(), "taken").value.identity);
  CHECK(fs.link(folder.get(), "file", "taken") == std::errc::file_exists);

  const Opened opened(directory / "file", OpenMode::read);
  CHECK(!fs.link_open(opened.get(), folder.get(), "third"));
  CHECK(iqdb_test::read_bytes(directory / "third") == bytes_of("some"));
  stdfs::rename(directory / "file", directory / "elsewhere");
  iqdb_test::write_bytes(directory / "file", bytes_of("of another one"));
  CHECK(fs.link_open(opened.get(), folder.get(), "fourth") == std::errc::no_such_file_or_directory);
}

TEST_CASE("a name is removed on Windows, also of a file that somebody has open", "[windows]") {
  const TemporaryDirectory directory;
  WindowsFileSystem fs;
  iqdb_test::write_bytes(directory / "file", bytes_of("some"));
  const Opened folder(directory.path(), OpenMode::directory);
  {
    const Opened reader(directory / "file", OpenMode::read);
    CHECK(!fs.remove(folder.get(), "file"));
    CHECK(text_in(reader.get()) == "some");
  }
  CHECK(fs.status(folder.get(), "file").error == std::errc::no_such_file_or_directory);
}

TEST_CASE("a lock on Windows keeps out other handles until it is released", "[windows]") {
  const TemporaryDirectory directory;
  WindowsFileSystem fs;
  const Opened folder(directory.path(), OpenMode::directory);
  iqdb_test::write_bytes(directory / "x.lock", bytes_of("some"));
  const auto lock = fs.lock(folder.get(), "x.lock");
  REQUIRE(!lock.error);
  CHECK(fs.lock(folder.get(), "x.lock").error == std::errc::operation_would_block);
  const auto other = fs.lock(folder.get(), "y.lock");
  CHECK(!other.error);
  fs.unlock(other.value);
  // Who only reads it is not kept out.
  CHECK(iqdb_test::read_bytes(directory / "x.lock") == bytes_of("some"));
  fs.unlock(lock.value);
  const auto again = fs.lock(folder.get(), "x.lock");
  CHECK(!again.error);
  fs.unlock(again.value);
}

TEST_CASE("writes past the cache of Windows are seen by reads through it", "[windows]") {
  const TemporaryDirectory directory;
  WindowsFileSystem fs;
  const Opened file(directory / "file", OpenMode::create_new);
  CHECK(fs.write_at(file.get(), 0, bytes_of("buffered")).value == 8);
  CHECK(!fs.set_direct(file.get(), true));
  alignas(4096) static std::array<std::byte, 8192> block{};
  block.fill(std::byte{7});
  CHECK(fs.write_at(file.get(), 0, block).value == block.size());
  std::array<std::byte, 8192> read{};
  CHECK(fs.read_at(file.get(), 0, read).value == read.size());
  CHECK(std::ranges::equal(read, block));
  CHECK(!fs.set_direct(file.get(), false));
  CHECK(fs.write_at(file.get(), 1, bytes_of("again")).value == 5);
  CHECK(!fs.sync(file.get()));
  CHECK(fs.status(file.get()).value.size == block.size());
}

TEST_CASE("a directory of Windows lists its names", "[windows]") {
  const TemporaryDirectory directory;
  WindowsFileSystem fs;
  iqdb_test::write_bytes(directory / "one", {});
  iqdb_test::write_bytes(directory / L"zw\u00F6lf", {});
  const Opened folder(directory.path(), OpenMode::directory);
  auto [names, error] = fs.names(folder.get());
  CHECK(!error);
  std::erase_if(names, [](const stdfs::path& name) { return name == "." || name == ".."; });
  std::ranges::sort(names);
  CHECK(names == std::vector<stdfs::path>{"one", L"zw\u00F6lf"});
  CHECK(fs.name_limit(folder.get()).value == 255);
}

TEST_CASE("a name of Windows is made absolute, and loses its prefix for users", "[windows]") {
  using iqdb::windows_names::full;
  using iqdb::windows_names::plain;
  CHECK(full("C:/a/../b/./c").value == LR"(\\?\C:\b\c)");
  CHECK(full(LR"(\\server\share\file)").value == LR"(\\?\UNC\server\share\file)");
  CHECK(full(LR"(\\?\C:\a)").value == LR"(\\?\C:\a)");
  CHECK(plain(LR"(\\?\C:\b)") == LR"(C:\b)");
  CHECK(plain(LR"(\\?\UNC\server\share)") == LR"(\\server\share)");
  CHECK(plain(LR"(\\?\Volume{1}\a)") == LR"(\\?\Volume{1}\a)");

  const TemporaryDirectory directory;
  WindowsFileSystem fs;
  stdfs::create_directory(directory / "folder");
  const auto resolved = fs.resolve(directory / "folder" / ".." / "folder" / "absent").value;
  CHECK(resolved.filename() == "absent");
  CHECK_FALSE(resolved.native().starts_with(LR"(\\?\)"));
  CHECK(stdfs::equivalent(resolved.parent_path(), directory / "folder"));
}

TEST_CASE("a part of a file of Windows is no file for an index", "[windows]") {
  const TemporaryDirectory directory;
  WindowsFileSystem fs;
  const Opened folder(directory.path(), OpenMode::directory);
  const stdfs::path stream = directory.path().native() + LR"(\x:y)";
  CHECK(fs.open(stream, OpenMode::create_new, 0).error.value() == ERROR_INVALID_NAME);
  CHECK(fs.open(folder.get(), "x:y", OpenMode::create_new, 0).error.value() == ERROR_INVALID_NAME);
  CHECK(fs.open(folder.get(), R"(a\b)", OpenMode::create_new, 0).error.value() == ERROR_INVALID_NAME);
  CHECK(fs.resolve(stream).error.value() == ERROR_INVALID_NAME);
  CHECK(stdfs::is_empty(directory.path()));
}

TEST_CASE("numbers of Windows that nobody can predict differ", "[windows]") {
  WindowsFileSystem fs;
  CHECK(fs.random().value != fs.random().value);
  CHECK(!fs.random().error);
}
