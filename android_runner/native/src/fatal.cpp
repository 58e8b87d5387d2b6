#include "fatal.h"

#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "clock.h"
#include "failure.h"

namespace farm {
namespace {

Events* the_events = nullptr;

#if !defined(__SANITIZE_ADDRESS__)

constexpr std::array<int, 5> kFaults{SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
constexpr std::size_t kStackBytes = 65536;

// Puts a number before `end` and returns where it begins; only what a signal handler may do.
char* put_number(char* end, std::int64_t value) {
  do {
    *--end = static_cast<char>('0' + value % 10);
    value /= 10;
  } while (value > 0);
  return end;
}

char* put_text(char* end, const char* text) {
  const std::size_t length = std::strlen(text);
  std::memcpy(end - length, text, length);
  return end - length;
}

void crashed(int signal) {
  if (the_events != nullptr) {
    char line[256];
    char* const end = line + sizeof line;
    char* at = put_text(end, "\"}\n");
    at = put_number(at, signal);
    at = put_text(at, ",\"class\":\"crashed\",\"message\":\"signal ");
    at = put_number(at, uptime_ns());
    at = put_text(at, "{\"event\":\"error\",\"t\":");
    the_events->write_last({at, static_cast<std::size_t>(end - at)});
  }
  // Back to what the system does by itself, which ends the process as if nobody had looked.
  std::signal(signal, SIG_DFL);
  raise(signal);
}

#endif

}  // namespace

void tell_crashes() {
#if !defined(__SANITIZE_ADDRESS__)
  // A stack of its own: a stack that is full is one of the faults.
  static std::array<char, kStackBytes> stack;
  stack_t own{};
  own.ss_sp = stack.data();
  own.ss_size = stack.size();
  sigaltstack(&own, nullptr);
  struct sigaction action {};
  action.sa_handler = crashed;
  action.sa_flags = SA_ONSTACK | SA_RESETHAND;
  for (const int signal : kFaults) sigaction(signal, &action, nullptr);
#endif
}

void set_process_events(Events* events) { the_events = events; }

Events* process_events() { return the_events; }

void fatal(const char* klass, const std::string& message) {
  std::fprintf(stderr, "farm-runner: %s: %s\n", klass, message.c_str());
  std::fflush(stderr);
  if (the_events != nullptr) {
    Event event("error", uptime_ns());
    the_events->write_last(event.add("class", klass).add("message", message).finish());
  }
  // Not exit: threads of the runtime may hold what its destructors wait for.
  _exit(1);
}

}  // namespace farm
