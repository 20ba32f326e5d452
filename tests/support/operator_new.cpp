// The operator new of the test programs, for those of which no source file includes it.
#include "support/operator_new.hpp"
