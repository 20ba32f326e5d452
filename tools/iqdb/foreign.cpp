#include "foreign.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "iqdb/persist/bytes/stream.hpp"

namespace iqdb_tool {

namespace {

using Bytes = std::span<const std::byte>;

// The number at `offset`, or 0 if the bytes end before it does.
template <class T>
T number_at(Bytes bytes, std::size_t offset) {
  std::array<std::byte, sizeof(T)> raw{};
  if (offset + sizeof(T) > bytes.size()) {
    return T{};
  }
  std::memcpy(raw.data(), bytes.data() + offset, sizeof(T));
  return iqdb::from_little_endian<T>(raw);
}

std::string text_at(Bytes bytes, std::size_t offset, std::size_t count) {
  std::string text;
  for (std::size_t at = offset; at < std::min(offset + count, bytes.size()); ++at) {
    text += static_cast<char>(bytes[at]);
  }
  return text;
}

std::vector<std::byte> read(iqdb::FileStorage::File& file, std::uint64_t offset, std::size_t count) {
  std::vector<std::byte> bytes(count);
  std::size_t done = 0;
  while (done < count) {
    const std::size_t more = file.read_at(offset + done, std::span(bytes).subspan(done));
    if (more == 0) {
      break;
    }
    done += more;
  }
  bytes.resize(done);
  return bytes;
}

// ---- hnswlib: offset of level 0, capacity, vectors, bytes of an element, offsets of label and vector, 8 each | highest
// level, entry point, 4 each | M, 2 M, M, 8 each | 1 / ln M | ef_construction 8 --------------------------------------

std::optional<ForeignFile> hnswlib_file(Bytes head, std::uint64_t file_bytes) {
  constexpr std::size_t head_bytes = 96;
  if (head.size() < head_bytes) {
    return std::nullopt;
  }
  const auto offset_level0 = number_at<std::uint64_t>(head, 0);
  const auto capacity = number_at<std::uint64_t>(head, 8);
  const auto vectors = number_at<std::uint64_t>(head, 16);
  const auto element_bytes = number_at<std::uint64_t>(head, 24);
  const auto label_offset = number_at<std::uint64_t>(head, 32);
  const auto vector_offset = number_at<std::uint64_t>(head, 40);
  const auto most_links = number_at<std::uint64_t>(head, 56);
  const auto most_links_lowest = number_at<std::uint64_t>(head, 64);
  const auto links = number_at<std::uint64_t>(head, 72);
  const auto ef_construction = number_at<std::uint64_t>(head, 88);
  constexpr std::uint64_t largest = std::uint64_t{1} << 32U;
  if (offset_level0 != 0 || links == 0 || links > largest || most_links != links || most_links_lowest != 2 * links ||
      vector_offset != most_links_lowest * 4 + 4 || label_offset <= vector_offset || label_offset > largest ||
      element_bytes != label_offset + 8 || vectors > capacity || vectors > (file_bytes - head_bytes) / element_bytes) {
    return std::nullopt;
  }
  const std::uint64_t vector_bytes = label_offset - vector_offset;
  return ForeignFile{.library = "hnswlib",
                     .what = "a graph (HierarchicalNSW::saveIndex)",
                     .dim = vector_bytes / 4,
                     .vectors = vectors,
                     .metric = {},
                     .scalar = "f32, if it has " + std::to_string(vector_bytes / 4) + " dimensions: a vector takes " +
                               std::to_string(vector_bytes) + " bytes",
                     .settings = "M " + std::to_string(links) + ", ef_construction " + std::to_string(ef_construction) +
                                 ", room for " + std::to_string(capacity),
                     .how_to_take_it = "iqdb::hnswlib_import(path, dim, metric)"};
}

// ---- faiss: tag 4 | dimension 4 | vectors 8 | 2^20 twice, 8 each | trained 1 | metric 4 ------------------------------

struct FaissTag {
  std::string_view letters;
  std::string_view what;
};
constexpr std::array faiss_tags{FaissTag{"IxF2", "flat"},
                                FaissTag{"IxFI", "flat"},
                                FaissTag{"IxFl", "flat"},
                                FaissTag{"IHNf", "HNSW over flat"},
                                FaissTag{"IHNp", "HNSW over PQ"},
                                FaissTag{"IHNs", "HNSW over a scalar quantizer"},
                                FaissTag{"IHN2", "HNSW over two levels"},
                                FaissTag{"IwFl", "IVF of flat vectors"},
                                FaissTag{"IwPQ", "IVF of PQ codes"},
                                FaissTag{"IwSq", "IVF of a scalar quantizer"},
                                FaissTag{"IxPq", "PQ"},
                                FaissTag{"IxSQ", "a scalar quantizer"},
                                FaissTag{"IxHE", "LSH"},
                                FaissTag{"IxHe", "LSH"},
                                FaissTag{"IxPT", "transformed vectors"},
                                FaissTag{"IxMp", "an id map"},
                                FaissTag{"IxM2", "an id map in both directions"}};

constexpr std::size_t faiss_head_bytes = 37;

std::string_view faiss_kind(const std::string& letters) {
  const auto* const known = std::ranges::find(faiss_tags, std::string_view(letters), &FaissTag::letters);
  return known == faiss_tags.end() ? std::string_view("a kind without a name here") : known->what;
}

bool is_faiss_head(Bytes head) {
  constexpr std::int64_t unused = std::int64_t{1} << 20U;
  return head.size() >= faiss_head_bytes && head[0] == std::byte{'I'} && number_at<std::int32_t>(head, 4) > 0 &&
         number_at<std::int64_t>(head, 8) >= 0 && number_at<std::int64_t>(head, 16) == unused &&
         number_at<std::int64_t>(head, 24) == unused;
}

std::optional<ForeignFile> faiss_file(Bytes head) {
  if (!is_faiss_head(head)) {
    return std::nullopt;
  }
  const std::string letters = text_at(head, 0, 4);
  const auto metric = number_at<std::int32_t>(head, 33);
  ForeignFile found{.library = "faiss",
                    .what = std::string(faiss_kind(letters)) + " (" + letters + ")",
                    .dim = static_cast<std::uint64_t>(number_at<std::int32_t>(head, 4)),
                    .vectors = static_cast<std::uint64_t>(number_at<std::int64_t>(head, 8)),
                    .metric = metric == 0   ? "inner product"
                              : metric == 1 ? "L2"
                                            : "number " + std::to_string(metric),
                    .scalar = {},
                    .settings = number_at<std::uint8_t>(head, 32) == 1 ? "trained" : "not trained",
                    .how_to_take_it = "iqdb::faiss_import(path, metric)"};
  // An id map is wrapped around the index proper.
  const Bytes inner = head.subspan(faiss_head_bytes);
  if (letters.starts_with("IxM") && is_faiss_head(inner)) {
    const std::string inner_letters = text_at(inner, 0, 4);
    found.what += " around " + std::string(faiss_kind(inner_letters)) + " (" + inner_letters + ")";
  }
  return found;
}

// ---- usearch: rows 4 | bytes of a row 4 | the vectors | head 64: "usearch" 7 | version, 2 each | metric, scalar, key,
// link, 1 each | vectors 8 | deleted 8 | dimension 8 | multi 1 -------------------------------------------------------

constexpr std::string_view usearch_magic = "usearch";

std::string usearch_metric(char code) {
  switch (code) {
    case 'i':
      return "ip";
    case 'c':
      return "cos";
    case 'e':
      return "l2sq";
    case 'b':
      return "hamming";
    case 'h':
      return "haversine";
    case 'p':
      return "pearson";
    case 'd':
      return "divergence";
    case 't':
      return "tanimoto";
    case 's':
      return "sorensen";
    case 'j':
      return "jaccard";
    default:
      return "code " + std::to_string(static_cast<unsigned char>(code));
  }
}

std::string usearch_scalar(std::uint16_t minor_version, std::uint8_t code) {
  struct Scalar {
    std::uint8_t code;
    std::string_view name;
  };
  constexpr std::array now{Scalar{1, "b1x8"}, Scalar{4, "bf16"}, Scalar{10, "f64"},
                           Scalar{11, "f32"}, Scalar{12, "f16"}, Scalar{23, "i8"}};
  constexpr std::array before{Scalar{4, "f64"}, Scalar{5, "f32"}, Scalar{6, "f16"}, Scalar{14, "i8"}};
  constexpr std::uint16_t minor_version_of_codes = 10;
  const auto codes =
      minor_version < minor_version_of_codes ? std::span<const Scalar>(before) : std::span<const Scalar>(now);
  const auto known = std::ranges::find(codes, code, &Scalar::code);
  return known == codes.end() ? "code " + std::to_string(code) : std::string(known->name);
}

std::optional<ForeignFile> usearch_file(iqdb::FileStorage::File& file, Bytes beginning) {
  constexpr std::size_t head_bytes = 64;
  std::vector<std::byte> head(beginning.begin(), beginning.end());
  if (text_at(head, 0, usearch_magic.size()) != usearch_magic) {
    const std::uint64_t vectors =
        std::uint64_t{number_at<std::uint32_t>(beginning, 0)} * number_at<std::uint32_t>(beginning, 4);
    if (vectors > file.size()) {
      return std::nullopt;
    }
    head = read(file, 8 + vectors, head_bytes);
  }
  if (head.size() < head_bytes || text_at(head, 0, usearch_magic.size()) != usearch_magic) {
    return std::nullopt;
  }
  const auto major_version = number_at<std::uint16_t>(head, 7);
  const auto minor_version = number_at<std::uint16_t>(head, 9);
  const auto patch_version = number_at<std::uint16_t>(head, 11);
  return ForeignFile{.library = "usearch",
                     .what = "a graph (index_dense_t::save), of usearch " + std::to_string(major_version) + "." +
                             std::to_string(minor_version) + "." + std::to_string(patch_version),
                     .dim = number_at<std::uint64_t>(head, 33),
                     .vectors = number_at<std::uint64_t>(head, 17),
                     .deleted = number_at<std::uint64_t>(head, 25),
                     .metric = usearch_metric(static_cast<char>(head[13])),
                     .scalar = usearch_scalar(minor_version, number_at<std::uint8_t>(head, 14)),
                     .settings = number_at<std::uint8_t>(head, 41) != 0 ? "may hold several vectors of one key" : "",
                     .how_to_take_it = "iqdb::usearch_import(path)"};
}

}  // namespace

std::optional<ForeignFile> recognise_foreign(iqdb::FileStorage::File& file) {
  constexpr std::size_t beginning_bytes = 128;
  const std::vector<std::byte> beginning = read(file, 0, beginning_bytes);
  if (auto found = faiss_file(beginning)) {
    return found;
  }
  if (auto found = usearch_file(file, beginning)) {
    return found;
  }
  return hnswlib_file(beginning, file.size());
}

}  // namespace iqdb_tool
