# 64-bit Windows, with GCC and the runtime of mingw-w64, run by wine. Debian's g++-mingw-w64-x86-64-posix, libz-mingw-w64-dev, lld
# and wine64.
set(CMAKE_SYSTEM_NAME Windows)
set(CMAKE_SYSTEM_PROCESSOR x86_64)
set(triplet x86_64-w64-mingw32)
# Threads as POSIX has them: those of the other compiler, -win32, lack <thread> in GCC 12.
set(CMAKE_CXX_COMPILER ${triplet}-g++-posix)
set(CMAKE_RC_COMPILER ${triplet}-windres)
set(CMAKE_CROSSCOMPILING_EMULATOR /usr/lib/wine/wine64)

# Libraries that are only headers are looked for in the directory IQDB_PERSIST_FOREIGN_ROOT, which tests/windows/run fills from
# Debian's packages; zlib where its package has put it. What this machine has installed for itself is never taken instead.
set(IQDB_PERSIST_FOREIGN_ROOT "" CACHE PATH "Where packages of headers are unpacked")
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES IQDB_PERSIST_FOREIGN_ROOT)
set(CMAKE_FIND_ROOT_PATH /usr/${triplet} "${IQDB_PERSIST_FOREIGN_ROOT}")
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)

# Programs need no DLL but the system's.
set(ZLIB_USE_STATIC_LIBS ON)
set(CMAKE_EXE_LINKER_FLAGS_INIT -static)
set(CMAKE_CXX_LINKER_LAUNCHER "${CMAKE_CURRENT_LIST_DIR}/mingw/link")
