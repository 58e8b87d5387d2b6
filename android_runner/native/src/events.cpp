#include "events.h"

#include <fcntl.h>
#include <unistd.h>

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
  if (!own_) return;
  descriptor_ = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (descriptor_ < 0) {
    throw Failure(failure_class::kOutputUnwritable, path + " cannot be written: " + std::strerror(errno));
  }
}

Events::~Events() {
  if (own_ && descriptor_ >= 0) close(descriptor_);
}

void Events::write(Event& event) {
  std::string_view rest = event.finish();
  while (!rest.empty()) {
    const ssize_t written = ::write(descriptor_, rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      throw Failure(failure_class::kOutputUnwritable, std::string("the events cannot be written: ") +
                                                          std::strerror(written < 0 ? errno : EIO));
    }
    rest.remove_prefix(static_cast<std::size_t>(written));
  }
}

}  // namespace farm
