# 32-bit ARM with floating-point hardware. Debian's g++-arm-linux-gnueabihf and qemu-user-static.
set(CMAKE_SYSTEM_PROCESSOR armv7l)
set(triplet arm-linux-gnueabihf)
# GCC explains with each vector that is passed by value that it is passed otherwise than GCC 6 did.
set(flags "-D_FILE_OFFSET_BITS=64 -Wno-psabi")
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-arm-static -L /usr/${triplet})
include("${CMAKE_CURRENT_LIST_DIR}/debian_cross.cmake")
