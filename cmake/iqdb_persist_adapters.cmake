# The components iqdb::hnswlib, iqdb::faiss and iqdb::usearch. Each is the adapter to that library's index together with
# the library. A target is defined if its library is found. The find modules lie beside this file.
#
# Included by this project and by the installed package, because each machine has other libraries installed.
# iqdb_persist_all_adapters lists the components, and iqdb_persist_adapters those that were found. For one that was not,
# iqdb_persist_how_to_get_<component> says how to get its library.
set(iqdb_persist_all_adapters "")
set(iqdb_persist_adapters "")
foreach(iqdb_persist_adapter IN ITEMS Hnswlib Faiss Usearch)
  find_package(IqdbPersist${iqdb_persist_adapter} QUIET MODULE ${iqdb_persist_adapters_scope})
  string(TOLOWER ${iqdb_persist_adapter} iqdb_persist_component)
  list(APPEND iqdb_persist_all_adapters ${iqdb_persist_component})
  set(iqdb_persist_how_to_get_${iqdb_persist_component} "${IqdbPersist${iqdb_persist_adapter}_HOW_TO_GET}")
  if(IqdbPersist${iqdb_persist_adapter}_FOUND)
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
