// check_decoder: what a decoder makes of a damaged payload. In a file a checksum protects the decoder; here it is
// taken away.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <new>
#include <optional>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "iqdb/index.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/testing/conformance_options.hpp"
#include "iqdb/persist/testing/observation.hpp"
#include "iqdb/persist/testing/random.hpp"
#include "iqdb/persist/testing/random_mutations.hpp"
#include "iqdb/persist/testing/round_trip_check.hpp"
#include "iqdb/persist/testing/subject.hpp"
#include "iqdb/persist/testing/violation.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace testing {

namespace conformance {

// Counts the bytes it receives, and refuses more than a payload may have.
class BoundedSink final : public ByteSink {
 public:
  struct Full {};

  explicit BoundedSink(std::uint64_t most) : left_(most) {}

  void write(std::span<const std::byte> bytes) override {
    if (bytes.size() > left_) {
      throw Full{};
    }
    left_ -= bytes.size();
  }

 private:
  std::uint64_t left_;
};

// Feeds damaged payloads to the decoder.
template <Persistable I>
class DamagedPayloads {
 public:
  DamagedPayloads(const Subject<I>& subject, std::string payload, History& history, ConformanceReport& report)
      : subject_(&subject), payload_(std::move(payload)), history_(&history), report_(&report) {}

  // A truncated payload states more than it holds.
  void check_truncations(Random& random) {
    for (const std::size_t length : places(random)) {
      history_->begin_instead("load_from, of the first " + std::to_string(length) + " of the payload's " +
                              std::to_string(payload_.size()) + " bytes");
      std::string cut = payload_.substr(0, length);
      cut.shrink_to_fit();  // so that a sanitizer sees reads beyond the end
      if (const auto loaded = decode(cut)) {
        violated("load_from makes an index of a payload that is cut off: one of " +
                     std::to_string(persisted_size(*loaded)) + " vectors",
                 *history_, "a payload describes itself: one that is cut off is refused",
                 "does load_from swallow the exception (truncated_payload) that the Reader throws at the end, or read "
                 "until nothing is left? Write how many there are, and let exceptions pass");
      }
    }
  }

  // A lengthened payload holds more than it states.
  void check_additions() {
    for (const std::size_t more : {std::size_t{1}, std::size_t{8}}) {
      history_->begin_instead("load_from, of the payload's " + std::to_string(payload_.size()) + " bytes and " +
                              std::to_string(more) + " more");
      if (decode(payload_ + std::string(more, '\0'))) {
        violated("load_from reads " + std::to_string(more) + " bytes more than save_to has written, and makes an index",
                 *history_, "load_from reads what save_to has written, exactly; what is left over is refused",
                 "does load_from read until nothing is left? Write how many there are, and read so many");
      }
    }
  }

  void check_flips(Random& random) {
    std::vector<std::size_t> bytes = places(random);
    // The highest bits come first. The fields that a decoder trusts are lengths: an enormous length fails at once,
    // while one that is merely large takes all memory.
    std::ranges::reverse(bytes);
    for (const std::size_t at : bytes) {
      if (is_sampled(at)) {
        flip(at, static_cast<unsigned>(random.below(8)));
        continue;
      }
      for (unsigned bit = 8; bit-- > 0;) {
        flip(at, bit);
      }
    }
  }

  // What a type that trusts nothing is given while the checksum is still being computed: numbers overwritten with
  // extreme ones, and the beginning of one payload with the end of another.
  void check_overwrites(Random& random, const std::string& other) {
    constexpr std::array<std::uint64_t, 6> extremes = {0,
                                                       1,
                                                       std::uint64_t{1} << 31U,
                                                       std::uint64_t{1} << 32U,
                                                       std::uint64_t{1} << 62U,
                                                       std::numeric_limits<std::uint64_t>::max()};
    for (const std::size_t at : places(random)) {
      std::string damaged = payload_;
      std::uint64_t number = random.one_in(4) ? random.next() : extremes[random.below(extremes.size())];
      for (std::size_t byte = at; byte < std::min(at + sizeof number, damaged.size()); ++byte) {
        damaged[byte] = static_cast<char>(number & 0xFFU);
        number >>= 8U;
      }
      history_->begin_instead("load_from, with the 8 bytes from " + std::to_string(at) + " of the payload's " +
                              std::to_string(payload_.size()) + " overwritten");
      try_out(damaged);
      history_->begin_instead("load_from, of the first " + std::to_string(at) +
                              " bytes of one payload and what another has behind as many");
      try_out(payload_.substr(0, at) + other.substr(std::min(at, other.size())));
    }
    history_->begin_instead("load_from, of two payloads one behind the other");
    if (decode(payload_ + other)) {
      violated("load_from reads two payloads, one behind the other, and makes an index", *history_,
               "load_from reads what save_to has written, exactly; what is left over is refused",
               "does load_from read until nothing is left? Write how many there are, and read so many");
    }
  }

