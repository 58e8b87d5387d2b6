#include "fatal.h"

#include <unistd.h>

#include <cstdio>

#include "clock.h"
#include "failure.h"

namespace farm {
namespace {

Events* fatal_events = nullptr;

}  // namespace

void set_fatal_events(Events* events) { fatal_events = events; }

void fatal(const char* klass, const std::string& message) {
  std::fprintf(stderr, "farm-runner: %s: %s\n", klass, message.c_str());
  std::fflush(stderr);
  if (fatal_events != nullptr) {
    try {
      Event event("error", uptime_ns());
      fatal_events->write(event.add("class", klass).add("message", message));
    } catch (const Failure&) {
      // The error stream has it.
    }
  }
  // Not exit: threads of the runtime may hold what its destructors wait for.
  _exit(1);
}

}  // namespace farm
