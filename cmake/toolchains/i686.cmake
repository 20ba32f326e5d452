# 32-bit x86, whose floats are computed by an x87. Debian's g++-i686-linux-gnu; most kernels for x86-64 run it without an emulator.
set(CMAKE_SYSTEM_PROCESSOR i686)
set(triplet i686-linux-gnu)
set(flags "-D_FILE_OFFSET_BITS=64")
# The system's own 32-bit libraries need not be installed.
set(libraries /usr/${triplet}/lib)
set(CMAKE_EXE_LINKER_FLAGS_INIT "-Wl,--dynamic-linker=${libraries}/ld-linux.so.2 -Wl,-rpath,${libraries}")
include("${CMAKE_CURRENT_LIST_DIR}/debian_cross.cmake")
