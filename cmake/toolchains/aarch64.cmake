# 64-bit ARM. Debian's g++-aarch64-linux-gnu and qemu-user-static.
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(triplet aarch64-linux-gnu)
set(flags "")
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64-static -L /usr/${triplet})
include("${CMAKE_CURRENT_LIST_DIR}/debian_cross.cmake")
