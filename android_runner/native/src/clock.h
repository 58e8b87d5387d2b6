// Times of the contract: nanoseconds of the device's uptime, suspend included, as /proc/uptime counts it.
#pragma once

#include <cstdint>
#include <string>

namespace farm {

// CLOCK_BOOTTIME; mach_continuous_time on Apple's systems.
std::int64_t uptime_ns();

// Names one boot of the device; empty where the system does not tell.
std::string boot_id();

}  // namespace farm
