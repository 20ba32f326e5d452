// Selector: the filter of a search, as faiss asks it.
#pragma once

#include <faiss/Index.h>
#include <faiss/impl/IDSelector.h>

#include <cstddef>

#include "iqdb/index/faiss/native.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace faiss_parts {

/// Which slots a search may return. Used in one thread.
class Selector : public ::faiss::IDSelector {
 public:
  [[nodiscard]] bool operator()(Id slot) const { return is_member(slot); }

  /// Whether it admits everything from now on, so that the results of the search are of no use.
  [[nodiscard]] virtual bool has_given_up() const noexcept = 0;
};

/// An AskedSlots, which must outlive this object.
template <class Asked>
class SelectorOf final : public Selector {
 public:
  explicit SelectorOf(Asked& asked) noexcept : asked_(&asked) {}
  [[nodiscard]] bool is_member(Id slot) const override { return (*asked_)(static_cast<std::size_t>(slot)); }
  [[nodiscard]] bool has_given_up() const noexcept override { return asked_->has_given_up(); }

 private:
  Asked* asked_;
};

}  // namespace faiss_parts

}  // namespace iqdb::inline IQDB_PERSIST_ABI
