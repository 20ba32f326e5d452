// Everything of persistence that needs no third-party index: PersistedIndex and what it is made of.
#pragma once

#include "iqdb/index.hpp"
#include "iqdb/persist/checksum.hpp"
#include "iqdb/persist/compression.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/file_storage.hpp"
#include "iqdb/persist/file_system.hpp"
#include "iqdb/persist/format.hpp"
#include "iqdb/persist/inspect.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/persisted_index.hpp"
#include "iqdb/persist/snapshot.hpp"
#include "iqdb/persist/storage.hpp"
#include "iqdb/persist/stream.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"
