# Does check_includes.cmake refuse what it should? Each case is a tree of two headers, of which the second includes the first.
#
#   cmake -DWORK=<directory> -P includes_refused.cmake
cmake_minimum_required(VERSION 3.25)

# expect(<header> <header that includes it> <part of the message; nothing where the check must pass>)
function(expect included header message)
  set(tree "${WORK}/tree")
  file(REMOVE_RECURSE "${tree}")
  file(WRITE "${tree}/${included}" "#pragma once\n")
  file(WRITE "${tree}/${header}" "#pragma once\n#include \"${included}\"\n")
  file(WRITE "${WORK}/headers.txt" "${included}\n${header}\n")
  execute_process(COMMAND "${CMAKE_COMMAND}" "-DINCLUDE=${tree}" "-DHEADERS=${WORK}/headers.txt" -P
                          "${CMAKE_CURRENT_LIST_DIR}/check_includes.cmake"
                  RESULT_VARIABLE result ERROR_VARIABLE errors)
  string(REGEX REPLACE "[ \n]+" " " errors "${errors}")
  string(FIND "${errors}" "${message}" found)
  if(message STREQUAL "" AND NOT result EQUAL 0)
    message(SEND_ERROR "${header} may include ${included}, but was refused: ${errors}")
  elseif(NOT message STREQUAL "" AND (result EQUAL 0 OR found EQUAL -1))
    message(SEND_ERROR "${header} must not include ${included}: expected '${message}', found '${errors}'")
  endif()
endfunction()

set(p iqdb/persist)
expect(${p}/error.hpp ${p}/bytes/stream.hpp "")
expect(${p}/bytes/stream.hpp ${p}/codec/codec.hpp "")
expect(${p}/snapshot/snapshot.hpp ${p}/wal/recovery.hpp "")
expect(${p}/wal/recovery.hpp ${p}/persisted_index.hpp "")
# Upwards.
expect(${p}/codec/codec.hpp ${p}/bytes/stream.hpp "bytes does not stand on codec")
expect(${p}/snapshot/snapshot_format.hpp ${p}/codec/codec.hpp "codec does not stand on snapshot")
expect(${p}/persisted_index.hpp ${p}/wal/recovery.hpp "wal does not stand on face")
expect(${p}/bytes/stream.hpp ${p}/error.hpp "ground does not stand on bytes")
expect(${p}/testing/life.hpp ${p}/persisted_index.hpp "face does not stand on testing")
# Sideways.
expect(${p}/codec/codec.hpp ${p}/storage/storage.hpp "storage does not stand on codec")
expect(${p}/storage/storage.hpp ${p}/codec/codec.hpp "codec does not stand on storage")
expect(${p}/wal/recovery.hpp iqdb/index/flat.hpp "index does not stand on wal")
expect(iqdb/index/flat.hpp ${p}/persisted_index.hpp "face does not stand on index")
# Nowhere.
expect(${p}/error.hpp ${p}/attic/box.hpp "lies on no floor")
