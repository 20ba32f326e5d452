// The functions of Windows, and what must be said before its header is included.
#pragma once

#include "iqdb/persist/version.hpp"

// Without these the header defines macros with the names of standard functions, and includes most of Windows.
#ifndef NOMINMAX
#define NOMINMAX
#endif
#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#include <windows.h>
// Needs the one above.
#include <bcrypt.h>

#if defined(min) || defined(max)
#error "<windows.h> was included with its macros min and max: define NOMINMAX for the whole program"
#endif
#if !defined(_WIN32_WINNT) || _WIN32_WINNT < 0x0602
#error "iqdb-persist needs what Windows has since version 8: compile the whole program with -D_WIN32_WINNT=0x0A00"
#endif
