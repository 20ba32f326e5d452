# Every header, from the bottom layer to the top: a header may include only headers that stand above it in this list, and of
# other floors only those that its own stands on. tests/compile/check_includes.cmake holds them to both, and says which
# floor stands on which.
set(iqdb_persist_headers
    # The ground: names that every floor uses.
    iqdb/persist/version.hpp
    iqdb/text.hpp
    iqdb/index_error.hpp
    iqdb/types.hpp
    iqdb/index.hpp
    iqdb/insert_overloads.hpp
    iqdb/persist/error.hpp
    iqdb/persist/config.hpp
    iqdb/persist/progress.hpp
    # Bytes: checksums, streams, buffers.
    iqdb/persist/bytes/checksum.hpp
    iqdb/persist/bytes/huge_pages.hpp
    iqdb/persist/bytes/aligned_buffer.hpp
    iqdb/persist/bytes/chunked_buffer.hpp
    iqdb/persist/bytes/helper_threads.hpp
    iqdb/persist/bytes/stream.hpp
    iqdb/persist/bytes/row_format.hpp
    # Codecs.
    iqdb/persist/codec/compression_scheme.hpp
    iqdb/persist/codec/codec.hpp
    iqdb/persist/codec/codec_workers.hpp
    iqdb/persist/codec/zstd_codec.hpp
    iqdb/persist/codec/lz4_block.hpp
    iqdb/persist/codec/lz4_codec.hpp
    iqdb/persist/codec/compression.hpp
    # Storage: what is asked of a store, and how files do it.
    iqdb/persist/storage/storage.hpp
    iqdb/persist/storage/file_system.hpp
    iqdb/persist/storage/posix_file_system.hpp
    iqdb/persist/storage/block_appender.hpp
    iqdb/persist/storage/file_storage.hpp
    iqdb/persist/storage/block_stream.hpp
    iqdb/persist/storage/parallel_read.hpp
    # Snapshots.
    iqdb/persist/persistable.hpp
    iqdb/persist/snapshot/snapshot_format.hpp
    iqdb/persist/snapshot/snapshot.hpp
    # The write-ahead log.
    iqdb/persist/wal/wal_format.hpp
    iqdb/persist/wal/wal_reader.hpp
    iqdb/persist/wal/wal_writer.hpp
    iqdb/persist/wal/recovery.hpp
    iqdb/persist/wal/log_guard.hpp
    # The face.
    iqdb/persist/inspect.hpp
    iqdb/persist/write_batch.hpp
    iqdb/persist/persisted_index.hpp
    iqdb/persist.hpp
    # Indexes.
    iqdb/index/support/argument_checks.hpp
    iqdb/index/support/distance.hpp
    iqdb/index/support/direction.hpp
    iqdb/index/support/slot_table.hpp
    iqdb/index/support/nearest.hpp
    iqdb/index/support/payload.hpp
    iqdb/index/support/slot_index.hpp
    iqdb/index/support/foreign_file.hpp
    iqdb/index/support/foreign_index.hpp
    iqdb/index/flat.hpp
    iqdb/index/hnswlib/config.hpp
    iqdb/index/hnswlib/library.hpp
    iqdb/index/hnswlib/graph.hpp
    iqdb/index/hnswlib/graph_reader.hpp
    iqdb/index/hnswlib/insertion.hpp
    iqdb/index/hnswlib/file.hpp
    iqdb/index/hnswlib.hpp
    iqdb/index/faiss/native.hpp
    iqdb/index/faiss/stream.hpp
    iqdb/index/faiss/part.hpp
    iqdb/index/faiss/flat_part.hpp
    iqdb/index/faiss/hnsw_graph.hpp
    iqdb/index/faiss/hnsw_insertion.hpp
    iqdb/index/faiss/hnsw_part.hpp
    iqdb/index/faiss/ivf_lists.hpp
    iqdb/index/faiss/ivf_part.hpp
    iqdb/index/faiss/parts.hpp
    iqdb/index/faiss/whole_index.hpp
    iqdb/index/faiss.hpp
    iqdb/index/usearch/config.hpp
    iqdb/index/usearch/stream_layout.hpp
    iqdb/index/usearch/checked_stream.hpp
    iqdb/index/usearch/output_stream.hpp
    iqdb/index/usearch/file_shape.hpp
    iqdb/index/usearch/workplaces.hpp
    iqdb/index/usearch/slot_graph.hpp
    iqdb/index/usearch.hpp
    # The laboratory and the conformance kit.
    iqdb/persist/testing/violation.hpp
    iqdb/persist/testing/random.hpp
    iqdb/persist/testing/subject.hpp
    iqdb/persist/testing/file_call.hpp
    iqdb/persist/testing/disk_model.hpp
    iqdb/persist/testing/simulated_file_system.hpp
    iqdb/persist/testing/crash_states.hpp
    iqdb/persist/testing/life.hpp
    iqdb/persist/testing/conformance_options.hpp
    iqdb/persist/testing/observation.hpp
    iqdb/persist/testing/random_mutations.hpp
    iqdb/persist/testing/round_trip_check.hpp
    iqdb/persist/testing/decoder_check.hpp
    iqdb/persist/testing/replay_check.hpp
    iqdb/persist/testing/oracle.hpp
    iqdb/persist/testing/life_run.hpp
    iqdb/persist/testing/crash_exploration.hpp
    iqdb/persist/testing/fault_exploration.hpp
    iqdb/persist/testing/crash_check.hpp
    iqdb/persist/testing/conformance.hpp)

# Paths of version 0.1 whose headers lie elsewhere now: deprecated/ has a header for each that includes the new one and says
# its path. They go with version 0.3.
set(iqdb_persist_deprecated_headers
    iqdb/index/distance.hpp
    iqdb/index/faiss_parts.hpp
    iqdb/index/faiss_stream.hpp
    iqdb/index/foreign_file.hpp
    iqdb/index/slot_table.hpp
    iqdb/index/usearch_stream.hpp
    iqdb/persist/aligned_buffer.hpp
    iqdb/persist/block_appender.hpp
    iqdb/persist/block_stream.hpp
    iqdb/persist/checksum.hpp
    iqdb/persist/chunked_buffer.hpp
    iqdb/persist/codec.hpp
    iqdb/persist/codec_workers.hpp
    iqdb/persist/compression.hpp
    iqdb/persist/file_storage.hpp
    iqdb/persist/file_system.hpp
    iqdb/persist/format.hpp
    iqdb/persist/helper_threads.hpp
    iqdb/persist/huge_pages.hpp
    iqdb/persist/log_guard.hpp
    iqdb/persist/lz4_block.hpp
    iqdb/persist/lz4_codec.hpp
    iqdb/persist/parallel_read.hpp
    iqdb/persist/recovery.hpp
    iqdb/persist/row_format.hpp
    iqdb/persist/snapshot.hpp
    iqdb/persist/storage.hpp
    iqdb/persist/stream.hpp
    iqdb/persist/wal_format.hpp
    iqdb/persist/wal_reader.hpp
    iqdb/persist/wal_writer.hpp
    iqdb/persist/zstd_codec.hpp)
