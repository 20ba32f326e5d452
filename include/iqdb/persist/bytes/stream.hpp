// Writer and Reader: an index is saved to a Writer and loaded from a Reader.
//
// Invariants: everything is little-endian on every host. The Writer holds one fixed buffer; a larger span goes to the
// sink without a copy. The Reader never returns a byte beyond the payload, checks before it allocates, and allocates
// only in proportion to bytes that really exist.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "iqdb/persist/bytes/byte_stages.hpp"
#include "iqdb/persist/bytes/huge_pages.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// A type with a fixed little-endian form: float, double, or an integer other than bool.
template <class T>
concept LittleEndianValue = (std::integral<T> && !std::same_as<std::remove_cv_t<T>, bool>) ||
                            std::same_as<std::remove_cv_t<T>, float> || std::same_as<std::remove_cv_t<T>, double>;

/// A contiguous range of numbers with a fixed form, such as a vector or an array: std::span can be made from it.
template <class R>
concept LittleEndianArray = requires(R& range) {
  requires LittleEndianValue<typename decltype(std::span(range))::element_type>;
};

/// The bytes of `value` in a file.
template <LittleEndianValue T>
[[nodiscard]] std::array<std::byte, sizeof(T)> to_little_endian(const T& value) noexcept {
  // Never as a number: where floats are computed by an x87, a copy of a signalling NaN is a quiet one, with another bit.
  std::array<std::byte, sizeof(T)> bytes{};
  std::memcpy(bytes.data(), &value, sizeof(T));
  if constexpr (std::endian::native == std::endian::big) {
    std::reverse(bytes.begin(), bytes.end());
  }
  return bytes;
}

/// The value whose bytes in a file are `bytes`. Where functions return floats in a register of an x87 (32-bit x86), the system
/// makes a signalling NaN a quiet one; Reader::read_array keeps all bits.
template <LittleEndianValue T>
[[nodiscard]] T from_little_endian(std::array<std::byte, sizeof(T)> bytes) noexcept {
  if constexpr (std::endian::native == std::endian::big) {
    std::reverse(bytes.begin(), bytes.end());
  }
  return std::bit_cast<T>(bytes);
}

/// An index writes its payload to a Writer, which gathers small writes in a fixed buffer. Used by one thread. Every
/// function that writes throws what the sink throws, e.g. PersistError io on a full disk.
class Writer {
 public:
  /// The size of the buffer where none is given.
  static constexpr std::size_t default_buffer_bytes = std::size_t{64} * 1024;

  /// Writes to `sink`, which must outlive this, through a buffer of `buffer_bytes`, at least 1.
  explicit Writer(ByteSink& sink, std::size_t buffer_bytes = default_buffer_bytes)
      : sink_(&sink),
        buffer_(std::make_unique_for_overwrite<std::byte[]>(buffer_bytes)),  // NOLINT(*-avoid-c-arrays)
        capacity_(buffer_bytes) {}

  /// Writes `bytes` unchanged.
  void write(std::span<const std::byte> bytes) {
    if (bytes.size() > capacity_ - used_) {
      flush();
      if (bytes.size() >= capacity_) {
        sink_->write(bytes);
        flushed_ += bytes.size();
        return;
      }
    }
    if (!bytes.empty()) {
      std::memcpy(buffer_.get() + used_, bytes.data(), bytes.size());
      used_ += bytes.size();
    }
  }

  /// Writes one number, little-endian.
  template <class T>
    requires LittleEndianValue<T>
  void write_le(const T& value) { write(to_little_endian(value)); }

  /// Writes numbers in sequence, each little-endian, without a count before them.
  template <class T>
    requires LittleEndianValue<T>
  void write_array(std::span<const T> values) {
    if constexpr (std::endian::native == std::endian::little) {
      write(std::as_bytes(values));
    } else {
      for (const T& value : values) {
        write_le(value);
      }
    }
  }

  /// The same for any contiguous range: a vector, an array.
  template <LittleEndianArray R>
  void write_array(const R& values) {
    write_array(std::span<const typename decltype(std::span(values))::value_type>(values));
  }

  /// The number of payload bytes written so far.
  [[nodiscard]] std::uint64_t position() const noexcept { return flushed_ + used_; }

  /// Passes the buffered bytes to the sink. The owner of the Writer calls it at the end; save_to need not.
  void flush() {
    if (used_ > 0) {
      sink_->write({buffer_.get(), used_});
      flushed_ += used_;
      used_ = 0;
    }
  }

 private:
  ByteSink* sink_;
  std::unique_ptr<std::byte[]> buffer_;  // NOLINT(*-avoid-c-arrays)
  std::size_t capacity_;
  std::size_t used_ = 0;
  std::uint64_t flushed_ = 0;
};

/// Returns the bytes that `write(writer)` writes, for small pieces. Throws what `write` throws, and std::bad_alloc.
template <class Write>
std::vector<std::byte> bytes_of(Write&& write) {
  MemorySink sink;
  Writer writer(sink);
  std::forward<Write>(write)(writer);
  writer.flush();
  return sink.bytes();
}

