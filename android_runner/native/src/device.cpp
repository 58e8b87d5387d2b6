#include "device.h"

#include <array>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string_view>

#include "clock.h"
#include "json.h"

namespace farm {
namespace {

constexpr std::int64_t kLookEvery = 250'000'000;
constexpr std::int64_t kTellEvery = 5'000'000'000;
constexpr std::array<std::string_view, 4> kThermalStates{"nominal", "fair", "serious", "critical"};

const char* state_file() {
  const char* path = std::getenv("FARM_DEVICE_STATE");
  return path != nullptr && *path != '\0' ? path : nullptr;
}

Failure not_frontmost() {
  return Failure(failure_class::kNotFrontmost,
                 "the program went to the background, where the system takes the GPU away and may suspend it");
}

const json::Value* member(const json::Object& object, std::string_view name) {
  const auto found = object.find(name);
  return found == object.end() ? nullptr : &found->second;
}

std::optional<bool> flag(const json::Object& object, std::string_view name) {
  const json::Value* value = member(object, name);
  if (value == nullptr || value->boolean() == nullptr) return std::nullopt;
  return *value->boolean();
}

std::optional<std::int64_t> count(const json::Object& object, std::string_view name, std::int64_t most) {
  const json::Value* value = member(object, name);
  const std::int64_t* found = value == nullptr ? nullptr : value->integer();
  if (found == nullptr || *found < 0 || *found > most) return std::nullopt;
  return *found;
}

}  // namespace

DeviceState device_state() {
  DeviceState state;
  const char* path = state_file();
  if (path == nullptr) return state;
  std::ifstream file(path, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  json::Value told;
  try {
    told = json::parse(text);
  } catch (const json::Error&) {
    return state;
  }
  if (told.object() == nullptr) return state;
  const json::Object& fields = *told.object();
  if (const json::Value* thermal = member(fields, "thermal_state"); thermal != nullptr && thermal->text() != nullptr) {
    for (const std::string_view known : kThermalStates) {
      if (*thermal->text() == known) state.thermal_state = known;
    }
  }
  state.low_power = flag(fields, "low_power");
  state.battery_level_pct = count(fields, "battery_level_pct", 100);
  state.charging = flag(fields, "charging");
  state.frontmost = flag(fields, "frontmost");
  state.available_bytes = count(fields, "available_bytes", INT64_MAX);
  return state;
}

DeviceWatch::DeviceWatch(Events& events) : events_(events), told_of_(state_file() != nullptr) {}

void DeviceWatch::tell(std::int64_t now) { look(now, true); }

void DeviceWatch::follow(std::int64_t now) {
  if (told_of_ && now - looked_ >= kLookEvery) look(now, now - told_ >= kTellEvery);
}

Failure DeviceWatch::cause_of(const Failure& failure) const {
  return told_of_ && device_state().frontmost == false ? not_frontmost() : failure;
}

void DeviceWatch::look(std::int64_t now, bool tells) {
  if (!told_of_) return;
  looked_ = now;
  const DeviceState state = device_state();
  if ((tells || state.thermal_state != thermal_state_ || state.frontmost == false) && !state.empty()) {
    told_ = now;
    thermal_state_ = state.thermal_state;
    Event event("device", uptime_ns());
    if (!state.thermal_state.empty()) event.add("thermal_state", state.thermal_state);
    if (state.low_power) event.flag("low_power", *state.low_power);
    if (state.battery_level_pct) event.add("battery_level_pct", *state.battery_level_pct);
    if (state.charging) event.flag("charging", *state.charging);
    if (state.frontmost) event.flag("frontmost", *state.frontmost);
    if (state.available_bytes) event.add("available_bytes", *state.available_bytes);
    events_.write(event);
  }
  if (state.frontmost == false) throw not_frontmost();
}

}  // namespace farm
