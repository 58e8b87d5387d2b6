// What a process says when a fault of its own ends it. In C: a signal handler may not call what Swift makes of code.
#pragma once

// From now on a signal for a fault (SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP) leaves an `error` event of class
// crashed on `descriptor`; the process still ends by that signal.
void farm_tell_crashes(int descriptor);
