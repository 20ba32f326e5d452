// The least that any durable save, and any load into memory of its own, must do, as bare system calls: what the others
// are measured against.
#include <fcntl.h>

#include <algorithm>
#include <cstring>
#include <future>
#include <memory>
#include <system_error>
#include <vector>

#include "benchmarks.hpp"
#include "snapshots.hpp"
#include "workload.hpp"

namespace iqdb_benchmarks {

namespace {

constexpr std::size_t mib = std::size_t{1} << 20U;

// What is written in pieces of `block_bytes`, and how it gets to the disk.
enum class WriteKind : std::uint8_t {
  direct,            // past the page cache
  early_write_back,  // through the page cache, which is told to start writing at once
  plain,             // through the page cache, which writes when it is synced
};

// A temporary file, synced, renamed, and its directory synced.
struct RawSave {
  Options options;
  WriteKind kind;
  std::size_t block_bytes;

  void prepare() const { shared_payload(options).touch(); }
  [[nodiscard]] std::uint64_t memory() const { return shared_payload(options).bytes().size(); }

  std::uint64_t operator()(const std::filesystem::path& path) const {
    const std::span<const std::byte> bytes = shared_payload(options).bytes();
    std::filesystem::path temporary = path;
    temporary += ".tmp";
    {
      File file(temporary, O_CREAT | O_EXCL | O_WRONLY | (kind == WriteKind::direct ? O_DIRECT : 0));
      for (std::size_t at = 0; at < bytes.size();) {
        const auto block = bytes.subspan(at, std::min(block_bytes, bytes.size() - at));
        file.write_at(at, block);
        if (kind == WriteKind::early_write_back) {
          file.start_writing_back(at, block.size());
        }
        at += block.size();
      }
      file.sync();
    }
    std::filesystem::rename(temporary, path);
    sync_directory(path.parent_path());
    return bytes.size();
  }
};

const std::filesystem::path& raw_file(const Options& options) {
  static const std::filesystem::path path = [&options] {
    auto made = shared_files(options) / "raw";
    RawSave{.options = options, .kind = WriteKind::plain, .block_bytes = 8 * mib}(made);
    return made;
  }();
  return path;
}

// Reads a file in as many parts of equal size as there are threads, each in pieces.
void read_in_parts(const std::filesystem::path& path, int flags, std::span<std::byte> into, std::size_t threads) {
  const File file(path, O_RDONLY | flags);
  const auto read_part = [&](std::size_t part) {
    // Whole pages, as O_DIRECT needs them.
    const std::size_t pages = into.size() / 4096;
    const std::size_t begin = pages * part / threads * 4096;
    const std::size_t end = pages * (part + 1) / threads * 4096;
    for (std::size_t at = begin; at < end;) {
      const auto piece = into.subspan(at, std::min(4 * mib, end - at));
      file.read_at(at, piece);
      at += piece.size();
    }
  };
  std::vector<std::future<void>> others;
  for (std::size_t part = 1; part < threads; ++part) {
    others.push_back(std::async(std::launch::async, read_part, part));
  }
  read_part(0);
  for (auto& other : others) {
    other.get();
  }
}

// Into fresh memory for which huge pages were asked: the fastest way to have the bytes.
struct RawLoad {
  Options options;
  int flags;
  std::size_t threads;

  [[nodiscard]] const std::filesystem::path& file() const { return raw_file(options); }
  [[nodiscard]] std::uint64_t memory() const { return 2 * shared_payload(options).bytes().size(); }
  std::unique_ptr<Pages> operator()(const std::filesystem::path& path) const {
    auto pages = std::make_unique<Pages>(shared_payload(options).bytes().size(), Pages::Kind::huge);
    read_in_parts(path, flags, pages->bytes(), threads);
    return pages;
  }
  [[nodiscard]] std::uint64_t bytes(const std::unique_ptr<Pages>& loaded) const {
    const std::span<const std::byte> written = shared_payload(options).bytes();
    if (std::memcmp(loaded->bytes().data(), written.data(), written.size()) != 0) {
      throw std::runtime_error("what was read is not what was written");
    }
    return loaded->bytes().size();
  }
};

// Into an ordinary vector: what most loaders do.
struct VectorLoad {
  Options options;

  [[nodiscard]] const std::filesystem::path& file() const { return raw_file(options); }
  [[nodiscard]] std::uint64_t memory() const { return 2 * shared_payload(options).bytes().size(); }
  std::vector<float> operator()(const std::filesystem::path& path) const {
    std::vector<float> components(shared_payload(options).bytes().size() / sizeof(float));
    read_in_parts(path, 0, std::as_writable_bytes(std::span(components)), 1);
    return components;
  }
  [[nodiscard]] static std::uint64_t bytes(const std::vector<float>& loaded) { return loaded.size() * sizeof(float); }
};

}  // namespace

void add_snapshot_anchors(const Options& options) {
  const auto save = [&options](const char* name, WriteKind kind, std::size_t block_bytes) {
    add_save(std::string("none/") + name, options,
             RawSave{.options = options, .kind = kind, .block_bytes = block_bytes});
  };
  save("raw_direct_4MiB", WriteKind::direct, 4 * mib);
  save("raw_direct_8MiB", WriteKind::direct, 8 * mib);
  save("raw_early_write_back", WriteKind::early_write_back, 8 * mib);
  save("raw_write_fsync", WriteKind::plain, 8 * mib);

  for (const std::size_t threads : {1U, 2U}) {
    const std::string suffix = threads == 1 ? "_1_thread" : "_2_threads";
    add_loads("raw_huge_pages" + suffix, RawLoad{.options = options, .flags = 0, .threads = threads});
    add_load("raw_direct" + suffix, Temperature::cold,
             RawLoad{.options = options, .flags = O_DIRECT, .threads = threads});
  }
  add_loads("raw_vector_of_float", VectorLoad{.options = options});
}

}  // namespace iqdb_benchmarks
