#include "crash_report.h"

#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#if defined(__APPLE__)
#include <mach/mach_time.h>
static mach_timebase_info_data_t timebase;
#endif

enum { kStackBytes = 65536 };

static volatile sig_atomic_t events = -1;

// Only what a signal handler may do.
static int64_t uptime_ns(void) {
#if defined(__APPLE__)
  return (int64_t)(mach_continuous_time() * timebase.numer / timebase.denom);
#else
  struct timespec now;
  clock_gettime(CLOCK_BOOTTIME, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
#endif
}

// Both put something before `end` and return where it begins.
static char *put_number(char *end, int64_t value) {
  do {
    *--end = (char)('0' + value % 10);
    value /= 10;
  } while (value > 0);
  return end;
}

static char *put_text(char *end, const char *text) {
  const size_t length = strlen(text);
  memcpy(end - length, text, length);
  return end - length;
}

static void crashed(int fault) {
  char line[256];
  char *const end = line + sizeof line;
  char *at = put_text(end, "\"}\n");
  at = put_number(at, fault);
  at = put_text(at, ",\"class\":\"crashed\",\"message\":\"signal ");
  at = put_number(at, uptime_ns());
  at = put_text(at, "{\"event\":\"error\",\"t\":");
  if (events >= 0 && write((int)events, at, (size_t)(end - at)) < 0) {
    // Nothing else may be done here.
  }
  // Back to what the system does by itself, which ends the process as if nobody had looked.
  signal(fault, SIG_DFL);
  raise(fault);
}

void farm_tell_crashes(int descriptor) {
  static const int kFaults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP};
#if defined(__APPLE__)
  mach_timebase_info(&timebase);
#endif
  events = descriptor;
  // A stack of its own: a stack that is full is one of the faults. It is never given back.
  stack_t own;
  memset(&own, 0, sizeof own);
  own.ss_sp = malloc(kStackBytes);
  own.ss_size = kStackBytes;
  if (own.ss_sp != NULL) sigaltstack(&own, NULL);
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = crashed;
  action.sa_flags = SA_ONSTACK | (int)SA_RESETHAND;
  for (size_t index = 0; index < sizeof kFaults / sizeof *kFaults; ++index) sigaction(kFaults[index], &action, NULL);
}