 private:
  void try_out(const std::string& damaged) {
    if (auto loaded = decode(damaged)) {
      require_harmless(*loaded);
    }
  }

  // The bytes near both ends of a large payload, where its settings and counts are, are always tried.
  [[nodiscard]] bool is_sampled(std::size_t at) const {
    constexpr std::size_t margin = 64;
    return payload_.size() > history_->options().exhaustive_bytes && at >= margin && payload_.size() - at > margin;
  }

  [[nodiscard]] std::vector<std::size_t> places(Random& random) const {
    std::set<std::size_t> chosen;
    for (std::size_t at = 0; at < payload_.size(); ++at) {
      if (!is_sampled(at)) {
        chosen.insert(at);
      }
    }
    if (chosen.size() < payload_.size()) {
      for (std::size_t sample = 0; sample < history_->options().samples; ++sample) {
        chosen.insert(static_cast<std::size_t>(random.below(payload_.size())));
      }
    }
    return {chosen.begin(), chosen.end()};
  }

  void flip(std::size_t at, unsigned bit) {
    history_->begin_instead("load_from, with bit " + std::to_string(bit) + " of byte " + std::to_string(at) +
                            " of the payload's " + std::to_string(payload_.size()) + " flipped");
    std::string flipped = payload_;
    flipped[at] = static_cast<char>(static_cast<unsigned char>(flipped[at]) ^ (1U << bit));
    try_out(flipped);
  }

  // The index that a load would return, or nothing if the decoder throws or leaves bytes unread, which a load refuses.
  [[nodiscard]] std::optional<I> decode(const std::string& payload) {
    ++report_->damaged_payloads;
    Reader reader(std::as_bytes(std::span(payload)));
    std::optional<I> loaded;
    const std::uint64_t allocated_before = allocated_bytes();
    try {
      loaded.emplace(PersistTraits<I>::load_from(reader));
    } catch (const std::bad_alloc& error) {
      refuse_allocation(error.what());
    } catch (const std::length_error& error) {
      refuse_allocation(error.what());
    } catch (...) {
      // Any exception is acceptable.
    }
    require_little_memory(allocated_bytes() - allocated_before, payload.size());
    if constexpr (ChecksPayload<I>) {
      require_same_of_check(payload, loaded, reader.remaining());
    }
    if (loaded && reader.remaining() == 0) {
      return loaded;
    }
    ++report_->refused_payloads;
    return std::nullopt;
  }

  // Otherwise a check of a snapshot would call fine what a load refuses, or the other way round.
  void require_same_of_check(const std::string& payload, const std::optional<I>& loaded, std::uint64_t unread) const {
    Reader reader(std::as_bytes(std::span(payload)));
    std::optional<PayloadFacts> facts;
    try {
      facts = I::check_payload(reader);
    } catch (const std::exception&) {
      // It refuses the payload.
    }
    const bool same =
        facts.has_value() == loaded.has_value() &&
        (!facts || (reader.remaining() == unread && facts->dim == persisted_dim(*loaded) &&
                    facts->metric == persisted_metric(*loaded) && facts->vectors == persisted_size(*loaded)));
    if (!same) {
      violated(std::string("check_payload ") + (facts ? "takes" : "refuses") + " a payload that load_from " +
                   (loaded ? "takes, or says something else of it" : "refuses"),
               *history_, "check_payload answers as load_from does",
               "does check_payload look at every length, tag and identifier that load_from looks at?");
    }
  }

  [[nodiscard]] std::uint64_t allocated_bytes() const {
    const auto& function = history_->options().allocated_bytes;
    return function ? function() : 0;
  }

  // A large block that is never written costs nothing here, and everything where memory is short.
  void require_little_memory(std::uint64_t allocated, std::size_t payload) const {
    constexpr std::uint64_t factor = 64;
    constexpr std::uint64_t fixed = std::uint64_t{64} * 1024 * 1024;
    if (TrustsNothing<I> && allocated > factor * payload + fixed) {
      violated("load_from asked for " + std::to_string(allocated) + " bytes of memory for a payload of " +
                   std::to_string(payload),
               *history_, "no memory is set aside on the word of a length alone",
               "is the room for a stated number made before as much was read?");
    }
  }

  void refuse_allocation(const char* what) const {
    if (TrustsNothing<I> || !history_->options().accept_failed_allocations) {
      violated(std::string("load_from wanted more memory than there is: ") + what, *history_,
               "no memory is set aside on the word of a length alone",
               "read with Reader::read_vector or read_string, or call Reader::require_items, and make_room in a loop "
               "that appends, before a count is believed: a bit less, and all memory had been taken. Where the "
               "exception is meant, and the type does not state trusts_nothing: "
               "ConformanceOptions::accept_failed_allocations");
    }
  }