/// How far the stated length of a payload can be trusted.
enum class LengthEvidence : std::uint8_t {
  stored,  ///< the bytes exist: the length was compared with the file's
  stated,  ///< a claim: a compressed stream states that it decodes to this length
};

/// An index reads its payload from a Reader. No read goes beyond the end of the payload, whatever the payload says.
/// Used by one thread. Every function that reads also throws what the source throws.
class Reader {
 public:
  /// The size of the buffer where none is given.
  static constexpr std::size_t default_buffer_bytes = std::size_t{64} * 1024;

  /// Reads `bytes`, which must outlive this: for tests of an index's load_from.
  explicit Reader(std::span<const std::byte> bytes) : ahead_(bytes), length_(bytes.size()) {}

  /// Reads `length` bytes from `source`, which must outlive this, through a buffer of `buffer_bytes`, at least 1.
  Reader(ByteSource& source, std::uint64_t length, LengthEvidence evidence,
         std::size_t buffer_bytes = default_buffer_bytes)
      : source_(&source),
        buffer_(std::make_unique_for_overwrite<std::byte[]>(buffer_bytes)),  // NOLINT(*-avoid-c-arrays)
        capacity_(buffer_bytes),
        length_(length),
        evidence_(evidence) {}

  /// Fills `into`. Throws PersistError truncated_payload, having read nothing, if fewer bytes are left.
  void read(std::span<std::byte> into);

  /// Passes over `count` bytes. Throws PersistError truncated_payload, having passed over nothing, if fewer bytes are left.
  void skip(std::uint64_t count);

  /// Reads one number, little-endian. Throws PersistError truncated_payload if fewer bytes are left. For a float whose NaN bits
  /// count, use read_array: see from_little_endian.
  template <class T>
    requires LittleEndianValue<T>
  [[nodiscard]] T read_le() {
    std::array<std::byte, sizeof(T)> bytes{};
    read(bytes);
    return from_little_endian<T>(bytes);
  }

  /// Fills `into` with numbers in sequence. Throws PersistError truncated_payload, having read nothing, if fewer are
  /// left.
  template <class T>
    requires LittleEndianValue<T>
  void read_array(std::span<T> into) {
    read(std::as_writable_bytes(into));
    if constexpr (std::endian::native == std::endian::big) {
      for (T& value : into) {
        std::ranges::reverse(std::as_writable_bytes(std::span(&value, 1)));  // not as a number, which may change a NaN
      }
    }
  }

  /// The same for any contiguous range: a vector, an array.
  template <LittleEndianArray R>
  void read_array(R&& into) {
    read_array(std::span<typename decltype(std::span(into))::value_type>(into));
  }

  /// Reads `count` numbers in sequence into a vector with this allocator; HugePageAllocator<T> suits a large array that
  /// is kept. Throws PersistError truncated_payload, having read and allocated nothing, if fewer are left.
  template <class T, class Allocator = std::allocator<T>>
    requires LittleEndianValue<T>
  [[nodiscard]] std::vector<T, Allocator> read_vector(std::uint64_t count) {
    require_items(count, sizeof(T));
    std::vector<T, Allocator> values;
    while (values.size() < count) {
      make_room(values, count, sizeof(T));
      const auto old_size = values.size();
      auto step = std::min(count - old_size, std::uint64_t{values.capacity() - old_size});
      if constexpr (!DefaultInitialising<Allocator>) {
        // resize() zeroes the piece. It is small, so that it is still in the processor's cache when it is filled, and
        // large enough that a source which splits reads among several threads gains from it.
        constexpr std::uint64_t piece = std::size_t{4} * 1024 * 1024 / sizeof(T);
        step = std::min(step, piece);
      }
      values.resize(old_size + static_cast<std::size_t>(step));
      read_array(std::span<T>(values).subspan(old_size));
    }
    return values;
  }

  /// Reads `length` bytes as a string. Throws PersistError truncated_payload, having read and allocated nothing, if
  /// fewer are left.
  [[nodiscard]] std::string read_string(std::uint64_t length);

  /// Reserves memory in `items` for at least one more item, for decoders that append to a vector in a loop. `items`
  /// will hold `count` items in the end, and each takes at least `bytes_each` in the payload. Reserves memory for all
  /// of them if that many bytes are known to exist, otherwise as much as the bytes decoded so far make credible. Asks
  /// for huge pages if it is much. Throws std::bad_alloc.
  template <class T, class Allocator>
  void make_room(std::vector<T, Allocator>& items, std::uint64_t count, std::uint64_t bytes_each) const {
    if (items.size() == items.capacity() && items.size() < count) {
      const std::uint64_t credible = credible_bytes() / std::max<std::uint64_t>(bytes_each, 1);
      const std::uint64_t more = std::max(credible, std::uint64_t{items.size()} / 2 + 1);
      const std::uint64_t wanted = items.size() + std::min(count - items.size(), more);
      if (wanted > items.max_size()) {
        throw std::bad_alloc();
      }
      items.reserve(static_cast<std::size_t>(wanted));
      if constexpr (!std::same_as<T, bool>) {  // std::vector<bool> is not an array
        if (items.capacity() >= smallest_huge_allocation / sizeof(T)) {
          advise_huge_pages({reinterpret_cast<std::byte*>(items.data()), items.capacity() * sizeof(T)});
        }
      }
    }
  }

