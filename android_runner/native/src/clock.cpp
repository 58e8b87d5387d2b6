#include "clock.h"

#include <ctime>
#include <fstream>

#if defined(__APPLE__)
#include <mach/mach_time.h>
#include <sys/sysctl.h>
#endif

namespace farm {

#if defined(__APPLE__)

std::int64_t uptime_ns() {
  static const mach_timebase_info_data_t kBase = [] {
    mach_timebase_info_data_t base;
    mach_timebase_info(&base);
    return base;
  }();
  return static_cast<std::int64_t>(mach_continuous_time() * kBase.numer / kBase.denom);
}

std::string boot_id() {
  char text[64] = {};
  std::size_t size = sizeof text - 1;
  return sysctlbyname("kern.bootsessionuuid", text, &size, nullptr, 0) == 0 ? text : "";
}

#else

std::int64_t uptime_ns() {
  timespec now{};
  clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<std::int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

std::string boot_id() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string text;
  std::getline(file, text);
  return text;
}

#endif

}  // namespace farm
