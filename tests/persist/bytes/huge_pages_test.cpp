#include "iqdb/persist/bytes/huge_pages.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <memory>
#include <new>
#include <span>
#include <sstream>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "iqdb/persist/bytes/stream.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"

namespace {

using iqdb::advise_huge_pages;
using iqdb::huge_page_bytes;
using iqdb::HugePageAllocator;
using iqdb::smallest_huge_allocation;

template <class T>
using HugeVector = std::vector<T, HugePageAllocator<T>>;

static_assert(std::allocator_traits<HugePageAllocator<float>>::is_always_equal::value);
static_assert(std::is_empty_v<HugePageAllocator<float>>);
static_assert(std::is_nothrow_move_constructible_v<HugeVector<float>> &&
              std::is_nothrow_move_assignable_v<HugeVector<float>>);
static_assert(iqdb::DefaultInitialising<HugePageAllocator<float>>);
static_assert(!iqdb::DefaultInitialising<std::allocator<float>>);

bool begins_a_huge_page(const void* memory) { return reinterpret_cast<std::uintptr_t>(memory) % huge_page_bytes == 0; }

// Whether the system has huge pages that can be asked for, and tells for which memory they were.
bool huge_pages_can_be_seen() {
  return std::filesystem::exists("/sys/kernel/mm/transparent_hugepage/enabled") &&
         std::filesystem::exists("/proc/self/smaps");
}

// Whether huge pages were asked for, for the page at `memory`.
bool is_advised(const void* memory) {
  const auto address = reinterpret_cast<std::uintptr_t>(memory);
  std::ifstream maps("/proc/self/smaps");
  bool inside = false;
  for (std::string line; std::getline(maps, line);) {
    std::istringstream words(line);
    std::uintptr_t begin = 0;
    std::uintptr_t end = 0;
    char dash = 0;
    if (words >> std::hex >> begin >> dash >> end && dash == '-') {
      inside = begin <= address && address < end;
    } else if (inside && line.starts_with("VmFlags:")) {
      return (line + ' ').find(" hg ") != std::string::npos;
    }
  }
  return false;
}

// Four huge pages of memory that nothing else lies in and that nobody was asked about.
class FreshPages {
 public:
  static constexpr std::size_t size = 4 * huge_page_bytes;

