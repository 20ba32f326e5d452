// The log of LevelDB, and of RocksDB, which began as LevelDB and has kept its interface.
#pragma once

#include <memory>
#include <stdexcept>
#include <string>

#include "subject.hpp"

namespace iqdb_reliability {

/// The log of either. `Api` names it and its types: name, version(), DB, Options, ReadOptions, WriteOptions,
/// WriteBatch, Status; strict_settings, and strict(options), which sets them.
template <class Api>
class LevelDbLog : public Subject {
 public:
  explicit LevelDbLog(bool strict) : strict_(strict) {}

  [[nodiscard]] Description description() const override {
    return {.library = Api::name,
            .version = Api::version(),
            .what = "log, left by a kill",
            .settings = strict_ ? Api::strict_settings : ""};
  }
  [[nodiscard]] bool is_damaged(const std::string& name) const override { return name.ends_with(".log"); }
  void gather(const Rows& rows) override { rows_ = rows; }
  void make(const std::filesystem::path& directory) override {
    open(directory);
    for (const auto& row : rows_) {
      typename Api::WriteBatch batch;
      put(batch, row);
      write(batch);
    }
  }
  void open(const std::filesystem::path& directory) override {
    typename Api::Options options;
    options.create_if_missing = true;
    if (strict_) {
      Api::strict(options);
    }
    typename Api::DB* opened = nullptr;
    check(Api::DB::Open(options, directory.string(), &opened));
    database_.reset(opened);
  }
  void replace() override {
    typename Api::WriteBatch batch;
    for (const auto& row : rows_) {
      put(batch, row);
    }
    write(batch);
  }
  [[nodiscard]] State load(const std::filesystem::path& directory, std::uint64_t /*stored*/) override {
    open(directory);
    State state;
    typename Api::ReadOptions options;
    options.verify_checksums = true;
    const std::unique_ptr rows(std::unique_ptr<typename Api::Iterator>(database_->NewIterator(options)));
    for (rows->SeekToFirst(); rows->Valid(); rows->Next()) {
      add_row(state, {rows->key().data(), rows->key().size()}, {rows->value().data(), rows->value().size()});
    }
    check(rows->status());
    return state;
  }

 private:
  static void check(const typename Api::Status& status) {
    if (!status.ok()) {
      throw std::runtime_error(std::string(Api::name) + ": " + status.ToString());
    }
  }

  static void put(typename Api::WriteBatch& batch, const Rows::value_type& row) {
    const std::string_view key = bytes_of(&row.first);
    const std::string_view value = bytes_of(row.second.data(), row.second.size());
    batch.Put({key.data(), key.size()}, {value.data(), value.size()});
  }

  void write(typename Api::WriteBatch& batch) {
    typename Api::WriteOptions synced;
    synced.sync = true;
    check(database_->Write(synced, &batch));
  }

  bool strict_;
  Rows rows_;
  std::unique_ptr<typename Api::DB> database_;
};

/// Adds it with the settings that it comes with, and with those that let less pass.
template <class Api>
void add_leveldb_logs(Subjects& subjects) {
  for (const bool strict : {false, true}) {
    subjects.push_back(std::make_unique<LevelDbLog<Api>>(strict));
  }
}

}  // namespace iqdb_reliability
