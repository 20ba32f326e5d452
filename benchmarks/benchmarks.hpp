// What each file of this directory adds to the program.
#pragma once

#include <string>

#include "options.hpp"

namespace iqdb_benchmarks {

void add_log_anchors(const Options& options);
void add_iqdb_inserts(const Options& options);
void add_concurrent_log(const Options& options);
void add_concurrent_use(const Options& options);
void add_beside_writer(const Options& options);
void add_sqlite(const Options& options);
void add_rocksdb(const Options& options);
void add_leveldb(const Options& options);
void add_lmdb(const Options& options);

void add_snapshot_anchors(const Options& options);
void add_codecs(const Options& options);
void add_iqdb_snapshots(const Options& options);
void add_faiss(const Options& options);
void add_hnswlib(const Options& options);
void add_joint_faiss(const Options& options);
void add_joint_hnswlib(const Options& options);

void add_replay(const Options& options);
void add_scale(const Options& options);

/// Does one job of the scale benchmarks in this process, and prints what it found.
void run_scale_job(const Options& options);

}  // namespace iqdb_benchmarks
