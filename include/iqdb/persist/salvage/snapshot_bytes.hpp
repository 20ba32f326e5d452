// Takes what can be taken of a damaged snapshot that is in memory.
//
// The checksum covers the region, and the header repeats what the payload says of itself. So one flipped bit can be
// corrected wherever it is. A header that is lost is made again if the log names the snapshot's checksum.
//
// Invariant: a region is called right only if its checksum is, after at most one bit of the file was corrected, or if the
// log names it.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "iqdb/persist/bytes/checksum.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/codec/codec.hpp"
#include "iqdb/persist/codec/compression.hpp"
#include "iqdb/persist/codec/compression_scheme.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/salvage/flipped_bit.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace salvage {

namespace snapshot_bytes {

// A source that is in memory.
class SpanSource final : public ByteSource {
 public:
  explicit SpanSource(std::span<const std::byte> bytes) : bytes_(bytes) {}

  std::size_t read(std::span<std::byte> into) override {
    const auto piece = bytes_.first(std::min(bytes_.size(), into.size()));
    std::ranges::copy(piece, into.begin());
    bytes_ = bytes_.subspan(piece.size());
    return piece.size();
  }

 private:
  std::span<const std::byte> bytes_;
};

inline constexpr CodingResources resources{.buffer_bytes = std::size_t{64} * 1024, .helper_threads = 0};

// The preamble of a region, and the data behind it.
inline std::pair<RegionPreamble, std::span<const std::byte>> divided(std::span<const std::byte> region,
                                                                     std::uint32_t version) {
  if (version == 1) {
    return {{.scheme = CompressionScheme::none, .payload_bytes = region.size()}, region};
  }
  Reader reader(region);
  const RegionPreamble preamble = read_preamble(reader);
  return {preamble, region.subspan(static_cast<std::size_t>(reader.position()))};
}

}  // namespace snapshot_bytes

