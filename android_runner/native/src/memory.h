// Memory of this process and of the model's file in the page cache.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace farm {

// Bytes; -1 where the kernel does not tell.
struct ProcessMemory {
  std::int64_t vm_hwm = -1;
  std::int64_t vm_rss = -1;
  std::int64_t rss_anon = -1;
  std::int64_t rss_file = -1;
  std::int64_t swap = -1;
};

// From /proc/self/status, Mach's task_info on Apple's systems.
ProcessMemory process_memory();

struct FileCache {
  std::int64_t size = 0;
  // Of the file in the page cache (mincore); -1 where that cannot be counted.
  std::int64_t resident = -1;
};

// Throws Failure model_missing when the file cannot be opened.
FileCache file_cache(const std::string& path);

// Asks the kernel to drop the file's pages (posix_fadvise); pages that others map stay. False where there is no way.
bool evict(const std::string& path);

// From now on the process may not have more than this of private memory (RLIMIT_DATA). False where it cannot be held.
bool limit_memory(std::uint64_t bytes);

}  // namespace farm
