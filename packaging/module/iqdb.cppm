// The module iqdb: what <iqdb/persist.hpp>, <iqdb/persist/shared_index.hpp>, <iqdb/persist/follower.hpp> and <iqdb/index/flat.hpp> give
// to users, for programs that import instead of including.
//
// A module exports no macros: a program that asks for IQDB_PERSIST_VERSION_MAJOR or IQDB_PERSIST_HAS_ZSTD includes
// <iqdb/persist/version.hpp> beside the import. The settings with which this file is compiled hold for all that import it.
//
// What is not exported here (the building blocks below the interface, the adapters, the test kit) is included as a header. A file may
// do both: headers first, then the import.
module;

#include <iqdb/index/flat.hpp>
#include <iqdb/persist.hpp>
#include <iqdb/persist/follower.hpp>
#include <iqdb/persist/shared_index.hpp>

export module iqdb;

export namespace iqdb {

// Indexes: vectors, identifiers, metadata, search, and what an index must offer.
using iqdb::copied;
using iqdb::IndexError;
using iqdb::IndexErrorKind;
using iqdb::printable;
using iqdb::to_string;
using iqdb::VectorId;
using iqdb::operator<<;
using iqdb::AdmitsEvery;
using iqdb::ChecksErase;
using iqdb::ChecksInsert;
using iqdb::ChecksUpdateMetadata;
using iqdb::ChecksUpsert;
using iqdb::ChecksVector;
using iqdb::ConcurrentReads;
using iqdb::DistanceMetric;
using iqdb::Erasable;
using iqdb::explain_index;
using iqdb::FreezesByFork;
using iqdb::GivesContent;
using iqdb::HasDim;
using iqdb::HasMetric;
using iqdb::HasSize;
using iqdb::Hit;
using iqdb::IdRange;
using iqdb::Index;
using iqdb::Insertable;
using iqdb::InsertedRows;
using iqdb::InsertOverloads;
using iqdb::InsertsMany;
using iqdb::is_valid;
using iqdb::LentThreads;
using iqdb::make_value;
using iqdb::Metadata;
using iqdb::missing_of_index;
using iqdb::MistakenForIndex;
using iqdb::Null;
using iqdb::Searchable;
using iqdb::SearchableIndex;
using iqdb::SearchesMany;
using iqdb::SearchFilter;
using iqdb::SearchOverloads;
using iqdb::SearchParams;
using iqdb::SearchPredicate;
using iqdb::StoredVector;
using iqdb::TakesLogged;
using iqdb::TrustsNothing;
using iqdb::UpdatesMetadata;
using iqdb::Upsertable;
using iqdb::UpsertOverloads;
using iqdb::Value;

// FlatIndex.
using iqdb::distance;
using iqdb::FlatIndex;

// Persistence: the classes, their settings, errors and reports.
using iqdb::BackupInfo;
using iqdb::BackupOptions;
using iqdb::BatchError;
using iqdb::CheckpointPolicy;
using iqdb::Compression;
using iqdb::DurationCounts;
using iqdb::Event;
using iqdb::FileHeader;
using iqdb::FileStorage;
using iqdb::FileStorageOptions;
using iqdb::Follower;
using iqdb::FollowerStats;
using iqdb::Freezing;
using iqdb::FsyncPolicy;
using iqdb::HistoryPolicy;
using iqdb::IndexReport;
using iqdb::inspect_index;
using iqdb::inspect_log;
using iqdb::InspectOptions;
using iqdb::LogReport;
using iqdb::most_buffer_bytes;
using iqdb::Mutation;
using iqdb::PersistConfig;
using iqdb::PersistedIndex;
using iqdb::Progress;
using iqdb::read_header;
using iqdb::RecoveryReport;
using iqdb::SharedIndex;
using iqdb::SnapshotInfo;
using iqdb::SnapshotReport;
using iqdb::Stats;
using iqdb::verify_snapshot;
using iqdb::WaitingThreads;
using iqdb::WriteBatch;

// Errors.
using iqdb::path_text;
using iqdb::PersistError;
using iqdb::PersistErrorKind;

// What an index of your own uses to be durable.
using iqdb::advise_huge_pages;
using iqdb::check_storable;
using iqdb::ChecksPayload;
using iqdb::DefaultInitialising;
using iqdb::explain_persistable;
using iqdb::HasIndexType;
using iqdb::HasLoadFrom;
using iqdb::HasSaveTo;
using iqdb::huge_page_bytes;
using iqdb::HugePageAllocator;
using iqdb::is_index_type;
using iqdb::LoadsItself;
using iqdb::NamesItself;
using iqdb::PayloadFacts;
using iqdb::Persistable;
using iqdb::persisted_dim;
using iqdb::persisted_metric;
using iqdb::persisted_size;
using iqdb::PersistTraits;
using iqdb::read_id;
using iqdb::read_metadata;
using iqdb::Reader;
using iqdb::SavesItself;
using iqdb::SkipsVectors;
using iqdb::smallest_huge_allocation;
using iqdb::smallest_id_bytes;
using iqdb::smallest_metadata_bytes;
using iqdb::TraitsHaveDim;
using iqdb::TraitsHaveMetric;
using iqdb::TraitsHaveSize;
using iqdb::write_id;
using iqdb::write_metadata;
using iqdb::Writer;

}  // namespace iqdb
