# IBM Z: 64 bits, big-endian. Debian's g++-s390x-linux-gnu and qemu-user-static.
set(CMAKE_SYSTEM_PROCESSOR s390x)
set(triplet s390x-linux-gnu)
set(flags "")
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-s390x-static -L /usr/${triplet})
include("${CMAKE_CURRENT_LIST_DIR}/debian_cross.cmake")
