// The codecs alone, from memory to memory: no save with one of them can be faster than this, or than the disk.
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>

#include "benchmarks.hpp"
#include "snapshots.hpp"
#include "workload.hpp"

#if IQDB_PERSIST_HAS_ZSTD != 0
#include <zstd.h>
#endif
#if IQDB_PERSIST_HAS_LZ4 != 0
#include <lz4.h>
#endif

namespace iqdb_benchmarks {

namespace {

#if IQDB_PERSIST_HAS_ZSTD != 0
struct Zstd {
  static constexpr const char* name = "zstd-3";

  static std::size_t check(std::size_t result) {
    if (ZSTD_isError(result) != 0) {
      throw std::runtime_error(std::string("zstd: ") + ZSTD_getErrorName(result));
    }
    return result;
  }
  static std::size_t bound(std::size_t bytes) { return ZSTD_compressBound(bytes); }
  // With as many threads as a save has by default.
  static std::size_t compress(std::span<const std::byte> from, std::span<std::byte> into) {
    const std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)> context(ZSTD_createCCtx(), &ZSTD_freeCCtx);
    check(ZSTD_CCtx_setParameter(context.get(), ZSTD_c_compressionLevel, 3));
    check(ZSTD_CCtx_setParameter(context.get(), ZSTD_c_nbWorkers,
                                 static_cast<int>(iqdb::PersistConfig{}.helper_threads)));
    return check(ZSTD_compress2(context.get(), into.data(), into.size(), from.data(), from.size()));
  }
  static std::size_t decompress(std::span<const std::byte> from, std::span<std::byte> into) {
    return check(ZSTD_decompress(into.data(), into.size(), from.data(), from.size()));
  }
};
#endif

#if IQDB_PERSIST_HAS_LZ4 != 0
struct Lz4 {
  static constexpr const char* name = "lz4";

  static std::size_t bound(std::size_t bytes) {
    if (bytes > LZ4_MAX_INPUT_SIZE) {
      throw Unsupported("one block of LZ4 cannot hold so much");
    }
    return static_cast<std::size_t>(LZ4_compressBound(static_cast<int>(bytes)));
  }
  static std::size_t compress(std::span<const std::byte> from, std::span<std::byte> into) {
    const int bytes = LZ4_compress_default(characters(from), writable(into), static_cast<int>(from.size()),
                                           static_cast<int>(into.size()));
    if (bytes <= 0) {
      throw std::runtime_error("LZ4_compress_default failed");
    }
    return static_cast<std::size_t>(bytes);
  }
  static std::size_t decompress(std::span<const std::byte> from, std::span<std::byte> into) {
    const int bytes = LZ4_decompress_safe(characters(from), writable(into), static_cast<int>(from.size()),
                                          static_cast<int>(into.size()));
    if (bytes < 0) {
      throw std::runtime_error("LZ4_decompress_safe failed");
    }
    return static_cast<std::size_t>(bytes);
  }

 private:
  static const char* characters(std::span<const std::byte> bytes) {
    return reinterpret_cast<const char*>(bytes.data());  // NOLINT(*-reinterpret-cast)
  }
  static char* writable(std::span<std::byte> bytes) {
    return reinterpret_cast<char*>(bytes.data());  // NOLINT(*-reinterpret-cast)
  }
};
#endif

template <class Codec>
[[maybe_unused]] void add_codec(const Options& options) {
  const std::string codec = Codec::name;
  add_single("snapshot_save/" + codec + "/codec_in_memory", [options](benchmark::State& state) {
    const std::span<const std::byte> payload = shared_payload(options).bytes();
    const Pages block(Codec::bound(payload.size()), Pages::Kind::huge);
    block.touch();
    std::size_t compressed = 0;
    for ([[maybe_unused]] auto _ : state) {
      compressed = timed(state, [&] { return Codec::compress(payload, block.bytes()); });
    }
    state.counters["payload_to_compressed"] = static_cast<double>(payload.size()) / static_cast<double>(compressed);
    state.SetBytesProcessed(static_cast<std::int64_t>(payload.size()));
  });

  add_single("snapshot_load/warm/" + codec + "_codec_in_memory", [options](benchmark::State& state) {
    const std::span<const std::byte> payload = shared_payload(options).bytes();
    const Pages block(Codec::bound(payload.size()), Pages::Kind::huge);
    const std::size_t compressed = Codec::compress(payload, block.bytes());
    const Pages again(payload.size(), Pages::Kind::huge);
    again.touch();
    for ([[maybe_unused]] auto _ : state) {
      timed(state, [&] { return Codec::decompress(block.bytes().first(compressed), again.bytes()); });
    }
    if (std::memcmp(payload.data(), again.bytes().data(), payload.size()) != 0) {
      throw std::runtime_error("what was decompressed is not what was compressed");
    }
    state.SetBytesProcessed(static_cast<std::int64_t>(payload.size()));
  });
}

}  // namespace

void add_codecs([[maybe_unused]] const Options& options) {
#if IQDB_PERSIST_HAS_ZSTD != 0
  add_codec<Zstd>(options);
#endif
#if IQDB_PERSIST_HAS_LZ4 != 0
  add_codec<Lz4>(options);
#endif
}

}  // namespace iqdb_benchmarks
