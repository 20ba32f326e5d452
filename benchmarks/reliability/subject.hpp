// What is examined: an index and how it is saved, or a store and its log.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "rows.hpp"

namespace iqdb_reliability {

/// How a reader knows a subject.
struct Description {
  std::string library;   ///< "SQLite"
  std::string version;   ///< empty where the library does not say
  std::string what;      ///< "log, left by a kill"
  std::string settings;  ///< where they are not those that it comes with
};

/// Each is used in processes of its own, which end without its destructor: that is the kill. What fails throws.
class Subject {
 public:
  Subject() = default;
  Subject(const Subject&) = delete;
  Subject& operator=(const Subject&) = delete;
  virtual ~Subject() = default;

  [[nodiscard]] virtual Description description() const = 0;

  /// Whether the file of this name is the one that is damaged.
  [[nodiscard]] virtual bool is_damaged(const std::string& name) const = 0;

  /// Takes over what is to be stored. All that can be done before it is stored is done here.
  virtual void gather(const Rows& rows) = 0;

  /// Stores what was gathered in an empty directory: a store acknowledges one row after the other as durable.
  virtual void make(const std::filesystem::path& directory) = 0;

  /// Opens what was made.
  virtual void open(const std::filesystem::path& directory) = 0;

  /// Puts what was gathered in the place of what lies there, durably and all at once as far as the subject knows how.
  virtual void replace() = 0;

  /// All that a load gives; `stored` is how many rows there were at most.
  [[nodiscard]] virtual State load(const std::filesystem::path& directory, std::uint64_t stored) = 0;
};

using Subjects = std::vector<std::unique_ptr<Subject>>;

void add_iqdb(Subjects& subjects);
void add_hnswlib(Subjects& subjects);
void add_faiss(Subjects& subjects);
void add_sqlite(Subjects& subjects);
void add_leveldb(Subjects& subjects);
void add_rocksdb(Subjects& subjects);
void add_lmdb(Subjects& subjects);

}  // namespace iqdb_reliability
