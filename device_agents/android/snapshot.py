"""The state of a phone right now: battery and its wear, heat, memory."""

from __future__ import annotations

from collections.abc import Mapping

from device_agents.android.conditions import LastTicks, cpu_zones
from device_agents.android.facts import sections
from device_agents.android.telemetry import (
    parse_dumpsys_battery,
    parse_power_supply,
    parse_proc_meminfo,
    parse_thermalservice,
    parse_uevent,
    wear_of,
)
from device_agents.posix.link import Link, LinkShell
from harness.model import Measured, Reading, Unavailable

_SCRIPT = """exec 2> /dev/null
echo '@@ battery'; dumpsys battery
echo '@@ thermal'; dumpsys thermalservice
echo '@@ meminfo'; cat /proc/meminfo
echo '@@ zones'
for zone in /sys/class/thermal/thermal_zone*; do
type= raw=
read -r type < "$zone/type" && read -r raw < "$zone/temp"
[ -z "$type" ] || echo "${zone##*/} $type $raw"
done
echo '@@ supply'
for name in health cycle_count charge_full charge_full_design; do
value= file="/sys/class/power_supply/battery/$name"
read -r value < "$file"
if [ -n "$value" ]; then echo "$name=$value"
elif [ ! -e "$file" ]; then echo "$name absent"
elif [ -r "$file" ]; then echo "$name empty"
else echo "$name denied"
fi
done
echo '@@ uevent'; cat /sys/class/power_supply/battery/uevent
echo '@@ stat'; head -n 1 /proc/stat
exit 0"""

_DESIGN = "/sys/class/power_supply/battery/charge_full_design"
"""In µAh (kernel ABI, power supply class)."""

_NAMES = (
    "battery_level_pct",
    "battery_temperature_c",
    "battery_status",
    "battery_current_a",
    "thermal_status",
    "skin_temperature_c",
    "cpu_temperature_c",
    "memory_available_mb",
    "power_state_external",
    "battery_health",
    "cycle_count",
    "charge_full_mah",
    "charge_full_design_mah",
)


class AndroidTelemetry:
    """`device_agents.base.Telemetry` of the phone behind `link`.

    Args:
        last: gets the CPU time, for the look at the phone's load that follows.
    """

    def __init__(self, link: Link, last: LastTicks | None = None) -> None:
        self._link = link
        self._last = last or LastTicks()

    def snapshot(self, *, limit_s: float) -> Mapping[str, Reading]:
        output = LinkShell(self._link).script(_SCRIPT, limit_s=limit_s).stdout
        self._last.note(sections(output).get("stat", b""))
        return snapshot_of(output)

    def design_capacity(self, *, limit_s: float) -> Reading:
        said = LinkShell(self._link).run(("cat", _DESIGN), limit_s=limit_s)
        text = said.stdout.decode("ascii", "replace").strip()
        if said.exit_code != 0 or not text.isdigit() or int(text) == 0:
            why = said.stderr.decode("utf-8", "replace").strip()
            return Unavailable(f"the phone does not tell its design capacity: {why or text or 'no answer'}")
        return Measured(int(text) / 1000, "mAh", _DESIGN, 1.0)


def snapshot_of(output: bytes) -> dict[str, Reading]:
    """The readings in the output of the script; the hottest true CPU zone where the thermal service gives no CPU."""
    parts = sections(output)
    battery = parse_dumpsys_battery(parts.get("battery", b""))
    supply, uevent = parse_power_supply(parts.get("supply", b"")), parse_uevent(parts.get("uevent", b""))
    found: dict[str, Reading] = {
        **battery,
        **parse_thermalservice(parts.get("thermal", b"")),
        **parse_proc_meminfo(parts.get("meminfo", b"")),
        **wear_of(battery, supply, uevent),
    }
    if not isinstance(found["cpu_temperature_c"], Measured):
        zones = cpu_zones(parts.get("zones", b""))
        if zones:
            found["cpu_temperature_c"] = max(zones, key=lambda zone: zone.value)
    return {name: found.get(name, Unavailable("the phone does not tell")) for name in _NAMES}
