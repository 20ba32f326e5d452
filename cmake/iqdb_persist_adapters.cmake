# The components: iqdb::hnswlib, iqdb::faiss and iqdb::usearch, each of which is the adapter to that library's index and the
# library itself. A target is made where its library is found; the find modules lie beside this file.
#
# Included by this project and by the installed package alike, since what is installed differs from machine to machine.
# iqdb_persist_adapters is the list of the components that are there.
set(iqdb_persist_adapters "")
foreach(iqdb_persist_adapter IN ITEMS Hnswlib Faiss Usearch)
  find_package(IqdbPersist${iqdb_persist_adapter} QUIET MODULE ${iqdb_persist_adapters_scope})
  if(IqdbPersist${iqdb_persist_adapter}_FOUND)
    string(TOLOWER ${iqdb_persist_adapter} iqdb_persist_component)
    list(APPEND iqdb_persist_adapters ${iqdb_persist_component})
    if(NOT TARGET iqdb::${iqdb_persist_component})
      add_library(iqdb::${iqdb_persist_component} INTERFACE IMPORTED ${iqdb_persist_adapters_scope})
      set_target_properties(
        iqdb::${iqdb_persist_component} PROPERTIES INTERFACE_LINK_LIBRARIES
                                                   "iqdb::persist;iqdb_deps::${iqdb_persist_component}")
    endif()
  endif()
endforeach()
unset(iqdb_persist_adapter)
unset(iqdb_persist_component)
