// JSON lines of the contract, each whole in the file before the work goes on: what a killed process leaves is whole up to
// its last line.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace farm {

// One event under construction: {"event":NAME,"t":UPTIME_NS,...}.
class Event {
 public:
  Event(std::string_view name, std::int64_t at_ns);

  Event& add(std::string_view name, std::int64_t value);
  Event& add(std::string_view name, std::string_view value);
  Event& add(std::string_view name, const std::vector<std::string>& values);
  Event& flag(std::string_view name, bool value);
  Event& numbers(std::string_view name, const std::vector<std::int64_t>& values);

  // The whole line with its end.
  std::string_view finish();

 private:
  void key(std::string_view name);

  std::string line_;
};

// The file the events go to. A regular file is grown ahead by spaces and written through a mapping of them: a system call
// per token costs tens of microseconds with the caches full of weights, a copy into a page less than one. The spaces that
// are left are cut off at the end; a killed process leaves them.
class Events {
 public:
  // "-" is standard output, taken away from whoever else prints there where it is a file; another file is appended to.
  // Throws Failure output_unwritable.
  explicit Events(const std::string& path);
  ~Events();
  Events(const Events&) = delete;
  Events& operator=(const Events&) = delete;

  // Throws Failure output_unwritable.
  void write(Event& event);

  // The last line of a process that is about to end: only what a signal handler may do.
  void write_last(std::string_view line);

 private:
  void map_ahead(std::size_t least);
  void unmap();
  void cut();

  int descriptor_;
  bool own_;
  bool mapped_ = false;
  // Of the file: where the next event goes.
  std::int64_t size_ = 0;
  // Of the mapping: its beginning, the place of the next event, its end.
  char* begin_ = nullptr;
  char* at_ = nullptr;
  char* end_ = nullptr;
};

}  // namespace farm
