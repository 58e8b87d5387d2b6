// The event `device`: heat, power and place on the screen, as far as the system tells a program of them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "events.h"
#include "failure.h"

namespace farm {

// What is known now; nothing where the system does not tell.
struct DeviceState {
  std::string thermal_state;
  std::optional<bool> low_power;
  std::optional<std::int64_t> battery_level_pct;
  std::optional<bool> charging;
  std::optional<bool> frontmost;
  std::optional<std::int64_t> available_bytes;

  bool empty() const {
    return thermal_state.empty() && !low_power && !battery_level_pct && !charging && !frontmost && !available_bytes;
  }
};

// From the JSON file that FARM_DEVICE_STATE names, with the fields of the event; a file that is being replaced, or holds
// anything else, tells nothing.
DeviceState device_state();

// Tells the state of the device: when asked, when the thermal state changes, and every few seconds.
class DeviceWatch {
 public:
  explicit DeviceWatch(Events& events);

  // Throws Failure not_frontmost where the program is in the background: the system takes the GPU away from it.
  void tell(std::int64_t now);

  // As `tell`, where it is time for it.
  void follow(std::int64_t now);

  // The failure of a runtime, as what it comes from: in the background its calls fail in many ways.
  Failure cause_of(const Failure& failure) const;

 private:
  void look(std::int64_t now, bool tells);

  Events& events_;
  bool told_of_;
  std::string thermal_state_;
  std::int64_t looked_ = 0;
  std::int64_t told_ = 0;
};

}  // namespace farm
