#include "snapshots.hpp"

#include <memory>
#include <span>

#include "workload.hpp"

namespace iqdb_benchmarks {

namespace {
std::unique_ptr<Pages> payload;
std::unique_ptr<ScratchDirectory> files;
}  // namespace

const Pages& shared_payload(const Options& options) {
  if (!payload) {
    constexpr std::uint64_t page = 4096;
    const std::uint64_t bytes = (options.vectors * vector_bytes + page - 1) / page * page;
    payload = std::make_unique<Pages>(static_cast<std::size_t>(bytes), Pages::Kind::huge);
    auto* const components = reinterpret_cast<float*>(payload->bytes().data());  // NOLINT(*-reinterpret-cast)
    fill_with_vectors(std::span(components, payload->bytes().size() / sizeof(float)));
  }
  return *payload;
}

const std::filesystem::path& shared_files(const Options& options) {
  if (!files) {
    files = std::make_unique<ScratchDirectory>(options.directory);
  }
  return files->path();
}

void remove_shared() {
  payload.reset();
  files.reset();
}

}  // namespace iqdb_benchmarks
