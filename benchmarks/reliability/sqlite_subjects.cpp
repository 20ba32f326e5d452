// SQLite: its database file as it comes, and its write-ahead log.
#include <sqlite3.h>

#include <stdexcept>

#include "subject.hpp"

namespace iqdb_reliability {

namespace {

enum class Journal : std::uint8_t { rollback, write_ahead };

class Sqlite : public Subject {
 public:
  explicit Sqlite(Journal journal) : journal_(journal) {}

  [[nodiscard]] Description description() const override {
    const bool is_log = journal_ == Journal::write_ahead;
    return {.library = "SQLite",
            .version = sqlite3_libversion(),
            .what = is_log ? "log, left by a kill" : "database file",
            .settings = is_log ? "journal_mode=WAL, synchronous=FULL" : ""};
  }
  [[nodiscard]] bool is_damaged(const std::string& name) const override {
    return name == (journal_ == Journal::write_ahead ? "store.sqlite-wal" : "store.sqlite");
  }
  void gather(const Rows& rows) override { rows_ = rows; }
  void make(const std::filesystem::path& directory) override {
    open(directory);
    run("CREATE TABLE vectors (key INTEGER PRIMARY KEY, vector BLOB NOT NULL)");
    if (journal_ == Journal::write_ahead) {
      run("PRAGMA wal_checkpoint(TRUNCATE)");  // the log then holds the vectors, and the table is not lost with them
    }
    for (const auto& row : rows_) {
      put(row);
    }
    if (journal_ == Journal::rollback) {
      database_.reset();
    }
  }
  void open(const std::filesystem::path& directory) override {
    open_file(directory);
    if (journal_ == Journal::write_ahead) {
      run("PRAGMA journal_mode=WAL");
      run("PRAGMA synchronous=FULL");
    }
  }
  void replace() override {
    run("BEGIN");
    for (const auto& row : rows_) {
      put(row);
    }
    run("COMMIT");
  }
  [[nodiscard]] State load(const std::filesystem::path& directory, std::uint64_t /*stored*/) override {
    open_file(directory);
    const Statement select = prepare("SELECT key, vector FROM vectors");
    State state;
    int result = sqlite3_step(select.get());
    for (; result == SQLITE_ROW; result = sqlite3_step(select.get())) {
      const auto key = static_cast<std::uint64_t>(sqlite3_column_int64(select.get(), 0));
      const auto* value = static_cast<const char*>(sqlite3_column_blob(select.get(), 1));
      const auto size = static_cast<std::size_t>(sqlite3_column_bytes(select.get(), 1));
      add_row(state, bytes_of(&key), {value, value == nullptr ? 0 : size});
    }
    check(result == SQLITE_DONE ? SQLITE_OK : result, "SELECT");
    return state;
  }

 private:
  struct Close {
    void operator()(sqlite3* database) const { sqlite3_close(database); }
  };
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
  };
  using Statement = std::unique_ptr<sqlite3_stmt, Finalize>;

  void open_file(const std::filesystem::path& directory) {
    sqlite3* opened = nullptr;
    const int result = sqlite3_open((directory / "store.sqlite").c_str(), &opened);
    database_.reset(opened);
    check(result, "open");
  }

  void check(int result, const char* what) const {
    if (result != SQLITE_OK) {
      throw std::runtime_error(std::string("SQLite: ") + what + ": " + sqlite3_errmsg(database_.get()));
    }
  }

  void run(const char* sql) const { check(sqlite3_exec(database_.get(), sql, nullptr, nullptr, nullptr), sql); }

  [[nodiscard]] Statement prepare(const char* sql) const {
    sqlite3_stmt* statement = nullptr;
    check(sqlite3_prepare_v2(database_.get(), sql, -1, &statement, nullptr), sql);
    return Statement(statement);
  }

  void put(const Rows::value_type& row) const {
    const Statement insert = prepare("INSERT OR REPLACE INTO vectors VALUES (?, ?)");
    const std::string_view value = bytes_of(row.second.data(), row.second.size());
    check(sqlite3_bind_int64(insert.get(), 1, static_cast<sqlite3_int64>(row.first)), "bind");
    check(sqlite3_bind_blob(insert.get(), 2, value.data(), static_cast<int>(value.size()), nullptr), "bind");
    const int result = sqlite3_step(insert.get());
    check(result == SQLITE_DONE ? SQLITE_OK : result, "INSERT");
  }

  Journal journal_;
  Rows rows_;
  std::unique_ptr<sqlite3, Close> database_;
};

}  // namespace

void add_sqlite(Subjects& subjects) {
  subjects.push_back(std::make_unique<Sqlite>(Journal::rollback));
  subjects.push_back(std::make_unique<Sqlite>(Journal::write_ahead));
}

}  // namespace iqdb_reliability
