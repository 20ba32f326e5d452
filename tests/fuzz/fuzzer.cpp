// The entry points of libFuzzer, for the target that the program was built for.
#include <sanitizer/allocator_interface.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "fuzz/fuzz_target.hpp"
#include "fuzz/heap_meter.hpp"

// What libFuzzer calls, and what it offers a mutator.
// NOLINTBEGIN(readability-identifier-naming)
extern "C" {
int LLVMFuzzerInitialize(int* argc, char*** argv);
int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t most, unsigned seed);
std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t most);
}
// NOLINTEND(readability-identifier-naming)

namespace {

const iqdb_fuzz::FuzzTarget& target() {
  static const iqdb_fuzz::FuzzTarget& found = iqdb_fuzz::fuzz_target(FUZZ_TARGET);
  return found;
}

constexpr std::size_t large_block = std::size_t{1024} * 1024;

// How many bytes of a block have ever been written, in whole pages.
std::size_t bytes_written(std::byte* begin, std::size_t bytes) {
  constexpr std::size_t page_bytes = 4096;
  std::array<unsigned char, 256> resident{};
  // A large block does not begin on a page, behind what the sanitizer keeps of it.
  const std::size_t to_page = (page_bytes - reinterpret_cast<std::uintptr_t>(begin) % page_bytes) % page_bytes;
  std::size_t written = 0;
  for (std::size_t at = to_page; at + page_bytes <= bytes;) {
    const std::size_t pages = std::min(resident.size(), (bytes - at) / page_bytes);
    if (::mincore(begin + at, pages * page_bytes, resident.data()) != 0) {
      return bytes;
    }
    written += page_bytes * static_cast<std::size_t>(
                                std::count_if(resident.begin(), resident.begin() + static_cast<std::ptrdiff_t>(pages),
                                              [](unsigned char page) { return (page & 1U) != 0; }));
    at += pages * page_bytes;
  }
  return written;
}

void count_taken(const volatile void* /*block*/, std::size_t bytes) {
  if (bytes < large_block) {
    iqdb_fuzz::HeapMeter::took(bytes);
  }
}

void count_given(const volatile void* block) {
  if (block == nullptr) {
    return;
  }
  // NOLINTNEXTLINE(*-const-cast): what a hook is given, and what the functions take, differ in nothing else.
  auto* const given = const_cast<std::byte*>(static_cast<const volatile std::byte*>(block));
  const std::size_t bytes = __sanitizer_get_allocated_size(given);
  if (bytes < large_block) {
    iqdb_fuzz::HeapMeter::gave(bytes);
  } else {
    iqdb_fuzz::HeapMeter::gave_large(bytes_written(given, bytes));
  }
}

}  // namespace

int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
  return __sanitizer_install_malloc_and_free_hooks(&count_taken, &count_given) > 0 ? 0 : 1;
}

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  target().examine(std::as_bytes(std::span(data, size)));
  return 0;
}

std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t most, unsigned seed) {
  iqdb_fuzz::Random random(seed);
  const auto original = std::as_bytes(std::span(data, size));
  iqdb_fuzz::Bytes input(original.begin(), original.end());
  const bool reshaped = random.one_in(2);
  if (reshaped) {
    target().reshape(input, random);
  }
  if (!reshaped || random.one_in(4)) {
    const std::size_t used = std::min(input.size(), most);
    input.resize(most);
    input.resize(LLVMFuzzerMutate(reinterpret_cast<std::uint8_t*>(input.data()), used, most));
  }
  if (!random.one_in(16)) {
    target().repair(input, random);
  }
  input.resize(std::min(input.size(), most));
  std::ranges::copy(input, std::as_writable_bytes(std::span(data, most)).begin());
  return input.size();
}
