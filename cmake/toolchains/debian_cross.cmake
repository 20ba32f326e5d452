# The common part of the toolchain files beside this one: GCC of Debian for another processor, and an emulator that runs what it
# makes. Each sets these before it includes this file:
#
#   CMAKE_SYSTEM_PROCESSOR  its name, as `uname -m` gives it
#   triplet                 its name in Debian's directories, and with a dash before its tools
#   flags                   what its compiler must be told
#
# Foreign libraries are looked for in the directory IQDB_PERSIST_FOREIGN_ROOT alone, which tests/processors/run fills from Debian's
# packages: what this machine has installed for itself is never taken instead.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_CXX_COMPILER ${triplet}-g++)

set(IQDB_PERSIST_FOREIGN_ROOT "" CACHE PATH "Where the packages of the other processor are unpacked")
# Compilers are tried in projects of their own, which must find the same.
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES IQDB_PERSIST_FOREIGN_ROOT)
set(CMAKE_FIND_ROOT_PATH "${IQDB_PERSIST_FOREIGN_ROOT}")
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(CMAKE_LIBRARY_ARCHITECTURE ${triplet})
# Shared libraries are links into packages that are not needed for anything else.
set(CMAKE_FIND_LIBRARY_SUFFIXES .a)

# A few headers differ between processors (<zconf.h>); the others are found by their packages.
set(CMAKE_CXX_FLAGS_INIT "${flags} -isystem ${IQDB_PERSIST_FOREIGN_ROOT}/usr/include/${triplet}")
