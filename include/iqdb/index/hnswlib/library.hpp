// hnswlib's headers, in a form that a program may include in several of its files.
#pragma once

#include "iqdb/persist/requirements.hpp"

// Version 0.6.2 defines functions and variables in its headers, so a program with two files that include them does not
// link. A declaration before the definition fixes that: its `inline` or weak also holds for the definition. If the
// macro is defined, hnswlib was included before, and the fix comes too late.
#if defined(__SSE__) && !defined(PORTABLE_ALIGN32) && !defined(NO_MANUAL_VECTORIZATION) && \
    !__has_include(<hnswlib/stop_condition.h>)
#include <cstdint>
// NOLINTBEGIN(*-identifier-naming,*-non-const-global-variables,*-inconsistent-declaration-parameter-name)
inline void cpuid(std::int32_t* registers, std::int32_t eax, std::int32_t ecx);
inline std::uint64_t xgetbv(unsigned int index);
inline bool AVXCapable();
inline bool AVX512Capable();
namespace hnswlib {
using IqdbDistance = float (*)(const void*, const void*, const void*);
[[gnu::weak]] extern IqdbDistance L2SqrSIMD16Ext;
[[gnu::weak]] extern IqdbDistance InnerProductSIMD16Ext;
[[gnu::weak]] extern IqdbDistance InnerProductSIMD4Ext;
[[gnu::weak]] extern IqdbDistance InnerProductDistanceSIMD16Ext;
[[gnu::weak]] extern IqdbDistance InnerProductDistanceSIMD4Ext;
}  // namespace hnswlib
// NOLINTEND(*-identifier-naming,*-non-const-global-variables,*-inconsistent-declaration-parameter-name)
#endif

#include <hnswlib/hnswlib.h>
