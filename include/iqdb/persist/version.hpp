// The library's version, and the inline namespace that keeps differently configured programs apart.
#pragma once

#include "iqdb/persist/requirements.hpp"

#define IQDB_PERSIST_VERSION_MAJOR 0
#define IQDB_PERSIST_VERSION_MINOR 2
#define IQDB_PERSIST_VERSION_PATCH 0

// Which codecs the program is built with, and whether ISA-L computes its checksums instead of zlib. The build system
// sets each to 0 or 1 for the whole program; the default is 0.
#ifndef IQDB_PERSIST_HAS_ZSTD
#define IQDB_PERSIST_HAS_ZSTD 0
#endif
#ifndef IQDB_PERSIST_HAS_LZ4
#define IQDB_PERSIST_HAS_LZ4 0
#endif
#ifndef IQDB_PERSIST_HAS_ISAL
#define IQDB_PERSIST_HAS_ISAL 0
#endif

// Code that does not depend on the index type can be compiled once, into a library. The target iqdb::persist_compiled
// sets IQDB_PERSIST_COMPILED to 1 for the whole program. The headers then only declare the functions; the library's own
// files also define IQDB_PERSIST_BUILDING, and compile the definitions. By default the definitions are inline in every
// file.
#ifndef IQDB_PERSIST_COMPILED
#define IQDB_PERSIST_COMPILED 0
#endif
#if IQDB_PERSIST_COMPILED
#define IQDB_PERSIST_INLINE
#else
#define IQDB_PERSIST_INLINE inline
#endif
#if IQDB_PERSIST_COMPILED && !defined(IQDB_PERSIST_BUILDING)
#define IQDB_PERSIST_DEFINITIONS 0
#else
#define IQDB_PERSIST_DEFINITIONS 1
#endif

// Everything that depends on the codecs and ISA-L lives in an inline namespace named after them, for example
// with_zstd_lz4 or without_codecs_isal. Without it, two files built with different settings would share a name for
// different definitions, and the linker would pick either one. With it, what they pass to each other fails to link, and
// the error names the setting.
#if IQDB_PERSIST_HAS_ISAL
#define IQDB_PERSIST_ABI_OF(codecs) codecs##_isal
#else
#define IQDB_PERSIST_ABI_OF(codecs) codecs
#endif
#if IQDB_PERSIST_HAS_ZSTD && IQDB_PERSIST_HAS_LZ4
#define IQDB_PERSIST_ABI IQDB_PERSIST_ABI_OF(with_zstd_lz4)
#elif IQDB_PERSIST_HAS_ZSTD
#define IQDB_PERSIST_ABI IQDB_PERSIST_ABI_OF(with_zstd)
#elif IQDB_PERSIST_HAS_LZ4
#define IQDB_PERSIST_ABI IQDB_PERSIST_ABI_OF(with_lz4)
#else
#define IQDB_PERSIST_ABI IQDB_PERSIST_ABI_OF(without_codecs)
#endif