  FreshPages() {
    // One more, to begin where a page begins.
    memory_ = ::mmap(nullptr, size + huge_page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(memory_ != MAP_FAILED);
    auto* const begin = static_cast<std::byte*>(memory_);
    const auto address = reinterpret_cast<std::uintptr_t>(memory_);
    bytes_ = std::span(begin + (huge_page_bytes - address % huge_page_bytes) % huge_page_bytes, size);
  }
  FreshPages(const FreshPages&) = delete;
  FreshPages& operator=(const FreshPages&) = delete;
  ~FreshPages() { ::munmap(memory_, size + huge_page_bytes); }

  [[nodiscard]] std::span<std::byte> bytes() const { return bytes_; }

  // Which of them are advised, as a text of 0 and 1.
  [[nodiscard]] std::string advised() const {
    std::string pages;
    for (std::size_t at = 0; at < size; at += huge_page_bytes) {
      pages += is_advised(&bytes_[at]) ? '1' : '0';
    }
    return pages;
  }

 private:
  void* memory_ = nullptr;
  std::span<std::byte> bytes_;
};

}  // namespace

TEST_CASE("advise_huge_pages: asks for the huge pages that lie in the memory whole, and no others", "[huge_pages]") {
  if (!huge_pages_can_be_seen()) {
    return;
  }
  const auto advised = [](std::size_t begin, std::size_t end) {
    const FreshPages pages;
    advise_huge_pages(pages.bytes().subspan(begin, end - begin));
    return pages.advised();
  };
  CHECK(advised(0, 4 * huge_page_bytes) == "1111");
  CHECK(advised(1, 4 * huge_page_bytes) == "0111");
  CHECK(advised(0, 4 * huge_page_bytes - 1) == "1110");
  CHECK(advised(huge_page_bytes, 3 * huge_page_bytes) == "0110");
  CHECK(advised(huge_page_bytes - 1, 3 * huge_page_bytes + 1) == "0110");
  CHECK(advised(huge_page_bytes, 2 * huge_page_bytes) == "0100");
  CHECK(advised(huge_page_bytes + 1, 3 * huge_page_bytes - 1) == "0000");
  CHECK(advised(1, huge_page_bytes) == "0000");
  CHECK(advised(0, 0) == "0000");
}

TEST_CASE("advise_huge_pages: takes memory of which there is none", "[huge_pages]") {
  advise_huge_pages({});
  advise_huge_pages({reinterpret_cast<std::byte*>(1), 0});
}

TEST_CASE("advise_huge_pages: leaves what lies in the memory as it is", "[huge_pages]") {
  const FreshPages pages;
  std::ranges::fill(pages.bytes(), std::byte{0x5A});
  advise_huge_pages(pages.bytes());
  CHECK(std::ranges::all_of(pages.bytes(), [](std::byte byte) { return byte == std::byte{0x5A}; }));
}

TEST_CASE("HugePageAllocator: large memory begins at a huge page and is advised", "[huge_pages]") {
  const auto bytes =
      GENERATE(as<std::size_t>{}, smallest_huge_allocation, smallest_huge_allocation + 1, 5 * huge_page_bytes + 77);
  CAPTURE(bytes);
  HugePageAllocator<std::byte> allocator;
  std::byte* const memory = allocator.allocate(bytes);
  CHECK(begins_a_huge_page(memory));
  CHECK((is_advised(memory) || !huge_pages_can_be_seen()));
  std::memset(memory, 1, bytes);
  allocator.deallocate(memory, bytes);
}

TEST_CASE("HugePageAllocator: smaller memory begins anywhere", "[huge_pages]") {
  const auto bytes = GENERATE(as<std::size_t>{}, 1, 1000, huge_page_bytes, smallest_huge_allocation - 1);
  CAPTURE(bytes);
  HugePageAllocator<std::byte> allocator;
  std::vector<std::byte*> blocks(3);
  std::ranges::generate(blocks, [&] { return allocator.allocate(bytes); });
  CHECK_FALSE(std::ranges::all_of(blocks, begins_a_huge_page));
  for (std::byte* const block : blocks) {
    allocator.deallocate(block, bytes);
  }
}

TEST_CASE("HugePageAllocator: asks operator new for no more than it was asked for", "[huge_pages]") {
  const auto count = GENERATE(as<std::size_t>{}, 1, smallest_huge_allocation / sizeof(float) - 1,
                              smallest_huge_allocation / sizeof(float), 3'333'333);
  const auto allocated = iqdb_test::allocated_by([&] {
    HugePageAllocator<float> allocator;
    float* volatile const memory = allocator.allocate(count);  // a compiler may leave out what nobody sees
    allocator.deallocate(memory, count);
  });
  CHECK(allocated.count == 1);
  CHECK(allocated.total == count * sizeof(float));
}

TEST_CASE("HugePageAllocator: memory has the alignment of its type, small or large", "[huge_pages]") {
  struct alignas(256) Aligned {
    std::byte bytes[256];
  };
  const auto count = GENERATE(as<std::size_t>{}, 1, 3, 20'000);
  HugePageAllocator<Aligned> allocator;
  Aligned* const memory = allocator.allocate(count);
  CHECK(reinterpret_cast<std::uintptr_t>(memory) % alignof(Aligned) == 0);
  allocator.deallocate(memory, count);
}

TEST_CASE("HugePageAllocator: what one allocated another one frees", "[huge_pages]") {
  const auto before = iqdb_test::live_allocations();
  for (const std::size_t count : {std::size_t{10}, std::size_t{2'000'000}}) {
    HugePageAllocator<float> one;
    HugePageAllocator<double> of_another_type;
    HugePageAllocator<float> another(of_another_type);
    CHECK(one == another);
    CHECK(one == of_another_type);
    another.deallocate(one.allocate(count), count);
  }
  CHECK(iqdb_test::live_allocations() == before);
}

TEST_CASE("HugePageAllocator: more than memory has addresses for is bad_array_new_length", "[huge_pages]") {
  constexpr std::size_t most = std::numeric_limits<std::size_t>::max();
  HugePageAllocator<double> allocator;
  CHECK_THROWS_AS(allocator.allocate(most), std::bad_array_new_length);
  CHECK_THROWS_AS(allocator.allocate(most / sizeof(double) + 1), std::bad_array_new_length);
  CHECK_THROWS_AS(allocator.allocate(most / sizeof(double) + 2), std::bad_array_new_length);
}

TEST_CASE("HugePageAllocator: memory that there is not is bad_alloc", "[huge_pages]") {
  for (const std::size_t count : {std::size_t{10}, std::size_t{2'000'000}}) {
    CHECK_THROWS_AS(
        iqdb_test::refusing_allocation(1, [&] { static_cast<void>(HugePageAllocator<float>().allocate(count)); }),
        std::bad_alloc);
  }
}

TEST_CASE("HugePageAllocator: resize(n) of a vector leaves the new elements unwritten", "[huge_pages]") {
  HugeVector<std::uint32_t> values;
  values.reserve(1000);
  std::memset(static_cast<void*>(values.data()), 0x77, 1000 * sizeof(std::uint32_t));
  values.resize(1000);
  CHECK(std::ranges::all_of(values, [](std::uint32_t value) { return value == 0x77777777; }));
}

TEST_CASE("HugePageAllocator: a value that is given is written", "[huge_pages]") {
  HugeVector<std::uint32_t> values(500, 7);
  values.reserve(1000);
  std::memset(static_cast<void*>(values.data() + 500), 0x77, 500 * sizeof(std::uint32_t));
  values.resize(999, 8);
  values.push_back(9);
  CHECK(std::ranges::count(values, 7U) == 500);
  CHECK(std::ranges::count(values, 8U) == 499);
  CHECK(values.back() == 9);
}

TEST_CASE("HugePageAllocator: an object with a constructor is made as in any vector", "[huge_pages]") {
  struct Named {
    std::string name;
    int number;  // 0 in a std::vector of Named, whose elements are made by Named()
  };
  HugeVector<Named> objects;
  objects.reserve(100);
  std::memset(static_cast<void*>(objects.data()), 0x77, 100 * sizeof(Named));
  objects.resize(100);
  CHECK(std::ranges::all_of(objects, [](const Named& object) { return object.name.empty() && object.number == 0; }));
}

TEST_CASE("HugePageAllocator: a vector that grows from small to large keeps its elements", "[huge_pages]") {
  const auto before = iqdb_test::live_allocations();
  {
    constexpr std::uint32_t count = 3 * smallest_huge_allocation / sizeof(std::uint32_t);
    HugeVector<std::uint32_t> values;
    for (std::uint32_t value = 0; value < count; ++value) {
      values.push_back(value);
    }
    const HugeVector<std::uint32_t> copy = values;
    const HugeVector<std::uint32_t> moved = std::move(values);
    CHECK(begins_a_huge_page(moved.data()));
    CHECK(std::ranges::adjacent_find(moved, [](auto a, auto b) { return a + 1 != b; }) == moved.end());
    CHECK(moved.size() == count);
    CHECK(copy == moved);
  }
  CHECK(iqdb_test::live_allocations() == before);
}

TEST_CASE("Reader: the memory of a large vector is advised before anything is written to it", "[huge_pages]") {
  if (!huge_pages_can_be_seen()) {
    return;
  }
  // Looks at the memory that it is to fill first.
  struct LookingSource final : iqdb::ByteSource {
    bool advised = false;
    bool asked = false;
    std::size_t read(std::span<std::byte> into) override {
      if (!std::exchange(asked, true)) {
        advised = is_advised(into.data() + huge_page_bytes);  // as the vector may begin anywhere in a page
      }
      std::ranges::fill(into, std::byte{1});
      return into.size();
    }
  };
  constexpr std::uint64_t count = 40 * huge_page_bytes / sizeof(float);  // more than malloc takes of its own
  const auto evidence = GENERATE(iqdb::LengthEvidence::stored, iqdb::LengthEvidence::stated);
  LookingSource plain;
  LookingSource huge;
  iqdb::Reader plain_reader(plain, count * sizeof(float), evidence, 4096);
  iqdb::Reader huge_reader(huge, count * sizeof(float), evidence, 4096);
  CHECK(plain_reader.read_vector<float>(count).size() == count);
  CHECK(huge_reader.read_vector<float, HugePageAllocator<float>>(count).size() == count);
  CHECK(plain.advised);
  CHECK(huge.advised);
}