  /// Throws PersistError truncated_payload unless at least `bytes` are left.
  void require(std::uint64_t bytes) const {
    if (bytes > remaining()) {
      throw_short(std::to_string(bytes) + " bytes were");
    }
  }

  /// Throws PersistError truncated_payload unless the bytes left suffice for `count` items of `bytes_each` or more.
  /// Decoders call it before they trust a count in a payload.
  void require_items(std::uint64_t count, std::uint64_t bytes_each) const {
    if (bytes_each != 0 && count > remaining() / bytes_each) {
      throw_short(std::to_string(count) + " items of " + std::to_string(bytes_each) + " bytes each were");
    }
  }

  /// The number of payload bytes left.
  [[nodiscard]] std::uint64_t remaining() const noexcept { return length_ - position_; }

  /// The number of payload bytes read so far.
  [[nodiscard]] std::uint64_t position() const noexcept { return position_; }

  /// Throws a PersistError of `kind` that names the position: for decoders that find something wrong.
  [[noreturn]] void fail(PersistErrorKind kind, std::string message) const {
    throw_persist_error(kind, std::move(message), {.path = {}, .code = {}, .offset = position_});
  }

 private:
  std::size_t pull(std::span<std::byte> into);

  // For how many payload bytes memory may be allocated before they are read. The length of a compressed stream is a
  // claim: the bytes decoded so far make 256 times as many credible. So a real payload is moved in memory at most once,
  // while it is small, and a forged one gets address space but no memory.
  [[nodiscard]] std::uint64_t credible_bytes() const noexcept {
    constexpr std::uint64_t unproven = std::uint64_t{4} * 1024 * 1024;
    constexpr std::uint64_t factor = 256;
    if (evidence_ == LengthEvidence::stored || position_ > remaining() / factor) {
      return remaining();
    }
    return std::min(remaining(), std::max(unproven, position_ * factor));
  }

  [[noreturn, gnu::cold, gnu::noinline]] IQDB_PERSIST_INLINE void throw_short(const std::string& wanted) const;

  ByteSource* source_ = nullptr;
  std::unique_ptr<std::byte[]> buffer_;  // NOLINT(*-avoid-c-arrays)
  std::size_t capacity_ = 0;
  std::span<const std::byte> ahead_;  // read from the source, not yet handed out
  std::uint64_t position_ = 0;
  std::uint64_t length_ = 0;
  LengthEvidence evidence_ = LengthEvidence::stored;
};

#if IQDB_PERSIST_DEFINITIONS

IQDB_PERSIST_INLINE void Reader::read(std::span<std::byte> into) {
  require(into.size());
  while (!into.empty()) {
    std::size_t taken = 0;
    if (ahead_.empty() && into.size() >= capacity_) {
      taken = pull(into);
    } else {
      if (ahead_.empty()) {
        const std::span<std::byte> room(buffer_.get(),
                                        static_cast<std::size_t>(std::min<std::uint64_t>(capacity_, remaining())));
        ahead_ = room.first(pull(room));
      }
      taken = std::min(into.size(), ahead_.size());
      std::memcpy(into.data(), ahead_.data(), taken);
      ahead_ = ahead_.subspan(taken);
    }
    position_ += taken;
    into = into.subspan(taken);
  }
}

IQDB_PERSIST_INLINE void Reader::skip(std::uint64_t count) {
  require(count);
  const auto taken = static_cast<std::size_t>(std::min<std::uint64_t>(count, ahead_.size()));
  ahead_ = ahead_.subspan(taken);
  position_ += taken;
  count -= taken;
  while (count > 0) {
    const std::uint64_t skipped = source_->skip(count);
    if (skipped == 0) {
      throw_short("more bytes were");
    }
    position_ += skipped;
    count -= skipped;
  }
}

IQDB_PERSIST_INLINE std::string Reader::read_string(std::uint64_t length) {
  // A string this short may be allocated on a stated length alone.
  constexpr std::uint64_t read_in_place = 4096;
  if (length <= read_in_place) {
    require(length);
    std::string text(static_cast<std::size_t>(length), '\0');
    read(std::as_writable_bytes(std::span(text)));
    return text;
  }
  const std::vector<char> characters = read_vector<char>(length);
  return {characters.begin(), characters.end()};
}

IQDB_PERSIST_INLINE std::size_t Reader::pull(std::span<std::byte> into) {
  const std::size_t count = source_->read(into);
  if (count == 0) {
    throw_short("more bytes were");
  }
  return count;
}

void Reader::throw_short(const std::string& wanted) const {
  fail(PersistErrorKind::truncated_payload, "cannot read on: " + wanted + " expected, but " +
                                                std::to_string(remaining()) + " of " + std::to_string(length_) +
                                                " bytes are left; the data is cut short or was made by something else");
}

#endif  // IQDB_PERSIST_DEFINITIONS

}  // namespace iqdb
