# Checks what each header includes:
#
# - of this library's headers only those above it in the list, so that no two can ever include each other, and of other
#   floors only those that its own floor stands on;
# - of other libraries' headers none, but for the few that exist to wrap one;
# - of the standard library's, none that prints.
#
# - Each includes requirements.hpp, itself or by another header, so that a compiler with wrong settings stops there.
# - No header has more than 400 lines: what grew beyond that holds more than one idea.
#
#   cmake -DINCLUDE=<directory> -DHEADERS=<file: one header a line, from the bottom layer up> [-DEDGES=<file>]
#         -P check_includes.cmake
#
# EDGES is written: a line "floor header lines" for each header, and a line "floor header > floor header" for each include. The
# picture in docs/architecture.md is drawn from it.
cmake_minimum_required(VERSION 3.25)

# Who may include what beside the standard library, as patterns. The system's own headers have the system layer to
# themselves, but for the one hint about memory, for the number of the process and for random bytes; nothing else may know which system it is.
set(allowed_in_iqdb/persist/bytes/checksum.hpp "(zlib|isa-l/crc)\\.h")
set(allowed_in_iqdb/persist/codec/zstd_codec.hpp "zstd\\.h")
set(allowed_in_iqdb/persist/codec/lz4_codec.hpp "(lz4|lz4frame)\\.h")
set(allowed_in_iqdb/persist/storage/s3/digest.hpp "openssl/(evp|hmac)\\.h")
set(allowed_in_iqdb/persist/storage/s3/connection.hpp "curl/curl\\.h")
set(allowed_in_iqdb/index/hnswlib/library.hpp "hnswlib/hnswlib\\.h")
set(allowed_in_iqdb/index/faiss/native.hpp "(faiss/[A-Za-z_/]+|omp)\\.h")
set(allowed_in_iqdb/index/faiss/stream.hpp "faiss/[A-Za-z_/]+\\.h")
set(allowed_in_iqdb/index/faiss/selector.hpp "faiss/[A-Za-z_/]+\\.h")
set(allowed_in_iqdb/index/faiss/part.hpp "faiss/[A-Za-z_/]+\\.h")
set(allowed_in_iqdb/index/faiss/flat_part.hpp "faiss/[A-Za-z_/]+\\.h")
set(allowed_in_iqdb/index/faiss/hnsw_graph.hpp "faiss/[A-Za-z_/]+\\.h")
set(allowed_in_iqdb/index/faiss/hnsw_insertion.hpp "(faiss/[A-Za-z_/]+|omp)\\.h")
set(allowed_in_iqdb/index/faiss/hnsw_part.hpp "(faiss/[A-Za-z_/]+|omp)\\.h")
set(allowed_in_iqdb/index/faiss/ivf_lists.hpp "faiss/[A-Za-z_/]+\\.h")
set(allowed_in_iqdb/index/faiss/ivf_part.hpp "faiss/[A-Za-z_/]+\\.h")
set(allowed_in_iqdb/index/faiss/codec.hpp "faiss/[A-Za-z_/]+\\.h")
set(allowed_in_iqdb/index/faiss/scalar_codec.hpp "faiss/[A-Za-z_/]+\\.h")
set(allowed_in_iqdb/index/faiss/product_codec.hpp "faiss/[A-Za-z_/]+\\.h")
set(allowed_in_iqdb/index/faiss/hnsw_index.hpp "faiss/[A-Za-z_/]+\\.h")
set(allowed_in_iqdb/index/faiss/coarse_quantizer.hpp "faiss/[A-Za-z_/]+\\.h")
set(allowed_in_iqdb/index/faiss/coded_lists.hpp "faiss/[A-Za-z_/]+\\.h")
set(allowed_in_iqdb/index/faiss/training.hpp "faiss/[A-Za-z_/]+\\.h")
set(allowed_in_iqdb/index/faiss/transform.hpp "faiss/[A-Za-z_/]+\\.h")
set(allowed_in_iqdb/index/faiss/transformed_part.hpp "faiss/[A-Za-z_/]+\\.h")
set(allowed_in_iqdb/index/faiss.hpp "faiss/[A-Za-z_/]+\\.h")
set(allowed_in_iqdb/index/usearch/stream_layout.hpp "usearch/index_dense\\.hpp")
set(allowed_in_iqdb/index/usearch/slot_graph.hpp "usearch/index_dense\\.hpp")
set(allowed_in_iqdb/persist/bytes/huge_pages.hpp "sys/mman\\.h")
set(allowed_in_iqdb/persist/posix_process.hpp "(pthread|unistd|sys/mman)\\.h")
set(allowed_in_iqdb/persist/posix_entropy.hpp "(sys/random|unistd)\\.h")
set(allowed_in_iqdb/persist/windows_api.hpp "(windows|bcrypt)\\.h")
foreach(part IN ITEMS attributes duplicates names calls child file_system locks memory past_cache sync)
  set(allowed_in_iqdb/persist/storage/posix_${part}.hpp "(dirent|fcntl|poll|unistd|pthread|sys/[a-z]+|linux/[a-z]+)\\.h")
endforeach()

# The floors, and what each stands on. A header's floor is its folder. In the folder of the face lie also the names that every
# floor uses, since users include them by those paths: they are the ground. What a snapshot asks of an index is a part of the
# floor of snapshots.
set(floors ground bytes codec storage snapshot wal salvage face index testing)
set(below_ground "")
set(below_bytes ground)
set(below_codec ground bytes)
set(below_storage ground bytes)
set(below_snapshot ground bytes codec storage)
set(below_wal ground bytes storage snapshot)
set(below_salvage ground bytes codec storage snapshot wal)
set(below_face ground bytes codec storage snapshot wal)
set(below_index ground bytes storage snapshot)
set(below_testing ground bytes codec storage snapshot wal face)

