#include "events.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "failure.h"
#include "json.h"

namespace farm {
namespace {

void append_number(std::string& to, std::int64_t value) {
  char digits[24];
  const auto done = std::to_chars(digits, digits + sizeof digits, value);
  to.append(digits, done.ptr);
}

// A page or more of a phone of any page size: some hundred tokens.
constexpr std::size_t kAhead = 16384;

Failure unwritable(int error) {
  return Failure(failure_class::kOutputUnwritable, std::string("the events cannot be written: ") + std::strerror(error));
}

void write_all(int descriptor, std::string_view rest) {
  while (!rest.empty()) {
    const ssize_t written = ::write(descriptor, rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) throw unwritable(written < 0 ? errno : EIO);
    rest.remove_prefix(static_cast<std::size_t>(written));
  }
}

}  // namespace

Event::Event(std::string_view name, std::int64_t at_ns) {
  line_.reserve(128);
  line_ = "{\"event\":";
  json::append_string(line_, name);
  add("t", at_ns);
}

void Event::key(std::string_view name) {
  line_ += ',';
  json::append_string(line_, name);
  line_ += ':';
}

Event& Event::add(std::string_view name, std::int64_t value) {
  key(name);
  append_number(line_, value);
  return *this;
}

Event& Event::add(std::string_view name, std::string_view value) {
  key(name);
  json::append_string(line_, value);
  return *this;
}

Event& Event::add(std::string_view name, const std::vector<std::string>& values) {
  key(name);
  line_ += '[';
  for (const std::string& value : values) {
    if (line_.back() != '[') line_ += ',';
    json::append_string(line_, value);
  }
  line_ += ']';
  return *this;
}

Event& Event::flag(std::string_view name, bool value) {
  key(name);
  line_ += value ? "true" : "false";
  return *this;
}

Event& Event::numbers(std::string_view name, const std::vector<std::int64_t>& values) {
  key(name);
  line_ += '[';
  for (const std::int64_t value : values) {
    if (line_.back() != '[') line_ += ',';
    append_number(line_, value);
  }
  line_ += ']';
  return *this;
}

std::string_view Event::finish() {
  line_ += "}\n";
  return line_;
}

Events::Events(const std::string& path) : descriptor_(STDOUT_FILENO), own_(path != "-") {
  struct stat info {};
  if (own_) {
    const bool other = stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode);
    // A pipe that its writer can read itself would never end for its reader.
    descriptor_ = open(path.c_str(), other ? O_WRONLY | O_CLOEXEC : O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (descriptor_ < 0) {
      throw Failure(failure_class::kOutputUnwritable, path + " cannot be written: " + std::strerror(errno));
    }
  }
  if (fstat(descriptor_, &info) != 0 || !S_ISREG(info.st_mode)) return;
  if (!own_) {
    // Standard output is opened for writing only, which cannot be mapped.
    const int again = open("/proc/self/fd/1", O_RDWR | O_CLOEXEC);
    if (again < 0) return;
    dup2(STDERR_FILENO, STDOUT_FILENO);
    descriptor_ = again;
    own_ = true;
  }
  mapped_ = true;
  size_ = info.st_size;
}

Events::~Events() {
  unmap();
  if (own_) close(descriptor_);
}

void Events::write(Event& event) {
  const std::string_view line = event.finish();
  if (mapped_ && static_cast<std::size_t>(end_ - at_) < line.size()) map_ahead(line.size());
  if (!mapped_) return write_all(descriptor_, line);
  std::memcpy(at_, line.data(), line.size());
  at_ += line.size();
  size_ += static_cast<std::int64_t>(line.size());
}

void Events::write_last(std::string_view line) {
  cut();
  mapped_ = false;
  [[maybe_unused]] const ssize_t written = size_ > 0 ? pwrite(descriptor_, line.data(), line.size(), size_)
                                                     : ::write(descriptor_, line.data(), line.size());
}

// Grows the file by spaces, really written so that a full storage shows here, and maps from the next event on. On
// a file system without shared mappings events are written one by one.
void Events::map_ahead(std::size_t least) {
  unmap();
  const std::int64_t page = sysconf(_SC_PAGESIZE);
  const std::int64_t from = size_ / page * page;
  const std::int64_t to = (size_ + static_cast<std::int64_t>(std::max(least, kAhead)) + page - 1) / page * page;
  if (lseek(descriptor_, size_, SEEK_SET) < 0) throw unwritable(errno);
  try {
    write_all(descriptor_, std::string(static_cast<std::size_t>(to - size_), ' '));
  } catch (const Failure&) {
    cut();
    throw;
  }
  const auto length = static_cast<std::size_t>(to - from);
  void* mapped = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor_, from);
  if (mapped == MAP_FAILED) {
    cut();
    mapped_ = false;
    if (lseek(descriptor_, size_, SEEK_SET) < 0) throw unwritable(errno);
    return;
  }
  begin_ = static_cast<char*>(mapped);
  at_ = begin_ + (size_ - from);
  end_ = begin_ + length;
}

void Events::unmap() {
  cut();
  if (begin_ != nullptr) munmap(begin_, static_cast<std::size_t>(end_ - begin_));
  begin_ = at_ = end_ = nullptr;
}

void Events::cut() {
  if (!mapped_) return;
  [[maybe_unused]] const int done = ftruncate(descriptor_, size_);
}

}  // namespace farm
