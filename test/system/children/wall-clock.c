// Loaded before libc into a process whose wall clock a test sets: seconds that are added to it, read at each look from the
// eight bytes of the file that SHS_WALL_CLOCK names. No other clock is touched, as when a host's time is set.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile const int64_t *ahead;

__attribute__((constructor)) static void open_ahead(void) {
  const char *path = getenv("SHS_WALL_CLOCK");
  int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) return;
  void *mapped = mmap(NULL, sizeof(*ahead), PROT_READ, MAP_SHARED, file, 0);
  close(file);
  if (mapped != MAP_FAILED) ahead = mapped;
}

static int64_t ahead_now(void) { return ahead ? *ahead : 0; }

// What came after us in the order of libraries: by the vDSO, for a process may be forbidden the system calls.
#define NEXT(type, name) ((type)dlsym(RTLD_NEXT, name))
typedef int (*clock_gettime_t)(clockid_t, struct timespec *);
typedef int (*gettimeofday_t)(struct timeval *, void *);

int clock_gettime(clockid_t clock, struct timespec *out) {
  static clock_gettime_t next;
  if (!next) next = NEXT(clock_gettime_t, "clock_gettime");
  int failed = next(clock, out);
  if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) out->tv_sec += ahead_now();
  return failed;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone) {
  static gettimeofday_t next;
  if (!next) next = NEXT(gettimeofday_t, "gettimeofday");
  int failed = next(out, zone);
  if (!failed) out->tv_sec += ahead_now();
  return failed;
}

time_t time(time_t *out) {
  struct timeval now = {0};
  gettimeofday(&now, NULL);
  if (out) *out = now.tv_sec;
  return now.tv_sec;
}
