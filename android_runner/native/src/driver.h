// Does the work of a request and tells of it in events.
#pragma once

#include "backend.h"
#include "events.h"
#include "request.h"

namespace farm {

// From the event `start` to `end`. Throws Failure; the caller writes the `error` event.
void run(const Request& request, Backend& backend, Events& events);

}  // namespace farm
