// What the calibration runtime is to do, read from one JSON object.
#pragma once

#include <cstdint>
#include <vector>

namespace farm {

enum class Death { kExit, kSegv, kAbort, kKill, kGarbage, kNoMemory };

struct Script {
  // From the begin of the load to its end.
  std::int64_t load_ns = 0;
  // From the begin of the first call after a reset to its end; then from one end to the next, over and over.
  std::int64_t first_ns = 0;
  std::vector<std::int64_t> intervals_ns = {20'000'000};
  // In place of the intervals: CPU time that each further token takes, so that its time tells the phone's speed; 0: none.
  std::int64_t cpu_ns = 0;
  // Map the model and read every page.
  bool map_model = false;
  // Memory of its own, taken so long after the begin of the load, given back after the hold; 0: kept.
  std::int64_t anon_bytes = 0;
  std::int64_t anon_at_ns = 0;
  std::int64_t anon_hold_ns = 0;
  // In the call after so many were done; -1: never.
  Death death = Death::kExit;
  std::int64_t die_at = -1;
};

// The script in a text; null is an empty one. Throws Failure bad_request with the field's name, also for one that is not
// known.
Script parse_script(const char* text);

}  // namespace farm
