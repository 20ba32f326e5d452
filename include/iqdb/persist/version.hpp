// The library's version, and the inline namespace that keeps differently configured programs apart.
#pragma once

#define IQDB_PERSIST_VERSION_MAJOR 0
#define IQDB_PERSIST_VERSION_MINOR 1
#define IQDB_PERSIST_VERSION_PATCH 0

// Which codecs the program is built with, and whether ISA-L computes its checksums instead of zlib: 0 or 1, set for the
// whole program by the build system, 0 if it says nothing.
#ifndef IQDB_PERSIST_HAS_ZSTD
#define IQDB_PERSIST_HAS_ZSTD 0
#endif
#ifndef IQDB_PERSIST_HAS_LZ4
#define IQDB_PERSIST_HAS_LZ4 0
#endif
#ifndef IQDB_PERSIST_HAS_ISAL
#define IQDB_PERSIST_HAS_ISAL 0
#endif

// Everything that depends on these lives in an inline namespace named after them, say with_zstd_lz4 or
// without_codecs_isal. Two files built with different settings then do not share one definition of which the linker
// picks either: what they pass to each other fails to link, with the setting in the name.
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
