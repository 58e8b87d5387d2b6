#include "memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>

#include "failure.h"

#if defined(__APPLE__)
#include <mach/mach.h>
#endif

namespace farm {
namespace {

class File {
 public:
  explicit File(const std::string& path) : descriptor_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {}
  ~File() {
    if (descriptor_ >= 0) close(descriptor_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int get() const { return descriptor_; }

 private:
  int descriptor_;
};

#if defined(__APPLE__)
using PageState = char;
#else
using PageState = unsigned char;
#endif

// Bytes of [0, size) in the page cache, counted in windows so that a large model needs no large table.
std::int64_t resident_bytes(int descriptor, std::int64_t size) {
  const std::int64_t page = sysconf(_SC_PAGESIZE);
  const std::int64_t window = page * 65536;
  std::vector<PageState> states(65536);
  std::int64_t resident = 0;
  for (std::int64_t at = 0; at < size; at += window) {
    const auto length = static_cast<std::size_t>(std::min(window, size - at));
    void* mapped = mmap(nullptr, length, PROT_READ, MAP_SHARED, descriptor, at);
    if (mapped == MAP_FAILED) return -1;
    const bool known = mincore(mapped, length, states.data()) == 0;
    munmap(mapped, length);
    if (!known) return -1;
    const std::size_t pages = (length + static_cast<std::size_t>(page) - 1) / static_cast<std::size_t>(page);
    for (std::size_t index = 0; index < pages; ++index) resident += (states[index] & 1) * page;
  }
  return std::min(resident, size);
}

}  // namespace

#if defined(__APPLE__)

ProcessMemory process_memory() {
  ProcessMemory found;
  task_vm_info_data_t info;
  mach_msg_type_number_t count = TASK_VM_INFO_COUNT;
  if (task_info(mach_task_self(), TASK_VM_INFO, reinterpret_cast<task_info_t>(&info), &count) == KERN_SUCCESS) {
    found.vm_hwm = static_cast<std::int64_t>(info.ledger_phys_footprint_peak);
    found.vm_rss = static_cast<std::int64_t>(info.phys_footprint);
  }
  return found;
}

#else

ProcessMemory process_memory() {
  ProcessMemory found;
  std::ifstream file("/proc/self/status");
  std::string line;
  const auto field = [&line](const char* name, std::int64_t& to) {
    const std::size_t length = std::strlen(name);
    long long kilobytes = 0;
    if (line.compare(0, length, name) == 0 && std::sscanf(line.c_str() + length, " %lld", &kilobytes) == 1) {
      to = kilobytes * 1024;
    }
  };
  while (std::getline(file, line)) {
    field("VmHWM:", found.vm_hwm);
    field("VmRSS:", found.vm_rss);
    field("RssAnon:", found.rss_anon);
    field("RssFile:", found.rss_file);
    field("VmSwap:", found.swap);
  }
  return found;
}

#endif

FileCache file_cache(const std::string& path) {
  const File file(path);
  struct stat info {};
  if (file.get() < 0 || fstat(file.get(), &info) != 0) {
    throw Failure(failure_class::kModelMissing, "the model " + path + " cannot be opened: " + std::strerror(errno));
  }
  if (!S_ISREG(info.st_mode)) throw Failure(failure_class::kModelInvalid, "the model " + path + " is not a file");
  FileCache found;
  found.size = info.st_size;
  if (found.size > 0) found.resident = resident_bytes(file.get(), found.size);
  return found;
}

bool evict(const std::string& path) {
#if defined(POSIX_FADV_DONTNEED)
  const File file(path);
  // Pages that are not written back yet cannot be dropped.
  if (file.get() < 0) return false;
  fsync(file.get());
  return posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED) == 0;
#else
  (void)path;
  return false;
#endif
}

bool limit_memory(std::uint64_t bytes) {
#if defined(RLIMIT_DATA) && !defined(__APPLE__)
  const rlimit limit{static_cast<rlim_t>(bytes), static_cast<rlim_t>(bytes)};
  return setrlimit(RLIMIT_DATA, &limit) == 0;
#else
  (void)bytes;
  return false;
#endif
}

}  // namespace farm