set(ground
    iqdb/text.hpp
    iqdb/index_error.hpp
    iqdb/copied.hpp
    iqdb/vector_id.hpp
    iqdb/metadata.hpp
    iqdb/search.hpp
    iqdb/stored_vector.hpp
    iqdb/types.hpp
    iqdb/search_overloads.hpp
    iqdb/insert_many.hpp
    iqdb/index.hpp
    iqdb/explain_index.hpp
    iqdb/insert_overloads.hpp
    iqdb/persist/requirements.hpp
    iqdb/persist/version.hpp
    iqdb/persist/path_text.hpp
    iqdb/persist/error.hpp
    iqdb/persist/index_path.hpp
    iqdb/persist/posix_process.hpp
    iqdb/persist/posix_entropy.hpp
    iqdb/persist/windows_api.hpp
    iqdb/persist/windows_process.hpp
    iqdb/persist/windows_entropy.hpp
    iqdb/persist/native_process.hpp
    iqdb/persist/process_mark.hpp
    iqdb/persist/events.hpp
    iqdb/persist/stats.hpp
    iqdb/persist/call_under_way.hpp
    iqdb/persist/history_paths.hpp
    iqdb/persist/config.hpp
    iqdb/persist/progress.hpp)

function(floor_of header result)
  if(header IN_LIST ground)
    set(floor ground)
  elseif(header STREQUAL "iqdb/persist/persistable.hpp")
    set(floor snapshot)
  elseif(header MATCHES "^iqdb/persist/([a-z]+)/")
    set(floor ${CMAKE_MATCH_1})
  elseif(header MATCHES "^iqdb/index/")
    set(floor index)
  elseif(header MATCHES "^iqdb/persist(/[a-z_]+)?\\.hpp$")
    set(floor face)
  else()
    set(floor none)
  endif()
  if(NOT floor IN_LIST floors)
    message(SEND_ERROR "${header} lies on no floor: ${floor}")
  endif()
  set(${result} ${floor} PARENT_SCOPE)
endfunction()

# Floors that deal in bytes alone have no business with files and threads. HelperThreads are where threads are made.
set(byte_floors bytes codec)
set(thread_headers iqdb/persist/bytes/helper_threads.hpp iqdb/persist/bytes/worker_thread.hpp)

file(STRINGS "${HEADERS}" headers)
set(requirements iqdb/persist/requirements.hpp)
set(no_header "the reason stands above") # included to stop the compiler
set(below "")
set(edges "")
foreach(header IN LISTS headers)
  floor_of(${header} floor)
  file(READ "${INCLUDE}/${header}" text)
  string(REGEX REPLACE "[^\n]" "" newlines "${text}")
  string(LENGTH "${newlines}" line_count)
  if(line_count GREATER 400)
    message(SEND_ERROR "${header} has ${line_count} lines, more than 400: cut it where its parts have names")
  endif()
  string(APPEND edges "${floor} ${header} ${line_count}\n")
  file(STRINGS "${INCLUDE}/${header}" lines REGEX "^[ \t]*#[ \t]*include")
  if(requirements IN_LIST headers AND NOT header STREQUAL requirements AND NOT lines MATCHES "\"iqdb/")
    message(SEND_ERROR "${header} includes no header of the library; it must include ${requirements}")
  endif()
  foreach(line IN LISTS lines)
    if(NOT line MATCHES "include[ \t]*([<\"])([^>\"]+)[>\"]")
      message(SEND_ERROR "${header}: cannot read: ${line}")
      continue()
    endif()
    set(quote "${CMAKE_MATCH_1}")
    set(included "${CMAKE_MATCH_2}")

    if(header STREQUAL requirements AND included STREQUAL no_header)
      continue()
    elseif(quote STREQUAL "\"")
      if(included STREQUAL header OR NOT included IN_LIST headers)
        message(SEND_ERROR "${header} includes \"${included}\", which is not one of the library's other headers")
      elseif(NOT included IN_LIST below)
        message(SEND_ERROR "${header} includes ${included}, which is in a layer above it")
      else()
        floor_of(${included} included_floor)
        string(APPEND edges "${floor} ${header} > ${included_floor} ${included}\n")
        if(NOT included_floor STREQUAL floor AND NOT included_floor IN_LIST below_${floor})
          message(SEND_ERROR "${header} includes ${included}: ${floor} does not stand on ${included_floor}")
        endif()
      endif()
    elseif(included MATCHES "^iqdb/")
      message(SEND_ERROR "${header} includes <${included}>: the library's own headers are included with quotes")
    elseif(included MATCHES "^[a-z_]+$") # a header of the standard library: those have no extension
      if(included MATCHES "^(iostream|cstdio|print)$")
        message(SEND_ERROR "${header} includes <${included}>: the library prints nothing")
      elseif(floor IN_LIST byte_floors AND NOT header IN_LIST thread_headers AND included MATCHES "^(filesystem|fstream|thread)$")
        message(SEND_ERROR "${header} includes <${included}>: it deals in bytes, not in files or threads")
      endif()
    elseif(NOT DEFINED allowed_in_${header} OR NOT included MATCHES "^${allowed_in_${header}}$")
      message(SEND_ERROR "${header} includes <${included}>: only the headers that wrap it may do that")
    endif()
  endforeach()
  list(APPEND below ${header})
endforeach()
if(DEFINED EDGES)
  file(WRITE "${EDGES}" "${edges}")
endif()
