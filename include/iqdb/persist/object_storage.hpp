// An index on an object store, for PersistedIndex, SharedIndex and Follower:
//
//     iqdb::SharedIndex<MyIndex, iqdb::ObjectStorage<MyStore>>
//
// Include the header of the store beside it. docs/object-store.md has an example, and the rules by which it works.
#pragma once

#include "iqdb/persist/wal/followed_object_log.hpp"
#include "iqdb/persist/wal/object_storage.hpp"
