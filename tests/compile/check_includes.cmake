# Checks what each header includes, in the order of the layers:
#
# - of this library's headers only those of layers below it, so that no two can ever include each other;
# - of other libraries' headers none, but for the few that exist to wrap one;
# - of the standard library's, none that prints.
#
#   cmake -DINCLUDE=<directory> -DHEADERS=<file: one header a line, from the bottom layer up> -P check_includes.cmake
cmake_minimum_required(VERSION 3.25)

# Who may include what beside the standard library, as patterns. The system's own headers have the system layer to
# themselves, but for the one hint about memory; nothing else may know which system it is.
set(allowed_in_iqdb/persist/checksum.hpp "(zlib|isa-l/crc)\\.h")
set(allowed_in_iqdb/persist/zstd_codec.hpp "zstd\\.h")
set(allowed_in_iqdb/persist/lz4_codec.hpp "(lz4|lz4frame)\\.h")
set(allowed_in_iqdb/index/hnswlib.hpp "hnswlib/hnswlib\\.h")
set(allowed_in_iqdb/index/faiss_stream.hpp "(faiss/[A-Za-z_/]+|omp)\\.h")
set(allowed_in_iqdb/index/faiss_parts.hpp "(faiss/[A-Za-z_/]+|omp)\\.h")
set(allowed_in_iqdb/index/faiss.hpp "(faiss/[A-Za-z_/]+|omp)\\.h")
set(allowed_in_iqdb/index/usearch_stream.hpp "usearch/index_dense\\.hpp")
set(allowed_in_iqdb/index/usearch.hpp "usearch/index_dense\\.hpp")
set(allowed_in_iqdb/persist/huge_pages.hpp "sys/mman\\.h")
set(allowed_in_iqdb/persist/file_system.hpp "(fcntl|unistd|pthread|sys/[a-z]+|linux/[a-z]+)\\.h")

# Headers that deal in bytes alone have no business with files and threads.
set(codec_headers iqdb/text.hpp iqdb/persist/checksum.hpp iqdb/persist/huge_pages.hpp iqdb/persist/stream.hpp
                  iqdb/persist/row_format.hpp iqdb/persist/codec.hpp iqdb/persist/zstd_codec.hpp iqdb/persist/lz4_block.hpp
                  iqdb/persist/lz4_codec.hpp iqdb/persist/compression.hpp iqdb/persist/format.hpp)


file(STRINGS "${HEADERS}" headers)
set(below "")
foreach(header IN LISTS headers)
  file(STRINGS "${INCLUDE}/${header}" lines REGEX "^[ \t]*#[ \t]*include")
  foreach(line IN LISTS lines)
    if(NOT line MATCHES "include[ \t]*([<\"])([^>\"]+)[>\"]")
      message(SEND_ERROR "${header}: cannot read: ${line}")
      continue()
    endif()
    set(quote "${CMAKE_MATCH_1}")
    set(included "${CMAKE_MATCH_2}")

    if(quote STREQUAL "\"")
      if(included STREQUAL header OR NOT included IN_LIST headers)
        message(SEND_ERROR "${header} includes \"${included}\", which is not one of the library's other headers")
      elseif(NOT included IN_LIST below)
        message(SEND_ERROR "${header} includes ${included}, which is in a layer above it")
      endif()
    elseif(included MATCHES "^iqdb/")
      message(SEND_ERROR "${header} includes <${included}>: the library's own headers are included with quotes")
    elseif(included MATCHES "^[a-z_]+$") # a header of the standard library: those have no extension
      if(included MATCHES "^(iostream|cstdio|print)$")
        message(SEND_ERROR "${header} includes <${included}>: the library prints nothing")
      elseif(header IN_LIST codec_headers AND included MATCHES "^(filesystem|fstream|thread)$")
        message(SEND_ERROR "${header} includes <${included}>: it deals in bytes, not in files or threads")
      endif()
    elseif(NOT DEFINED allowed_in_${header} OR NOT included MATCHES "^${allowed_in_${header}}$")
      message(SEND_ERROR "${header} includes <${included}>: only the headers that wrap it may do that")
    endif()
  endforeach()
  list(APPEND below ${header})
endforeach()