/// A snapshot in memory, corrected where that can be done.
class SnapshotBytes {
 public:
  /// `named` are the snapshots that the log names, `types` the types of indexes that are looked for. Throws
  /// std::bad_alloc.
  SnapshotBytes(std::vector<std::byte> bytes, std::span<const Fingerprint> named,
                std::span<const std::string_view> types)
      : bytes_(std::move(bytes)),
        head_(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(
                                                   bytes_.size(), header_bytes(longest_index_type)))),
        named_(named.begin(), named.end()),
        types_(types.begin(), types.end()) {
    correct();
  }

  /// The header, as it was read, corrected or made again; nothing if there is none.
  [[nodiscard]] const std::optional<FileHeader>& header() const noexcept { return header_; }

  /// Whether the checksum says that the region is what was written.
  [[nodiscard]] bool is_region_right() const noexcept { return right_; }

  /// Whether the header was lost, and made again.
  [[nodiscard]] bool is_header_rebuilt() const noexcept { return rebuilt_; }

  /// The bits that were corrected.
  [[nodiscard]] const std::vector<BitPosition>& corrections() const noexcept { return corrections_; }

  /// The region. Precondition: there is a header.
  [[nodiscard]] std::span<const std::byte> region() const noexcept { return region_of(*header_); }

  /// What the log would know the snapshot by. Precondition: there is a header.
  [[nodiscard]] Fingerprint known_as() const { return fingerprint(*header_, bytes_.size()); }

  /// Makes the index, if the region is right. Then also corrects what the header says of it. Returns nothing if it cannot
  /// be made; `why` then says why. Throws std::bad_alloc.
  template <Persistable I>
  [[nodiscard]] std::optional<I> decoded(std::string& why) {
    if (!header_ || !right_ || header_->index_type != PersistTraits<I>::index_type) {
      return std::nullopt;
    }
    try {
      const auto [preamble, data] = snapshot_bytes::divided(region(), header_->version);
      snapshot_bytes::SpanSource source(data);
      const auto decoder = make_decoder(preamble, source, data.size(), snapshot_bytes::resources);
      Reader reader(*decoder, preamble.payload_bytes, decoder->evidence());
      std::optional<I> index(PersistTraits<I>::load_from(reader));
      decoder->finish();
      if (reader.remaining() > 0) {
        why = "the index left bytes of its payload unread";
        return std::nullopt;
      }
      header_->dim = persisted_dim(*index);
      header_->metric = persisted_metric(*index);
      header_->vectors = persisted_size(*index);
      note_header_changes();
      return index;
    } catch (const std::bad_alloc&) {
      throw;
    } catch (const std::exception& error) {
      if (version_is_doubtful_) {
        version_is_doubtful_ = false;
        header_->version = 1;
        return decoded<I>(why);
      }
      why = error.what();
      return std::nullopt;
    }
  }

  /// Decodes as much of the payload as can be decoded. Nothing vouches for it. Throws std::bad_alloc.
  [[nodiscard]] std::vector<std::byte> payload_prefix() const {
    std::vector<std::byte> payload;
    try {
      const auto [preamble, data] = snapshot_bytes::divided(region(), header_->version);
      if (preamble.scheme == CompressionScheme::none) {
        return {data.begin(), data.end()};
      }
      snapshot_bytes::SpanSource source(data);
      const auto decoder = make_decoder(preamble, source, data.size(), snapshot_bytes::resources);
      constexpr std::uint64_t most_factor = 4096;
      const std::uint64_t most = std::min<std::uint64_t>(preamble.payload_bytes, most_factor * data.size());
      std::array<std::byte, 1024> piece{};
      while (payload.size() < most) {
        const std::size_t count = decoder->read(piece);
        if (count == 0) {
          break;
        }
        payload.insert(payload.end(), piece.begin(), piece.begin() + static_cast<std::ptrdiff_t>(count));
      }
    } catch (const PersistError&) {
      // It is damaged here: what was decoded is what there is.
    }
    return payload;
  }

  /// How the payload is compressed, as far as it says so.
  [[nodiscard]] std::optional<CompressionScheme> scheme() const {
    try {
      return header_ ? std::optional(snapshot_bytes::divided(region(), header_->version).first.scheme) : std::nullopt;
    } catch (const PersistError&) {
      return std::nullopt;
    }
  }

 private:
  void correct() {
    header_ = header_in(bytes_);
    right_ =
        is_right() || (header_ ? checksum_corrected() : header_corrected()) || header_rebuilt() || region_corrected();
  }

  [[nodiscard]] std::optional<FileHeader> header_in(std::span<const std::byte> bytes) const {
    try {
      Reader reader(bytes.first(std::min<std::size_t>(bytes.size(), header_bytes(longest_index_type))));
      FileHeader header = read_header(reader);
      return std::ranges::find(types_, header.index_type) != types_.end() ? std::optional(std::move(header))
                                                                          : std::nullopt;
    } catch (const PersistError&) {
      return std::nullopt;
    }
  }

  [[nodiscard]] std::span<const std::byte> region_of(const FileHeader& header) const noexcept {
    return std::span<const std::byte>(bytes_).subspan(static_cast<std::size_t>(header_bytes(header.index_type.size())));
  }

  // The checksum of everything from an offset on; each is computed once.
  [[nodiscard]] std::uint32_t checksum_from(std::uint64_t offset) {
    const auto known = checksums_.find(offset);
    if (known != checksums_.end()) {
      return known->second;
    }
    const std::uint32_t value =
        Crc32(std::span<const std::byte>(bytes_).subspan(static_cast<std::size_t>(offset))).value();
    checksums_.emplace(offset, value);
    return value;
  }

  [[nodiscard]] bool is_right(const FileHeader& header) {
    return checksum_from(header_bytes(header.index_type.size())) == header.crc32;
  }
  [[nodiscard]] bool is_right() { return header_ && is_right(*header_); }

  // One bit of the stored checksum is wrong. No flipped bit of the region would look the same.
  [[nodiscard]] bool checksum_corrected() {
    const std::uint64_t begin = header_bytes(header_->index_type.size());
    const auto bit = flipped_bit_of_checksum(checksum_from(begin) ^ header_->crc32);
    if (!bit) {
      return false;
    }
    const BitPosition at{.offset = begin - sizeof(std::uint32_t) + bit->offset, .bit = bit->bit};
    flip(bytes_, at);
    header_->crc32 = checksum_from(begin);
    corrections_.push_back(at);
    return true;
  }

  // One bit of the header is wrong, and the region proves it.
  [[nodiscard]] bool header_corrected() {
    std::size_t longest = 0;
    for (const std::string_view type : types_) {
      longest = std::max(longest, type.size());
    }
    const std::size_t most = std::min<std::size_t>(bytes_.size(), static_cast<std::size_t>(header_bytes(longest)));
    for (std::uint64_t bit = 0; bit < 8 * most; ++bit) {
      const BitPosition at{.offset = bit / 8, .bit = static_cast<unsigned>(bit % 8)};
      flip(bytes_, at);
      std::optional<FileHeader> header = header_in(bytes_);
      if (header && at.offset < header_bytes(header->index_type.size()) && is_right(*header)) {
        header_ = std::move(header);
        constexpr std::uint64_t version_begin = snapshot_magic.size();
        if (at.offset >= version_begin && at.offset < version_begin + sizeof(std::uint32_t)) {
          flip(bytes_, at);
          doubt_version();
        } else {
          corrections_.push_back(at);
        }
        return true;
      }
      flip(bytes_, at);
    }
    return false;
  }

  // The log says which checksum the region has.
  [[nodiscard]] bool header_rebuilt() {
    for (const Fingerprint& each : named_) {
      for (const std::string_view type : types_) {
        const std::uint64_t region = header_bytes(type.size());
        if (each.file_bytes == bytes_.size() && region < bytes_.size() && checksum_from(region) == each.region_crc32) {
          header_ = FileHeader{.version = snapshot_version,
                               .index_type = std::string(type),
                               .dim = 0,
                               .metric = {},
                               .vectors = 0,
                               .crc32 = each.region_crc32};
          rebuilt_ = true;
          doubt_version();
          return true;
        }
      }
    }
    return false;
  }

  // Only the contents say which version it is: decoded() tries both.
  void doubt_version() noexcept {
    header_->version = snapshot_version;
    version_is_doubtful_ = true;
  }

  // One bit of the region is wrong.
  [[nodiscard]] bool region_corrected() {
    if (!header_) {
      return false;
    }
    const std::uint64_t begin = header_bytes(header_->index_type.size());
    const auto bit = flipped_bit(checksum_from(begin) ^ header_->crc32, bytes_.size() - begin);
    if (!bit) {
      return false;
    }
    const BitPosition at{.offset = begin + bit->offset, .bit = bit->bit};
    flip(bytes_, at);
    corrections_.push_back(at);
    checksums_.clear();
    return true;
  }

  // The contents are right, and have the last word.
  void note_header_changes() {
    const std::vector<std::byte> right = bytes_of([&](Writer& writer) { write_header(writer, *header_); });
    std::erase_if(corrections_, [&](const BitPosition& each) { return each.offset < right.size(); });
    for (std::size_t offset = 0; offset < right.size() && !rebuilt_; ++offset) {
      const auto change = std::to_integer<unsigned>(right[offset] ^ head_[offset]);
      for (unsigned bit = 0; bit < 8; ++bit) {
        if ((change >> bit & 1U) != 0) {
          corrections_.push_back({.offset = offset, .bit = bit});
        }
      }
    }
    std::ranges::copy(right, bytes_.begin());
  }

  std::vector<std::byte> bytes_;
  std::vector<std::byte> head_;  // the first bytes as they were given, no fewer than a header has
  std::vector<Fingerprint> named_;
  std::vector<std::string_view> types_;
  std::map<std::uint64_t, std::uint32_t> checksums_;  // of everything from an offset on
  std::optional<FileHeader> header_;
  std::vector<BitPosition> corrections_;
  bool rebuilt_ = false;
  bool version_is_doubtful_ = false;
  bool right_ = false;
};

}  // namespace salvage

}  // namespace iqdb
