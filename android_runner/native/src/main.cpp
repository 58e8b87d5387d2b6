// farm-runner REQUEST.json: one run of the runner contract. --capabilities prints what this program is, as one line.
#include <cstdio>
#include <cstring>
#include <exception>
#include <fstream>
#include <iterator>
#include <memory>
#include <new>
#include <string>

#include "backend.h"
#include "clock.h"
#include "driver.h"
#include "events.h"
#include "failure.h"
#include "fatal.h"
#include "json.h"
#include "request.h"

namespace {

using farm::Failure;

std::string content_of(const char* path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Failure(farm::failure_class::kBadRequest, std::string("the request ") + path + " cannot be read");
  std::string text;
  char block[65536];
  while (file.read(block, sizeof block) || file.gcount() > 0) {
    text.append(block, static_cast<std::size_t>(file.gcount()));
    if (text.size() > farm::json::kMaxBytes) break;
  }
  return text;
}

int failed(farm::Events* events, const std::string& klass, const std::string& message) {
  std::fprintf(stderr, "farm-runner: %s: %s\n", klass.c_str(), message.c_str());
  try {
    std::unique_ptr<farm::Events> spare;
    if (events == nullptr) {
      spare = std::make_unique<farm::Events>("-");
      events = spare.get();
    }
    farm::Event event("error", farm::uptime_ns());
    events->write(event.add("class", klass).add("message", message));
  } catch (const Failure&) {
    // The error stream has it.
  }
  return 1;
}

int capabilities() {
  const farm::Build build = farm::make_backend()->build();
  farm::Events events("-");
  farm::Event event("capabilities", farm::uptime_ns());
  event.add("contract", farm::kContract).add("runtime", build.runtime).add("version", build.version);
  event.add("build", FARM_BUILD).add("backends", build.accelerators).add("formats", build.formats);
  event.add("kinds", {"load", "stream", "throughput", "sustained", "battery"});
  events.write(event.add("load_modes", {"mmap", "read", "mlock"}));
  return 0;
}

int measured(const char* path) {
  std::unique_ptr<farm::Events> events;
  try {
    const farm::Request request = farm::parse_request(content_of(path));
    events = std::make_unique<farm::Events>(request.output);
    farm::set_process_events(events.get());
    farm::tell_crashes();
    const std::unique_ptr<farm::Backend> backend = farm::make_backend();
    farm::run(request, *backend, *events);
    return 0;
  } catch (const Failure& failure) {
    return failed(events.get(), failure.klass(), failure.what());
  } catch (const std::bad_alloc&) {
    return failed(events.get(), farm::failure_class::kMemoryRefused, "the system gave no more memory");
  } catch (const std::exception& error) {
    return failed(events.get(), farm::failure_class::kRuntimeFailed, error.what());
  }
}

}  // namespace

int main(int count, char** words) {
  if (count == 2 && std::strcmp(words[1], "--capabilities") == 0) return capabilities();
  if (count != 2 || words[1][0] == '-') {
    std::fprintf(stderr, "usage: farm-runner REQUEST.json | --capabilities\n");
    return 2;
  }
  return measured(words[1]);
}
