// Preloaded into a program, makes its fdatasync fail as a broken disk does, while the file that FAIL_SYNC names exists.
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

extern "C" int fdatasync(int descriptor) {
  const char* const switched_on = std::getenv("FAIL_SYNC");
  if (switched_on != nullptr && ::access(switched_on, F_OK) == 0) {
    errno = EIO;
    return -1;
  }
  return static_cast<int>(::syscall(SYS_fdatasync, descriptor));
}
