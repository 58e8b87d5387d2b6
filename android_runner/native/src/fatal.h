// The way out for a runtime that cannot return: its last words become an `error` event, not a crash.
#pragma once

#include <string>

#include "events.h"

namespace farm {

// Where `fatal` writes; null: the error stream only. The object must outlive every call of `fatal`.
void set_fatal_events(Events* events);

// Writes the `error` event and ends the process with exit code 1.
[[noreturn]] void fatal(const char* klass, const std::string& message);

}  // namespace farm
