// Declares the templates that the library of iqdb::persist_compiled holds: those over the files of this system. A
// program that includes this header links them from the library and does not compile them again. Declares nothing if
// the program uses the headers only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>

#include "iqdb/persist/bytes/helper_threads.hpp"
#include "iqdb/persist/progress.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"
#include "iqdb/persist/storage/block_stream.hpp"
#include "iqdb/persist/storage/file_storage.hpp"
#include "iqdb/persist/storage/file_window.hpp"
#include "iqdb/persist/storage/parallel_read.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/checkpoint.hpp"
#include "iqdb/persist/wal/frame_reader.hpp"
#include "iqdb/persist/wal/log_guard.hpp"
#include "iqdb/persist/wal/new_log.hpp"
#include "iqdb/persist/wal/save_alone.hpp"
#include "iqdb/persist/wal/wal_reader.hpp"
#include "iqdb/persist/wal/wal_writer.hpp"

#if IQDB_PERSIST_COMPILED

// The library's own file defines these templates; every other file only declares them.
#ifdef IQDB_PERSIST_BUILDING
#define IQDB_PERSIST_EXTERN
#else
#define IQDB_PERSIST_EXTERN extern
#endif

namespace iqdb::inline IQDB_PERSIST_ABI {

IQDB_PERSIST_EXTERN template class FileHandle<NativeFileSystem>;
IQDB_PERSIST_EXTERN template class StoredFile<NativeFileSystem>;
IQDB_PERSIST_EXTERN template class FileLock<NativeFileSystem>;
IQDB_PERSIST_EXTERN template class FileLog<NativeFileSystem>;
IQDB_PERSIST_EXTERN template class TemporaryFile<NativeFileSystem>;
IQDB_PERSIST_EXTERN template class BasicFileStorage<NativeFileSystem>;

IQDB_PERSIST_EXTERN template std::uint32_t checksum_of(FileStorage::File&, std::uint64_t, std::size_t, HelperThreads*,
                                                       ProgressMeter&);
IQDB_PERSIST_EXTERN template void read_shared(FileStorage::File&, std::uint64_t, std::span<std::byte>, HelperThreads*,
                                              Crc32*);
IQDB_PERSIST_EXTERN template class BlockStream<FileStorage::Replacement>;
IQDB_PERSIST_EXTERN template class snapshot::SnapshotFile<FileStorage::File>;

IQDB_PERSIST_EXTERN template class FrameReader<FileStorage::File>;
IQDB_PERSIST_EXTERN template LogScan scan_log(FileStorage::File&, const Fingerprint&, std::size_t, HelperThreads*,
                                              BehindTheEnd, ProgressMeter*);
IQDB_PERSIST_EXTERN template class NewLog<FileStorage>;
IQDB_PERSIST_EXTERN template class LogWriter<FileStorage>;
IQDB_PERSIST_EXTERN template void begin_new_log(const Fingerprint&, FileStorage&, const std::filesystem::path&,
                                                OpenLog<FileStorage>&, bool, const PersistConfig&);
IQDB_PERSIST_EXTERN template bool refuse_log(FileStorage&, const std::filesystem::path&,
                                             const std::optional<Fingerprint>&, std::size_t, const FileStorage::Lock*);
IQDB_PERSIST_EXTERN template void save_alone::require_unchanged(FileStorage&, const std::filesystem::path&,
                                                                const std::optional<Fingerprint>&,
                                                                const FileStorage::Lock&);

}  // namespace iqdb

#undef IQDB_PERSIST_EXTERN

#endif  // IQDB_PERSIST_COMPILED
