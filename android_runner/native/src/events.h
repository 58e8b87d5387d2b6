// JSON lines of the contract, each of them one write: what a killed process leaves is whole up to its last line.
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

// The file the events go to.
class Events {
 public:
  // "-" is standard output; another file is appended to. Throws Failure output_unwritable.
  explicit Events(const std::string& path);
  ~Events();
  Events(const Events&) = delete;
  Events& operator=(const Events&) = delete;

  // Throws Failure output_unwritable.
  void write(Event& event);

  int descriptor() const { return descriptor_; }

 private:
  int descriptor_;
  bool own_;
};

}  // namespace farm
