# What the compiler says about an index with a part missing, or with another signature: one sentence, about that part.
#
#   cmake -DCXX=<compiler> -DSOURCE=<this repository> -DWORK=<scratch directory> -P explanations.cmake
cmake_minimum_required(VERSION 3.25)

file(REMOVE_RECURSE "${WORK}")
file(MAKE_DIRECTORY "${WORK}")

set(insert "void insert(VectorId, std::span<const float>, std::optional<Metadata>)\;")
set(erase "void erase(const VectorId&)\;")
set(shape "std::size_t size() const\; std::size_t dim() const\; DistanceMetric metric() const\;")
set(name "static constexpr std::string_view index_type = \"mine\"\;")
set(save "void save_to(Writer&) const\;")
set(load "static Mine load_from(Reader&)\;")

# expect(<members of the class Mine> <what stands behind it> <part of the sentence; nothing where it must compile>)
function(expect members use sentence)
  set(header "iqdb/persist/persistable.hpp") # a fraction of the other
  if(use MATCHES "PersistedIndex")
    set(header "iqdb/persist.hpp")
  elseif(use MATCHES "SharedIndex")
    set(header "iqdb/persist/shared_index.hpp")
  endif()
  set(program "#include <${header}>\nusing namespace iqdb;\nstruct Mine {\n  ${members}\n};\n${use}\n")
  string(REPLACE "\\;" ";" program "${program}")
  file(WRITE "${WORK}/program.cpp" "${program}")
  execute_process(COMMAND "${CXX}" -std=c++20 -fsyntax-only "-I${SOURCE}/include" "${WORK}/program.cpp"
                  RESULT_VARIABLE result ERROR_VARIABLE errors OUTPUT_QUIET)
  string(REPLACE ";" "," errors "${errors}") # in a list it would part a sentence
  string(REGEX MATCHALL "error: static[^\n]*(The index|lets nobody)[^\n]*" sentences "${errors}")
  string(REGEX MATCHALL " error: " all "${errors}")
  list(LENGTH sentences count)
  list(LENGTH all count_of_all)
  string(FIND "${sentences}" "${sentence}" found)
  if(sentence STREQUAL "")
    if(NOT result EQUAL 0)
      message(SEND_ERROR "{${members}} ${use}\nmust compile, but:\n${errors}")
    endif()
  elseif(result EQUAL 0 OR found EQUAL -1 OR count GREATER 1 OR count_of_all GREATER 3)
    message(SEND_ERROR "{${members}} ${use}\nexpected one sentence, '${sentence}', and at most 2 other errors, but:\n${errors}")
  endif()
endfunction()

# ---- explain_persistable ----

set(use "static_assert(explain_persistable<Mine>())\;")
expect("${name} ${save} ${load} ${shape}" "${use}" "")
expect("${save} ${load} ${shape}" "${use}" "lacks `static constexpr std::string_view index_type`")
expect("${name} ${load} ${shape}" "${use}" "lacks `void save_to(iqdb::Writer&) const`")
expect("${name} ${save} ${shape}" "${use}" "lacks `static I load_from(iqdb::Reader&)`")
expect("${name} ${save} ${load} std::size_t size() const\; std::size_t dim() const\;" "${use}" "metric() const`, how it")
expect("static const std::string_view index_type\; ${save} ${load} ${shape}" "${use}" "an `index_type` that cannot name it")
expect("${name} void save_to(Writer&)\; ${load} ${shape}" "${use}" "a `save_to` that cannot be called for a const index")
expect("${name} ${save} Mine load_from(Reader&)\; ${shape}" "${use}" "a `load_from` that cannot be called without an index")
expect("${name} ${save} static int load_from(Reader&)\; ${shape}" "${use}" "a `load_from` that returns another type")
expect("${name} ${save} ${load} std::size_t size()\; std::size_t dim() const\; DistanceMetric metric() const\;" "${use}"
       "a `size` with another signature")
expect("${shape}" "template <> struct iqdb::PersistTraits<Mine> {
  ${name} static void save_to(const Mine&, Writer&)\;
}\; ${use}" "lacks `static I load_from(iqdb::Reader&)`")

# ---- explain_index, and PersistedIndex, which asks it ----

set(durable "${name} ${save} ${load} ${shape}")
set(use "static_assert(explain_index<Mine>())\;")
expect("${durable} ${insert} ${erase}" "${use}" "")
foreach(wrong IN ITEMS "VectorId, std::vector<float>" "VectorId, std::span<const float>"
                       "std::uint64_t, std::span<const float>, std::optional<Metadata>"
                       "VectorId&, std::span<const float>, std::optional<Metadata>"
                       "VectorId, std::span<const float>, std::optional<Metadata>&")
  expect("${durable} ${erase} void insert(${wrong})\;" "${use}" "an `insert` with another signature")
endforeach()
expect("${durable} ${insert} void erase(std::uint64_t)\;" "${use}" "an `erase` with another signature")
expect("${durable} ${erase} private: ${insert}" "${use}" "an `insert` with another signature")
set(use "void use(PersistedIndex<Mine>& db) { db.sync()\; }")
expect("${durable} ${insert} ${erase}" "${use}" "")
expect("${durable} ${erase} void insert(VectorId, std::vector<float>)\;" "${use}" "an `insert` with another signature")
set(use "void use(PersistedIndex<Mine>& db) { db.insert(1, {1.0F})\; }")
expect("${durable} ${erase} void insert(VectorId, std::span<const float>)\;" "${use}" "an `insert` with another signature")

# Each is optional, but is not called where its signature is another.
set(use "static_assert(explain_index<Mine>())\;")
expect("${durable} ${insert} ${erase} void upsert(VectorId, std::span<const float>)\;" "${use}" "an `upsert` with another")
expect("${durable} ${insert} ${erase} void check_erase(const VectorId&)\;" "${use}" "a `check_erase` with another")
expect("${durable} ${insert}" "${use}" "lacks `void erase(")

# Without the log an index may have any insert, if it says so; and if it has no erase, it is not taken for one to be logged.
set(use "void use(PersistedIndex<Mine>& db) { db.save()\; }")
expect("${durable} ${erase} void insert(int)\; static constexpr bool never_logged = true\;" "${use}" "")
expect("${durable} void insert(int)\;" "${use}" "")
expect("${durable}" "${use}" "")

# ---- SharedIndex, whose readers keep nothing of the index ----

set(durable "${durable} ${insert} ${erase} int of\;")
set(use "auto use(const SharedIndex<Mine>& db) { return db.read([](const Mine& index) { return index.of\; })\; }")
expect("${durable}" "${use}" "")
set(use "void use(const SharedIndex<Mine>& db) { db.read([](const Mine& index) -> const int& { return index.of\; })\; }")
expect("${durable}" "${use}" "read() lets nobody keep a reference into the index")
set(use "void use(SharedIndex<Mine>& db) { db.tune([](Mine& index) -> int& { return index.of\; })\; }")
expect("${durable}" "${use}" "tune() lets nobody keep a reference into the index")
