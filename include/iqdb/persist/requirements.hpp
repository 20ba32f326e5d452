// What the headers need of the compiler's settings: C++20 and exceptions.
//
// Every other header includes this one, itself or by another header, before it declares anything. Where something is
// missing, the compiler stops here with one reason instead of going on to thousands of errors.
#pragma once

#if defined(_MSVC_LANG) ? _MSVC_LANG <= 201703L : __cplusplus <= 201703L
#error "iqdb-persist needs C++20: compile with -std=c++20, with CMake link to iqdb::persist, with MSVC use /std:c++20"
#define IQDB_PERSIST_CANNOT_BE_COMPILED
#elif !defined(__cpp_exceptions) && !defined(_CPPUNWIND)
#error "iqdb-persist reports errors by exceptions: compile without -fno-exceptions, with MSVC use /EHsc"
#define IQDB_PERSIST_CANNOT_BE_COMPILED
#endif

// An #error does not end the compilation, but an include of a file that does not exist does.
#ifdef IQDB_PERSIST_CANNOT_BE_COMPILED
#include "the reason stands above"
#endif
