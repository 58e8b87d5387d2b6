// The way out for a runtime that cannot return: its last words become an `error` event, not a crash.
#pragma once

#include <string>

#include "events.h"

namespace farm {

// Where `fatal` writes; null: the error stream only. The object must outlive every call of `fatal`, and the back end.
void set_process_events(Events* events);
Events* process_events();

// From now on a signal that ends the process for a fault of its own (SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT) leaves an
// `error` event of class crashed; the process still ends by that signal. Not under a sanitizer, which reports better.
void tell_crashes();

// Writes the `error` event and ends the process with exit code 1.
[[noreturn]] void fatal(const char* klass, const std::string& message);

}  // namespace farm