  // Uses an index made from a damaged payload. The index may hold anything, and may throw, but must not crash.
  void require_harmless(I& index) {
    constexpr std::string_view promise = "an index that load_from has made can be used";
    const std::size_t size = persisted_size(index);
    const std::size_t dim = persisted_dim(index);
    if (!is_valid(persisted_metric(index))) {
      violated("load_from makes an index whose metric() is " +
                   std::to_string(static_cast<unsigned>(persisted_metric(index))) + ", which is none",
               *history_, promise, "make the metric of its stored number with metric_from_tag, which checks it");
    }
    if (size / 8 > payload_.size()) {
      violated("load_from makes an index of " + std::to_string(size) + " vectors of a payload of " +
                   std::to_string(payload_.size()) + " bytes",
               *history_, promise, "does load_from believe a count without reading as much?");
    }
    try {
      BoundedSink sink(64 * payload_.size() + std::uint64_t{64} * 1024 * 1024);
      Writer writer(sink);
      PersistTraits<I>::save_to(index, writer);
      writer.flush();
    } catch (const BoundedSink::Full&) {
      violated("an index made of a payload of " + std::to_string(payload_.size()) +
                   " bytes saves more than 64 times as much and 64 MiB",
               *history_, promise, "does load_from believe a count without reading as much?");
    } catch (...) {
      // It may refuse.
    }
    constexpr std::size_t largest_dim = 65536;  // larger vectors would fill the memory
    if (dim > largest_dim) {
      return;
    }
    const std::vector<float> vector = subject_->vector(1, dim);
    const auto quietly = [](const auto& action) {
      try {
        action();
      } catch (...) {
        // It may reject anything.
      }
    };
    if constexpr (Searchable<I>) {
      quietly([&] { static_cast<void>(search_all(index, size, vector)); });
    }
    if constexpr (Index<I>) {
      const VectorId id = VectorId::from_bytes("a fresh identifier");
      quietly([&] { index.insert(id, std::span<const float>(vector), any_metadata(0)); });
      if constexpr (Searchable<I>) {
        quietly([&] { static_cast<void>(search_all(index, size + 1, vector)); });
      }
      quietly([&] { index.erase(id); });
      quietly([&] { index.erase(any_id(0)); });
    }
  }

  const Subject<I>* subject_;
  std::string payload_;
  History* history_;
  ConformanceReport* report_;
};

// `other` is another index of that type.
template <Persistable I>
void check_damage(const Subject<I>& subject, const I& index, const I& other, History& history,
                  ConformanceReport& report) {
  history.begin("save_to");
  history.begin("load_from");
  DamagedPayloads<I> payloads(subject, save_payload(index, history), history, report);
  Random random(history.options().seed);
  payloads.check_truncations(random);
  payloads.check_additions();
  payloads.check_flips(random);
  if constexpr (TrustsNothing<I>) {
    payloads.check_overwrites(random, save_payload(other, history));
  }
}

}  // namespace conformance

/// Gives the index's decoder payloads that are truncated, lengthened, or have a flipped bit, as a foreign file with a
/// valid checksum would. The decoder must refuse each by any exception but std::bad_alloc and std::length_error. After
/// a flipped bit it may instead make an index that can be saved, searched and changed without a crash. A small payload
/// is examined at every length and in every bit. A type that states trusts_nothing is also given payloads with numbers
/// overwritten and payloads of two parts, and must answer none of them with std::bad_alloc. The check_payload of a type that has one must take what load_from takes,
/// and nothing else. Throws Violation, and what `make` and the functions of `subject`
/// throw.
template <Persistable I>
ConformanceReport check_decoder(const Subject<I>& subject, const ConformanceOptions& options = {}) {
  ConformanceReport report;
  if constexpr (Index<I>) {
    for (const std::size_t vectors : {std::size_t{0}, std::size_t{5}, std::size_t{60}}) {
      conformance::History history("make()", options);
      const conformance::Filled<I> filled = conformance::make_filled(subject, vectors, options.seed + vectors, history);
      report.mutations += filled.mutations.size();
      const conformance::Filled<I> other =
          conformance::make_filled(subject, vectors, options.seed + vectors + 1, history);
      conformance::check_damage(subject, filled.index, other.index, history, report);
    }
  } else {
    conformance::History history("make()", options);
    const I index = subject.make();
    conformance::check_damage(subject, index, index, history, report);
  }
  return report;
}

}  // namespace testing
}  // namespace iqdb
