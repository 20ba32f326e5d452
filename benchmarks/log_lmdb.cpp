// LMDB with its settings as they come: each transaction is durable.
#include <lmdb.h>

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <string>

#include "benchmarks.hpp"
#include "inserts.hpp"

namespace iqdb_benchmarks {

namespace {

class Lmdb {
 public:
  explicit Lmdb(const InsertPlan& plan) : plan_(plan) {
    MDB_env* made = nullptr;
    check(mdb_env_create(&made), "create");
    environment_.reset(made);
    // The largest it may become; a page of 4096 bytes takes 7 records.
    const std::uint64_t largest = 2 * plan.bytes() + plan.commits * 16 * 4096 + (std::uint64_t{64} << 20U);
    check(mdb_env_set_mapsize(made, static_cast<std::size_t>(largest)), "set_mapsize");
    check(mdb_env_open(made, plan.directory.c_str(), 0, 0644), "open");
    Transaction transaction = begin(0);
    check(mdb_dbi_open(transaction.get(), nullptr, MDB_INTEGERKEY, &database_), "dbi_open");
    end(transaction);
  }

  void commit(std::uint64_t first_key) {
    Transaction transaction = begin(0);
    for (std::uint64_t key = first_key; key < first_key + plan_.batch; ++key) {
      const auto value = records_.value(key);
      std::uint64_t number = key;
      MDB_val key_value{.mv_size = sizeof(number), .mv_data = &number};
      // It is only read: LMDB's interface has no const.
      MDB_val content{.mv_size = value.size(),
                      .mv_data = const_cast<std::byte*>(value.data())};  // NOLINT(*-const-cast)
      // Keys ascend, and LMDB is faster when told so.
      check(mdb_put(transaction.get(), database_, &key_value, &content, MDB_APPEND), "put");
    }
    end(transaction);
  }

  void finish(std::uint64_t next_key) {
    const Transaction transaction = begin(MDB_RDONLY);
    MDB_stat statistics{};
    check(mdb_stat(transaction.get(), database_, &statistics), "stat");
    if (statistics.ms_entries != next_key) {
      throw std::runtime_error("LMDB does not hold what was inserted");
    }
  }

 private:
  struct Close {
    void operator()(MDB_env* environment) const { mdb_env_close(environment); }
  };

  // Aborted unless it was ended.
  class Transaction {
   public:
    explicit Transaction(MDB_txn* transaction) : transaction_(transaction) {}
    Transaction(const Transaction&) = delete;
    Transaction& operator=(const Transaction&) = delete;
    ~Transaction() {
      if (transaction_ != nullptr) {
        mdb_txn_abort(transaction_);
      }
    }
    [[nodiscard]] MDB_txn* get() const { return transaction_; }
    [[nodiscard]] MDB_txn* release() { return std::exchange(transaction_, nullptr); }

   private:
    MDB_txn* transaction_;
  };

  static void check(int result, const char* what) {
    if (result != MDB_SUCCESS) {
      throw std::runtime_error(std::string("LMDB: ") + what + ": " + mdb_strerror(result));
    }
  }

  [[nodiscard]] Transaction begin(unsigned flags) {
    MDB_txn* transaction = nullptr;
    check(mdb_txn_begin(environment_.get(), nullptr, flags, &transaction), "begin");
    return Transaction(transaction);
  }

  static void end(Transaction& transaction) { check(mdb_txn_commit(transaction.release()), "commit"); }

  InsertPlan plan_;
  Records records_;
  std::unique_ptr<MDB_env, Close> environment_;
  MDB_dbi database_ = 0;
};

}  // namespace

void add_lmdb(const Options& options) {
  int major = 0;
  int minor = 0;
  int patch = 0;
  mdb_version(&major, &minor, &patch);
  benchmark::AddCustomContext("peer LMDB",
                              std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(patch));
  add_durable_inserts<Lmdb>("LMDB", options);
}

}  // namespace iqdb_benchmarks
