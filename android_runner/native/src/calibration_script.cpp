#include "calibration_script.h"

#include <cmath>
#include <string>

#include "failure.h"
#include "json.h"

namespace farm {
namespace {

constexpr double kNsPerMs = 1e6;
constexpr double kMostMs = 3.6e6;
constexpr std::int64_t kMostBytes = std::int64_t{1} << 40;

[[noreturn]] void wrong(const std::string& what) {
  throw Failure(failure_class::kBadRequest, "FARM_SCRIPT: " + what);
}

std::int64_t nanoseconds(const std::string& name, const json::Value& value) {
  const std::optional<double> ms = value.number();
  if (!ms || !(*ms >= 0 && *ms <= kMostMs)) wrong(name + " is no time in ms");
  return static_cast<std::int64_t>(std::llround(*ms * kNsPerMs));
}

std::int64_t whole(const std::string& name, const json::Value& value) {
  const std::int64_t* number = value.integer();
  if (number == nullptr || *number < 0 || *number > kMostBytes) wrong(name + " is no whole number from 0 on");
  return *number;
}

std::vector<std::int64_t> intervals(const std::string& name, const json::Value& value) {
  if (value.array() == nullptr || value.array()->empty()) wrong(name + " is no list of times in ms");
  std::vector<std::int64_t> found;
  for (const json::Value& each : *value.array()) found.push_back(nanoseconds(name, each));
  return found;
}

Death death(const std::string& name, const json::Value& value) {
  struct Word {
    const char* text;
    Death death;
  };
  static constexpr Word kWords[] = {{"exit", Death::kExit}, {"segv", Death::kSegv},       {"abort", Death::kAbort},
                                    {"kill", Death::kKill}, {"garbage", Death::kGarbage}, {"no_memory", Death::kNoMemory}};
  for (const Word& word : kWords) {
    if (value.text() != nullptr && *value.text() == word.text) return word.death;
  }
  wrong(name + " is no way to die that is known");
}

void take(Script& script, const std::string& name, const json::Value& value) {
  if (name == "load_ms") script.load_ns = nanoseconds(name, value);
  else if (name == "first_ms") script.first_ns = nanoseconds(name, value);
  else if (name == "intervals_ms") script.intervals_ns = intervals(name, value);
  else if (name == "cpu_ms") script.cpu_ns = nanoseconds(name, value);
  else if (name == "map_model" && value.boolean() != nullptr) script.map_model = *value.boolean();
  else if (name == "anon_bytes") script.anon_bytes = whole(name, value);
  else if (name == "anon_at_ms") script.anon_at_ns = nanoseconds(name, value);
  else if (name == "anon_hold_ms") script.anon_hold_ns = nanoseconds(name, value);
  else if (name == "die") script.death = death(name, value);
  else if (name == "die_at") script.die_at = whole(name, value);
  else wrong(name + " is not known");
}

}  // namespace

Script parse_script(const char* text) {
  Script script;
  if (text == nullptr) return script;
  json::Value value;
  try {
    value = json::parse(text);
  } catch (const json::Error& error) {
    wrong(error.what());
  }
  if (value.object() == nullptr) wrong("not an object");
  for (const auto& [name, member] : *value.object()) take(script, name, member);
  if ((value.object()->count("die") == 0) != (value.object()->count("die_at") == 0)) wrong("die and die_at go together");
  return script;
}

}  // namespace farm
