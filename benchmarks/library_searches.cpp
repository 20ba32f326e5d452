// Searches of the adapters beside those of the bare libraries: single ones, filtered ones, and many in one call.
//
//   iqdb_library_searches [vectors]
//
// Prints Markdown: times of the bare library and of the adapter, their ratio, and the recall of both. What is compared is done in
// turns, in one process, with the same vectors, settings and filter. A dash: the library has no such search.
#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIVFFlat.h>
#include <faiss/impl/IDSelector.h>
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <span>
#include <string>
#include <thread>
#include <unordered_set>
#include <utility>
#include <vector>

#include "iqdb/index/faiss.hpp"
#include "iqdb/index/flat.hpp"
#include "iqdb/index/hnswlib.hpp"
#include "iqdb/index/usearch.hpp"

namespace {

using iqdb::DistanceMetric;
using Clock = std::chrono::steady_clock;
using Found = std::vector<std::vector<std::uint64_t>>;  // of each query the numbers of what is found

constexpr std::size_t dim = 128;
constexpr std::size_t k = 10;
constexpr std::size_t width = 64;
constexpr std::size_t queries = 200;
constexpr std::size_t many = 1000;
constexpr std::size_t rounds = 7;
constexpr std::size_t clusters = 100;
constexpr std::size_t links = 16;

/// Vectors around the centres of clusters, one behind the other.
std::vector<float> clustered(std::size_t count, std::uint32_t seed) {
  std::mt19937 centre_engine(1);
  std::normal_distribution<float> component;
  std::vector<float> centres(clusters * dim);
  std::ranges::generate(centres, [&] { return component(centre_engine); });
  std::mt19937 engine(seed);
  std::vector<float> vectors(count * dim);
  for (std::size_t number = 0; number < count; ++number) {
    const std::size_t cluster = engine() % clusters;
    for (std::size_t at = 0; at < dim; ++at) {
      vectors[number * dim + at] = centres[cluster * dim + at] + 0.5F * component(engine);
    }
  }
  return vectors;
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

/// The share of what `expected` holds that `found` holds, too.
double recall(const Found& found, const Found& expected) {
  double hits = 0;
  double all = 0;
  for (std::size_t query = 0; query < expected.size(); ++query) {
    for (const std::uint64_t number : expected[query]) {
      hits += static_cast<double>(std::ranges::count(found[query], number));
      ++all;
    }
  }
  return all == 0 ? 1 : hits / all;
}

/// Prints a line: `bare` and `ours` are called in turns, and return what they find.
void compare(const std::string& what, const std::function<Found()>& bare, const std::function<Found()>& ours,
             const Found& expected) {
  std::vector<double> bare_times;
  std::vector<double> our_times;
  Found bare_found;
  Found our_found;
  const auto timed = [](const std::function<Found()>& search, Found& found, std::vector<double>& times) {
    const auto begin = Clock::now();
    found = search();
    times.push_back(std::chrono::duration<double>(Clock::now() - begin).count());
  };
  for (std::size_t round = 0; round < rounds; ++round) {
    if (bare) {
      timed(bare, bare_found, bare_times);
    }
    timed(ours, our_found, our_times);
  }
  const double per_query = 1e6 / static_cast<double>(expected.size());
  const double our_time = median(our_times) * per_query;
  if (bare) {
    const double bare_time = median(bare_times) * per_query;
    std::printf("| %s | %.1f | %.1f | %.2f | %.3f | %.3f |\n", what.c_str(), bare_time, our_time, bare_time / our_time,
                recall(bare_found, expected), recall(our_found, expected));
  } else {
    std::printf("| %s | – | %.1f | – | – | %.3f |\n", what.c_str(), our_time, recall(our_found, expected));
  }
  std::fflush(stdout);
}

std::vector<std::uint64_t> numbers_of(const std::vector<iqdb::Hit>& hits) {
  std::vector<std::uint64_t> numbers;
  for (const iqdb::Hit& hit : hits) {
    numbers.push_back(hit.id.integer());
  }
  return numbers;
}

struct Data {
  explicit Data(std::size_t count) : vectors(clustered(count, 2)), asked(clustered(many, 3)) {}

  [[nodiscard]] std::size_t size() const { return vectors.size() / dim; }
  [[nodiscard]] std::span<const float> vector(std::size_t number) const {
    return std::span(vectors).subspan(number * dim, dim);
  }
  [[nodiscard]] std::span<const float> query(std::size_t number) const {
    return std::span(asked).subspan(number * dim, dim);
  }

  std::vector<float> vectors;
  std::vector<float> asked;
};

/// Calls `search(query)` for each of the first `count` queries.
template <class Search>
Found each_query(const Data& data, std::size_t count, Search search) {
  Found found;
  for (std::size_t query = 0; query < count; ++query) {
    found.push_back(search(data.query(query)));
  }
  return found;
}

/// The same in two threads.
template <class Search>
Found in_two_threads(const Data& data, Search search) {
  Found found(many);
  const auto half = [&](std::size_t begin, std::size_t end) {
    for (std::size_t query = begin; query < end; ++query) {
      found[query] = search(data.query(query));
    }
  };
  std::thread other(half, 0, many / 2);
  half(many / 2, many);
  other.join();
  return found;
}

// One of so many vectors is admitted, whatever its place.
struct OneIn {
  std::uint64_t of;
  [[nodiscard]] bool operator()(std::uint64_t number) const { return (number * 0x9E3779B97F4A7C15U >> 32U) % of == 0; }
};
constexpr std::uint64_t shares[] = {2, 10, 100, 1000};

Found expected_of(const iqdb::FlatIndex& exact, const Data& data, std::size_t count, std::uint64_t one_in) {
  return each_query(data, count, [&](std::span<const float> query) {
    const auto admits = [admitted = OneIn{one_in}](const iqdb::VectorId& id) { return admitted(id.integer()); };
    return numbers_of(exact.search(query, {.k = k, .with_metadata = false}, admits));
  });
}

/// A line for a single search, for each filter, and for many queries. `bare_search(query)`, `bare_filtered(query, admits)` and
/// `bare_many()` may be empty.
template <class Index>
void compare_all(const std::string& name, const Data& data, const iqdb::FlatIndex& exact, const Index& index,
                 iqdb::SearchParams params,
                 const std::function<std::vector<std::uint64_t>(std::span<const float>)>& bare_search,
                 const std::function<std::vector<std::uint64_t>(std::span<const float>, OneIn)>& bare_filtered,
                 const std::function<Found()>& bare_many) {
  params.k = k;
  params.with_metadata = false;
  const auto ours = [&](const iqdb::SearchParams& asked) {
    return each_query(data, queries,
                      [&](std::span<const float> query) { return numbers_of(index.search(query, asked)); });
  };
  compare(
      name + ", one query", [&] { return each_query(data, queries, bare_search); }, [&] { return ours(params); },
      expected_of(exact, data, queries, 1));
  for (const std::uint64_t share : shares) {
    const OneIn admitted{share};
    iqdb::SearchParams filtered = params;
    filtered.filter = [admitted](const iqdb::VectorId& id) { return admitted(id.integer()); };
    std::function<Found()> bare;
    if (bare_filtered) {
      bare = [&] {
        return each_query(data, queries, [&](std::span<const float> query) { return bare_filtered(query, admitted); });
      };
    }
    compare(
        name + ", one in " + std::to_string(share) + " admitted", bare, [&] { return ours(filtered); },
        expected_of(exact, data, queries, share));
  }
  compare(
      name + ", 1,000 queries in two threads", bare_many,
      [&] {
        Found found;
        for (const auto& hits : index.search_many(data.asked, params, 2)) {
          found.push_back(numbers_of(hits));
        }
        return found;
      },
      expected_of(exact, data, many, 1));
}

template <class Index>
Index filled(Index index, const Data& data) {
  for (std::size_t number = 0; number < data.size(); ++number) {
    index.insert(number, data.vector(number));
  }
  return index;
}

void hnswlib_searches(const Data& data, const iqdb::FlatIndex& exact) {
  hnswlib::L2Space space(dim);
  hnswlib::HierarchicalNSW<float> bare(&space, data.size(), links, 200);
  for (std::size_t number = 0; number < data.size(); ++number) {
    bare.addPoint(data.vector(number).data(), number);
  }
  bare.setEf(width);
  const auto numbers = [](auto queue) {
    std::vector<std::uint64_t> found;
    for (; !queue.empty(); queue.pop()) {
      found.push_back(queue.top().second);
    }
    return found;
  };
  const auto search = [&](std::span<const float> query) { return numbers(bare.searchKnn(query.data(), k)); };
  std::function<std::vector<std::uint64_t>(std::span<const float>, OneIn)> filtered;
#if __has_include(<hnswlib/stop_condition.h>)
  filtered = [&](std::span<const float> query, OneIn admitted) {
    struct Filter : hnswlib::BaseFilterFunctor {
      explicit Filter(OneIn admits) : admitted(admits) {}
      bool operator()(hnswlib::labeltype label) override { return admitted(label); }
      OneIn admitted;
    } filter(admitted);
    return numbers(bare.searchKnn(query.data(), k, &filter));
  };
#endif
  const auto index = filled(iqdb::HnswIndex(dim, DistanceMetric::euclidean, {.links = links, .ef = width}), data);
  compare_all("hnswlib", data, exact, index, {}, search, filtered, [&] { return in_two_threads(data, search); });
}

void usearch_searches(const Data& data, const iqdb::FlatIndex& exact) {
  using Graph = unum::usearch::index_dense_t;
  unum::usearch::index_dense_config_t config(links, 128, width);
  Graph bare = std::move(
      Graph::make({dim, unum::usearch::metric_kind_t::l2sq_k, unum::usearch::scalar_kind_t::f32_k}, config).index);
  bare.try_reserve({data.size(), 2});
  for (std::size_t number = 0; number < data.size(); ++number) {
    bare.add(number, data.vector(number).data());
  }
  const auto numbers = [](const auto& result) {
    std::vector<std::uint64_t> found;
    for (std::size_t at = 0; at < result.size(); ++at) {
      found.push_back(result[at].member.key);
    }
    return found;
  };
  const auto search = [&](std::span<const float> query) { return numbers(bare.search(query.data(), k)); };
  const auto filtered = [&](std::span<const float> query, OneIn admitted) {
    return numbers(bare.filtered_search(query.data(), k, [&](std::uint64_t key) { return admitted(key); }));
  };
  const auto index = filled(
      iqdb::UsearchIndex(dim, DistanceMetric::euclidean, {.connectivity = links, .expansion_search = width}), data);
  compare_all("usearch", data, exact, index, {}, search, filtered, [&] { return in_two_threads(data, search); });
}

struct Selector : faiss::IDSelector {
  explicit Selector(OneIn admits) : admitted(admits) {}
  bool is_member(idx_t number) const override { return admitted(static_cast<std::uint64_t>(number)); }
  OneIn admitted;
};

std::vector<std::uint64_t> faiss_search(const faiss::Index& index, std::span<const float> query,
                                        const faiss::SearchParameters* parameters) {
  std::vector<float> distances(k);
  std::vector<faiss::Index::idx_t> labels(k);
  index.search(1, query.data(), k, distances.data(), labels.data(), parameters);
  std::erase(labels, -1);
  return {labels.begin(), labels.end()};
}

Found faiss_many(const faiss::Index& index, const Data& data) {
  std::vector<float> distances(many * k);
  std::vector<faiss::Index::idx_t> labels(many * k);
  omp_set_num_threads(2);
  index.search(many, data.asked.data(), k, distances.data(), labels.data());
  Found found;
  for (std::size_t query = 0; query < many; ++query) {
    found.emplace_back(labels.begin() + static_cast<std::ptrdiff_t>(query * k),
                       labels.begin() + static_cast<std::ptrdiff_t>((query + 1) * k));
  }
  omp_set_num_threads(1);
  return found;
}

void faiss_searches(const Data& data, const iqdb::FlatIndex& exact) {
  omp_set_num_threads(1);
  const auto count = static_cast<faiss::Index::idx_t>(data.size());
  {
    faiss::IndexFlatL2 bare(dim);
    bare.add(count, data.vectors.data());
    const auto search = [&](std::span<const float> query) { return faiss_search(bare, query, nullptr); };
    const auto filtered = [&](std::span<const float> query, OneIn admitted) {
      Selector selector(admitted);
      faiss::SearchParameters parameters;
      parameters.sel = &selector;
      return faiss_search(bare, query, &parameters);
    };
    compare_all("faiss flat", data, exact, filled(iqdb::FaissIndex::flat(dim, DistanceMetric::euclidean), data), {},
                search, filtered, [&] { return faiss_many(bare, data); });
  }
  {
    faiss::IndexHNSWFlat bare(dim, links);
    bare.hnsw.efSearch = width;
    bare.add(count, data.vectors.data());
    const auto search = [&](std::span<const float> query) { return faiss_search(bare, query, nullptr); };
    compare_all("faiss HNSW", data, exact,
                filled(iqdb::FaissIndex::hnsw(dim, DistanceMetric::euclidean, links, 40, width), data), {}, search, {},
                [&] { return faiss_many(bare, data); });
  }
  {
    constexpr std::size_t lists = 128;
    constexpr std::size_t probes = 8;
    faiss::IndexFlatL2 quantizer(dim);
    faiss::IndexIVFFlat bare(&quantizer, dim, lists);
    bare.nprobe = probes;
    bare.train(count, data.vectors.data());
    bare.add(count, data.vectors.data());
    const auto search = [&](std::span<const float> query) { return faiss_search(bare, query, nullptr); };
    const auto filtered = [&](std::span<const float> query, OneIn admitted) {
      Selector selector(admitted);
      faiss::SearchParametersIVF parameters;
      parameters.nprobe = probes;
      parameters.sel = &selector;
      return faiss_search(bare, query, &parameters);
    };
    compare_all("faiss IVF", data, exact, iqdb::FaissIndex(bare, DistanceMetric::euclidean), {.probes = probes}, search,
                filtered, [&] { return faiss_many(bare, data); });
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const Data data(argc > 1 ? std::stoul(argv[1]) : 20'000);
    const iqdb::FlatIndex exact = filled(iqdb::FlatIndex(dim, DistanceMetric::euclidean), data);
    std::printf("%zu vectors of %zu components in %zu clusters, k %zu, %zu candidates, medians of %zu rounds\n\n",
                data.size(), dim, clusters, k, width, rounds);
    std::puts("| search | library, µs | adapter, µs | library ÷ adapter | recall of the library | of the adapter |");
    std::puts("| --- | ---: | ---: | ---: | ---: | ---: |");
    hnswlib_searches(data, exact);
    usearch_searches(data, exact);
    faiss_searches(data, exact);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
