// Sources and sinks that behave in the ways real ones may, and watch how they are used.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "iqdb/persist/bytes/stream.hpp"

namespace iqdb_test {

/// Gives bytes that lie in memory, at most `most` at a time.
class MemorySource final : public iqdb::ByteSource {
 public:
  explicit MemorySource(std::span<const std::byte> bytes, std::size_t most = ~std::size_t{0})
      : left_(bytes), most_(most) {}

  std::size_t read(std::span<std::byte> into) override {
    asked_for_none_ = asked_for_none_ || into.empty();
    const std::size_t count = std::min({into.size(), left_.size(), most_});
    std::ranges::copy(left_.first(count), into.begin());
    left_ = left_.subspan(count);
    return count;
  }

  /// How many bytes were not read yet.
  [[nodiscard]] std::size_t left() const noexcept { return left_.size(); }

  /// Whether it was once asked to fill no bytes, which the contract of ByteSource rules out.
  [[nodiscard]] bool asked_for_none() const noexcept { return asked_for_none_; }

 private:
  std::span<const std::byte> left_;
  std::size_t most_;
  bool asked_for_none_ = false;
};

/// Gives `total` bytes, all of them zero, from no memory.
class ZeroSource final : public iqdb::ByteSource {
 public:
  explicit ZeroSource(std::uint64_t total) : left_(total) {}

  std::size_t read(std::span<std::byte> into) override {
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), left_));
    std::ranges::fill(into.first(count), std::byte{0});
    left_ -= count;
    return count;
  }

 private:
  std::uint64_t left_;
};

/// Keeps what is written, and each call's span as it was given.
class WatchedSink final : public iqdb::ByteSink {
 public:
  void write(std::span<const std::byte> bytes) override {
    calls_.push_back(bytes);
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }

  /// The spans that were written; what they point to may have changed since.
  [[nodiscard]] const std::vector<std::span<const std::byte>>& calls() const noexcept { return calls_; }

  [[nodiscard]] const std::vector<std::byte>& bytes() const noexcept { return bytes_; }

 private:
  std::vector<std::span<const std::byte>> calls_;
  std::vector<std::byte> bytes_;
};

/// The bytes that `write(writer)` writes.
template <class Write>
[[nodiscard]] std::vector<std::byte> written_by(Write&& write) {
  iqdb::MemorySink sink;
  iqdb::Writer writer(sink);
  write(writer);
  writer.flush();
  return sink.bytes();
}

}  // namespace iqdb_test
