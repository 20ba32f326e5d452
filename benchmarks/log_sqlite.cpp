// SQLite with its write-ahead log, synced at each commit.
#include <sqlite3.h>

#include <memory>
#include <stdexcept>
#include <string>

#include "benchmarks.hpp"
#include "inserts.hpp"

namespace iqdb_benchmarks {

namespace {

class Sqlite {
 public:
  explicit Sqlite(const InsertPlan& plan) : plan_(plan) {
    sqlite3* opened = nullptr;
    const int result = sqlite3_open((plan.directory / "records.sqlite").c_str(), &opened);
    database_.reset(opened);
    check(result, "open");
    if (text_of("PRAGMA journal_mode=WAL") != "wal") {
      throw std::runtime_error("SQLite has no write-ahead log here");
    }
    run("PRAGMA synchronous=FULL");
    run("CREATE TABLE records (key INTEGER PRIMARY KEY, value BLOB NOT NULL)");
    begin_ = prepare("BEGIN");
    insert_ = prepare("INSERT INTO records VALUES (?, ?)");
    commit_ = prepare("COMMIT");
  }

  void commit(std::uint64_t first_key) {
    // A single INSERT is a transaction by itself.
    if (plan_.batch > 1) {
      step(begin_);
    }
    for (std::uint64_t key = first_key; key < first_key + plan_.batch; ++key) {
      const auto value = records_.value(key);
      check(sqlite3_bind_int64(insert_.get(), 1, static_cast<sqlite3_int64>(key)), "bind");
      check(sqlite3_bind_blob(insert_.get(), 2, value.data(), static_cast<int>(value.size()), nullptr), "bind");
      step(insert_);
    }
    if (plan_.batch > 1) {
      step(commit_);
    }
  }

  void finish(std::uint64_t next_key) {
    if (text_of("SELECT count(*) FROM records") != std::to_string(next_key)) {
      throw std::runtime_error("SQLite does not hold what was inserted");
    }
  }

 private:
  struct Close {
    void operator()(sqlite3* database) const { sqlite3_close(database); }
  };
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
  };
  using Statement = std::unique_ptr<sqlite3_stmt, Finalize>;

  void check(int result, const char* what) const {
    if (result != SQLITE_OK) {
      throw std::runtime_error(std::string("SQLite: ") + what + ": " + sqlite3_errmsg(database_.get()));
    }
  }

  void run(const char* sql) { check(sqlite3_exec(database_.get(), sql, nullptr, nullptr, nullptr), sql); }

  Statement prepare(const char* sql) {
    sqlite3_stmt* statement = nullptr;
    check(sqlite3_prepare_v2(database_.get(), sql, -1, &statement, nullptr), sql);
    return Statement(statement);
  }

  std::string text_of(const char* sql) {
    const Statement statement = prepare(sql);
    if (sqlite3_step(statement.get()) != SQLITE_ROW) {
      throw std::runtime_error(std::string("SQLite: ") + sql + " gives nothing");
    }
    return {reinterpret_cast<const char*>(sqlite3_column_text(statement.get(), 0)),  // NOLINT(*-reinterpret-cast)
            static_cast<std::size_t>(sqlite3_column_bytes(statement.get(), 0))};
  }

  void step(const Statement& statement) {
    if (sqlite3_step(statement.get()) != SQLITE_DONE) {
      throw std::runtime_error(std::string("SQLite: ") + sqlite3_errmsg(database_.get()));
    }
    check(sqlite3_reset(statement.get()), "reset");
  }

  InsertPlan plan_;
  Records records_;
  std::unique_ptr<sqlite3, Close> database_;
  Statement begin_;
  Statement insert_;
  Statement commit_;
};

}  // namespace

void add_sqlite(const Options& options) {
  benchmark::AddCustomContext("peer SQLite", sqlite3_libversion());
  add_durable_inserts<Sqlite>("SQLite", options);
}

}  // namespace iqdb_benchmarks
