#include "recover.hpp"

#include "iqdb/index/core.hpp"
#include "iqdb/index/flat.hpp"

namespace iqdb_tool {

Recoverer recoverer_of(std::string_view index_type) {
  if (index_type == iqdb::FlatIndex::index_type) {
    return [](RecoverJob& job) {
      return recover_as<iqdb::FlatIndex>(job, [](std::size_t dim, iqdb::DistanceMetric metric, const auto* /*rows*/) {
        return iqdb::FlatIndex(dim, metric);
      });
    };
  }
  if (index_type == iqdb::CoreIndex::index_type) {
    return [](RecoverJob& job) {
      return recover_as<iqdb::CoreIndex>(job, [](std::size_t dim, iqdb::DistanceMetric metric, const auto* /*rows*/) {
        return iqdb::CoreIndex(dim, metric);
      });
    };
  }
#ifdef IQDB_TOOL_HAS_HNSWLIB
  if (index_type == "hnsw") {
    return recover_hnswlib;
  }
#endif
#ifdef IQDB_TOOL_HAS_FAISS
  if (index_type == "faiss") {
    return recover_faiss;
  }
#endif
#ifdef IQDB_TOOL_HAS_USEARCH
  if (index_type == "usearch") {
    return recover_usearch;
  }
#endif
  return {};
}

iqdb::DistanceMetric metric_of(const RecoverJob& job, const iqdb::SalvageBasis& basis) {
  if (job.metric) {
    return *job.metric;
  }
  if (!basis.metric) {
    iqdb::throw_persist_error(
        iqdb::PersistErrorKind::invalid_config,
        "no file says how this index measures distances, for the snapshot is missing or its header "
        "is lost; name the metric and the type of the index by --metric and --type");
  }
  return *basis.metric;
}

}  // namespace iqdb_tool
