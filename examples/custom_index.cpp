// Two ways to make an index durable that the library does not know:
//
//   1. a type of one's own gets members:        index_type, save_to, load_from
//   2. a type that cannot be edited gets them from outside, in a specialisation of iqdb::PersistTraits
//
// Whether it was done right can be tested: `custom_index --check` shows how.
#include <iqdb/index.hpp>
#include <iqdb/persist.hpp>
#include <iqdb/persist/testing/conformance.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <iostream>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

// ---- 1. A type of one's own -----------------------------------------------------------------------------------------

// Finds the 64-bit fingerprint that differs in the fewest bits.
class Fingerprints {
 public:
  void add(std::uint64_t fingerprint) { fingerprints_.push_back(fingerprint); }

  // Precondition: size() > 0.
  [[nodiscard]] std::uint64_t nearest(std::uint64_t query) const {
    return *std::ranges::min_element(fingerprints_, {}, [query](std::uint64_t f) { return std::popcount(f ^ query); });
  }

  // What the header of the file says about the index, for those who look at the file without knowing this type.
  [[nodiscard]] std::size_t size() const { return fingerprints_.size(); }
  [[nodiscard]] std::size_t dim() const { return 64; }
  [[nodiscard]] iqdb::DistanceMetric metric() const { return iqdb::DistanceMetric::hamming; }

  // The identity on disk: it is in every file, so it is never renamed.
  static constexpr std::string_view index_type = "example-fingerprints";

  // The payload begins with a version of its own: the day the layout changes, old files can still be read.
  void save_to(iqdb::Writer& writer) const {
    writer.write_le(std::uint8_t{1});
    writer.write_le(std::uint64_t{fingerprints_.size()});
    writer.write_array(fingerprints_);  // one transfer, without a copy
  }

  // Every byte was compared with the checksum before this is called. What remains to be refused is a payload that was
  // written by something else. A count need not be checked: read_vector does not believe one that cannot be right.
  [[nodiscard]] static Fingerprints load_from(iqdb::Reader& reader) {
    if (const auto version = reader.read_le<std::uint8_t>(); version != 1) {
      reader.fail(iqdb::PersistErrorKind::invalid_payload,
                  "fingerprints of layout " + std::to_string(version) + "; this program knows layout 1");
    }
    Fingerprints index;
    index.fingerprints_ = reader.read_vector<std::uint64_t>(reader.read_le<std::uint64_t>());
    return index;
  }

 private:
  std::vector<std::uint64_t> fingerprints_;
};

// Where something is missing, the compiler says what, in a sentence each.
static_assert(iqdb::explain_persistable<Fingerprints>());

// ---- 2. A type that cannot be edited --------------------------------------------------------------------------------

namespace elsewhere {  // imagine this in a header of somebody else

struct PointCloud {
  std::vector<std::array<float, 3>> points;
};

}  // namespace elsewhere

template <>
struct iqdb::PersistTraits<elsewhere::PointCloud> {
  static constexpr std::string_view index_type = "example-point-cloud";

  static void save_to(const elsewhere::PointCloud& cloud, iqdb::Writer& writer) {
    writer.write_le(std::uint64_t{cloud.points.size()});
    for (const auto& point : cloud.points) {
      writer.write_array(point);
    }
  }

  static elsewhere::PointCloud load_from(iqdb::Reader& reader) {
    elsewhere::PointCloud cloud;
    const auto count = reader.read_le<std::uint64_t>();
    reader.require_items(count, 3 * sizeof(float));  // before it is believed
    for (std::uint64_t i = 0; i < count; ++i) {
      reader.read_array(std::span<float>(cloud.points.emplace_back()));
    }
    return cloud;
  }

  // Needed only where the type has no such members.
  static std::size_t size(const elsewhere::PointCloud& cloud) { return cloud.points.size(); }
  static std::size_t dim(const elsewhere::PointCloud& /*cloud*/) { return 3; }
  static iqdb::DistanceMetric metric(const elsewhere::PointCloud& /*cloud*/) { return iqdb::DistanceMetric::euclidean; }
};

static_assert(iqdb::explain_persistable<elsewhere::PointCloud>());

// ---- Both are tested alike: this belongs into your tests ------------------------------------------------------------

void check() {
  const auto some_fingerprints = [] {
    Fingerprints index;
    for (std::uint64_t fingerprint = 0x00FF; fingerprint < 0xFF00; fingerprint *= 3) {
      index.add(fingerprint);
    }
    return index;
  };
  const auto some_points = [] { return elsewhere::PointCloud{.points = {{1, 2, 3}, {4, 5, 6}}}; };

  // Saves and loads them, and damages their payloads; throws iqdb::testing::Violation, which says what is wrong.
  std::cout << "fingerprints: " << to_string(iqdb::testing::check_persistable(some_fingerprints)) << "\n";
  std::cout << "point cloud: " << to_string(iqdb::testing::check_persistable(some_points)) << "\n";
}

// ---- Both are used alike --------------------------------------------------------------------------------------------

int main(int argc, char** argv) {
  try {
    if (argc == 2 && std::string_view(argv[1]) == "--check") {
      check();
      return 0;
    }
    {
      auto db =
          iqdb::PersistedIndex<Fingerprints>::open_with({}, {.path = "fingerprints.iqdb", .replace_existing = true});
      db.index_mut().add(0x00FF);
      db.index_mut().add(0xFF00);
      const iqdb::SnapshotInfo saved = db.save();
      std::cout << "fingerprints: " << saved.vectors << " saved in " << saved.file_bytes << " bytes\n";
    }
    const auto db = iqdb::PersistedIndex<Fingerprints>::load({.path = "fingerprints.iqdb"});
    std::cout << "nearest to 0x01F7: 0x" << std::hex << db.index().nearest(0x01F7) << std::dec << "\n";

    elsewhere::PointCloud cloud{.points = {{1, 2, 3}, {4, 5, 6}}};
    iqdb::PersistedIndex<elsewhere::PointCloud>::open_with(std::move(cloud),
                                                           {.path = "points.iqdb", .replace_existing = true})
        .save();
    const auto points = iqdb::PersistedIndex<elsewhere::PointCloud>::load({.path = "points.iqdb"});
    std::cout << "point cloud: " << points.index().points.size() << " points loaded\n";

    // A file of another type is refused by name.
    std::ignore = iqdb::PersistedIndex<elsewhere::PointCloud>::load({.path = "fingerprints.iqdb"});
  } catch (const iqdb::PersistError& error) {
    std::cout << error.what() << "\n";
    return error.kind() == iqdb::PersistErrorKind::invalid_index_type ? 0 : 1;
  } catch (const iqdb::testing::Violation& violation) {
    std::cout << violation.what() << "\n";
  }
  return 1;
}
