// LMDB: its data file, which is its only one.
#include <lmdb.h>

#include <stdexcept>

#include "subject.hpp"

namespace iqdb_reliability {

namespace {

class Lmdb : public Subject {
 public:
  [[nodiscard]] Description description() const override {
    int major = 0;
    int minor = 0;
    int patch = 0;
    mdb_version(&major, &minor, &patch);
    return {.library = "LMDB",
            .version = std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(patch),
            .what = "data file",
            .settings = ""};
  }
  [[nodiscard]] bool is_damaged(const std::string& name) const override { return name == "data.mdb"; }
  void gather(const Rows& rows) override { rows_ = rows; }
  void make(const std::filesystem::path& directory) override {
    open(directory);
    for (const auto& row : rows_) {
      MDB_txn* const transaction = begin(0);
      put(transaction, row);
      check(mdb_txn_commit(transaction), "commit");
    }
    mdb_env_close(environment_);
  }
  void open(const std::filesystem::path& directory) override {
    check(mdb_env_create(&environment_), "create");
    check(mdb_env_set_mapsize(environment_, std::size_t{16} << 20U), "set_mapsize");
    check(mdb_env_open(environment_, directory.c_str(), 0, 0644), "open");
  }
  void replace() override {
    MDB_txn* const transaction = begin(0);
    for (const auto& row : rows_) {
      put(transaction, row);
    }
    check(mdb_txn_commit(transaction), "commit");
  }
  [[nodiscard]] State load(const std::filesystem::path& directory, std::uint64_t stored) override {
    open(directory);
    MDB_txn* const transaction = begin(MDB_RDONLY);
    MDB_cursor* cursor = nullptr;
    check(mdb_cursor_open(transaction, rows_of(transaction), &cursor), "cursor");
    State state;
    MDB_val key{};
    MDB_val value{};
    int result = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
    for (std::uint64_t read = 0; result == MDB_SUCCESS && read < too_many(stored); ++read) {
      add_row(state, text_of(key), text_of(value));
      result = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    if (result != MDB_NOTFOUND) {
      check(result, "read");
    }
    return state;
  }

 private:
  static void check(int result, const char* what) {
    if (result != MDB_SUCCESS) {
      throw std::runtime_error(std::string("LMDB: ") + what + ": " + mdb_strerror(result));
    }
  }

  static std::string_view text_of(const MDB_val& value) {
    return {static_cast<const char*>(value.mv_data), value.mv_size};
  }

  [[nodiscard]] MDB_txn* begin(unsigned flags) const {
    MDB_txn* transaction = nullptr;
    check(mdb_txn_begin(environment_, nullptr, flags, &transaction), "begin");
    return transaction;
  }

  static MDB_dbi rows_of(MDB_txn* transaction) {
    MDB_dbi rows = 0;
    check(mdb_dbi_open(transaction, nullptr, 0, &rows), "dbi_open");
    return rows;
  }

  static void put(MDB_txn* transaction, const Rows::value_type& row) {
    // They are only read: LMDB's interface has no const.
    std::uint64_t number = row.first;
    std::vector<float> vector = row.second;
    MDB_val key{.mv_size = sizeof(number), .mv_data = &number};
    MDB_val value{.mv_size = vector.size() * sizeof(float), .mv_data = vector.data()};
    check(mdb_put(transaction, rows_of(transaction), &key, &value, 0), "put");
  }

  Rows rows_;
  MDB_env* environment_ = nullptr;  // never freed: its process ends
};

}  // namespace

void add_lmdb(Subjects& subjects) { subjects.push_back(std::make_unique<Lmdb>()); }

}  // namespace iqdb_reliability
