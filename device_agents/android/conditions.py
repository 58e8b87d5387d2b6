"""What a phone says of itself before a measurement: all that the gates judge, in one round trip."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping

from device_agents.android.facts import DATA, sections
from device_agents.android.telemetry import (
    parse_df,
    parse_dumpsys_battery,
    parse_proc_meminfo,
    parse_thermal_zones,
    parse_thermalservice,
)
from device_agents.android.telemetry.proc import CpuTicks, cpu_ticks
from device_agents.android.telemetry.text import lines, missing, number, within
from device_agents.android.telemetry.thermal import zone_role
from device_agents.posix.link import Link, run_checked
from harness.gates import Conditions
from harness.model import Measured, Reading, Unavailable

CONDITION_NAMES = (
    "battery_level_pct",
    "battery_temperature_c",
    "battery_status",
    "battery_health",
    "power_state_external",
    "battery_override",
    "thermal_override",
    "thermal_status",
    "skin_temperature_c",
    "cpu_temperature_c",
    "memory_available_mb",
    "storage_free_mb",
    "other_load_pct",
    "screen_on",
    "airplane_mode",
    "power_saver",
    "uptime_s",
)
"""Every reading of `AndroidConditions.read`.

Battery and thermal names are those of the parsers of `dumpsys battery` and `dumpsys thermalservice`.
cpu_temperature_c is the hottest true CPU zone, else the hottest CPU sensor of the thermal service. other_load_pct is
the share of CPU time that was not idle over a second, all cores. Overrides and switches are 1 or 0. uptime_s counts
suspended time. Texts: "wakefulness" as `dumpsys power` names it, "policyN.governor".
"""

WINDOW_S = 1
"""Length of the look at /proc/stat: a hundred ticks per core, and short beside the time between two looks."""

RECENT_S = 3.0
"""How old an earlier reading of /proc/stat may be for the load since then to stand for that of now."""

SHORT_WINDOW_S = 0.25
"""How old it has to be, at least: twenty-five ticks per core."""

# The load is looked at first: everything after it is load of ours.
_SCRIPT = """exec 2> /dev/null
echo '@@ stat'; [ -n "$3" ] || head -n 1 /proc/stat; sleep "$1"; head -n 1 /proc/stat
echo '@@ uptime'; cat /proc/uptime
echo '@@ battery'; dumpsys battery
echo '@@ thermal'; dumpsys thermalservice
echo '@@ power'; dumpsys power
echo '@@ display'; dumpsys display | grep -m 1 'mScreenState='
echo '@@ airplane'; settings get global airplane_mode_on
echo '@@ saver'; settings get global low_power
echo '@@ meminfo'; cat /proc/meminfo
echo '@@ df'; df -k "$2"
echo '@@ zones'
for zone in /sys/class/thermal/thermal_zone*; do
type= raw=
read -r type < "$zone/type" && read -r raw < "$zone/temp"
[ -z "$type" ] || echo "${zone##*/} $type $raw"
done
echo '@@ governors'
for policy in /sys/devices/system/cpu/cpufreq/policy[0-9]*; do
governor=
read -r governor < "$policy/scaling_governor" && echo "${policy##*/} $governor"
done
exit 0"""

_WAKEFULNESS = re.compile(r"^\s*mWakefulness=([A-Za-z]{1,20})\s*$")
_SCREEN = re.compile(r"\bmScreenState=([A-Z_]{1,20})\b")
_GOVERNOR = re.compile(r"^(policy[0-9]{1,3}) ([\w-]{1,32})$", re.ASCII)
_LIT = {"ON": 1.0, "VR": 1.0, "ON_SUSPEND": 1.0, "OFF": 0.0, "DOZE": 0.0, "DOZE_SUSPEND": 0.0}
_AWAKE = {"Awake": 1.0, "Dreaming": 1.0, "Asleep": 0.0, "Dozing": 0.0}


class LastTicks:
    """The last reading of /proc/stat on one phone, and when it came."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._at = 0.0
        self._ticks: CpuTicks | None = None

    def note(self, stat: bytes) -> None:
        """Take the first line of /proc/stat in `stat`."""
        self._at = self._clock()
        self._ticks = next(iter(_ticks(stat)), None)

    def recent(self) -> tuple[CpuTicks, float] | None:
        """The reading and its age in seconds, while it is not too old."""
        age_s = self._clock() - self._at
        return None if self._ticks is None or age_s > RECENT_S else (self._ticks, age_s)


class AndroidConditions:
    """Asks the phone behind `link`.

    Args:
        storage: folder whose free space counts. last: what another look at this phone noted of its CPU time.
    """

    def __init__(self, link: Link, storage: str = DATA, *, last: LastTicks | None = None) -> None:
        self._link = link
        self._storage = storage
        self._last = last or LastTicks()

    def read(self, *, limit_s: float, quiet_pct: float = 0.0) -> Conditions:
        """One look; takes a little over `WINDOW_S`, unless an earlier look was a moment ago and shows that the phone
        is quiet: with farm's own calls in between, its load was at most `quiet_pct`.

        Raises:
            Transient: the link is lost, or the limit is reached.
        """
        recent = self._last.recent()
        if recent is not None:
            before, age_s = recent
            seen = self._look(max(0.0, SHORT_WINDOW_S - age_s), before, limit_s)
            load = seen.readings["other_load_pct"]
            if isinstance(load, Measured) and load.value <= quiet_pct:
                return seen
        return self._look(WINDOW_S, None, limit_s)

    def _look(self, wait_s: float, before: CpuTicks | None, limit_s: float) -> Conditions:
        words = (f"{wait_s:.2f}", self._storage, "" if before is None else "once")
        output = run_checked(self._link, _SCRIPT, *words, limit_s=limit_s, doing="looking at the phone's state")
        return conditions_of(output, self._storage, before)


def conditions_of(output: bytes, storage: str = DATA, before: CpuTicks | None = None) -> Conditions:
    """The conditions in the output of the script.

    Args:
        before: of an earlier look, where this one has a single reading of /proc/stat.
    """
    parts = sections(output)

    def part(name: str) -> bytes:
        return parts.get(name, b"")

    found: dict[str, Reading] = {
        **parse_dumpsys_battery(part("battery")),
        **parse_thermalservice(part("thermal")),
        **parse_proc_meminfo(part("meminfo")),
        **parse_df(part("df"), storage if storage != DATA else "/data"),
        "other_load_pct": load_of(part("stat"), before),
        "screen_on": screen_of(part("display"), part("power")),
        "airplane_mode": switch_of(part("airplane"), "airplane_mode_on"),
        "power_saver": switch_of(part("saver"), "low_power"),
        "uptime_s": _uptime(part("uptime")),
    }
    zones = cpu_zones(part("zones"))
    if zones:
        found["cpu_temperature_c"] = max(zones, key=lambda zone: zone.value)
    readings = {name: found.get(name, Unavailable("the phone does not tell")) for name in CONDITION_NAMES}
    return Conditions(readings, _texts(part("power"), part("governors")))


def load_of(stat: bytes, before: CpuTicks | None = None) -> Reading:
    """CPU time not idle between two readings of /proc/stat, % of all cores: both in `stat`, or one and `before`."""
    looks = _ticks(stat)
    source = "/proc/stat, two readings"
    if before is not None:
        looks = [before, *looks]
        source = "/proc/stat, two readings with calls of farm between them"
    if len(looks) != 2:
        return Unavailable("/proc/stat gives no CPU time")
    past, now = looks
    between = CpuTicks(now.busy - past.busy, now.total - past.total)
    if between.total <= 0:
        return Unavailable("/proc/stat does not count on between two readings")
    # Ticks of idle are corrected backwards now and then, by a few.
    busy = min(max(100 * between.busy / between.total, 0.0), 100.0)
    return Measured(busy, "%", source, 100 / between.total)


def _ticks(stat: bytes) -> list[CpuTicks]:
    return [ticks for line in lines(stat) if (ticks := cpu_ticks(line)) is not None]


def screen_of(display: bytes, power: bytes) -> Reading:
    """1 when the screen is lit: by the display's own state, else by the phone's wakefulness."""
    for line in lines(display):
        match = _SCREEN.search(line)
        if match is not None and match.group(1) in _LIT:
            return Measured(_LIT[match.group(1)], "", "dumpsys display mScreenState")
    word = wakefulness_of(power)
    if word in _AWAKE:
        return Measured(_AWAKE[word], "", "dumpsys power mWakefulness")
    return Unavailable("neither dumpsys display nor dumpsys power tells the state of the screen")


def wakefulness_of(power: bytes) -> str:
    """What `dumpsys power` gives as mWakefulness, or ""."""
    return next((match.group(1) for line in lines(power) if (match := _WAKEFULNESS.match(line))), "")


def switch_of(answer: bytes, key: str) -> Reading:
    """A global setting that is 1 or 0; Android reads one that was never set as 0."""
    source = f"settings get global {key}"
    text = next((line.strip() for line in lines(answer) if line.strip()), "")
    if text == "null":
        return Measured(0.0, "", f"{source} (never set)")
    value = number(text)
    return missing(source, "value") if value is None else within(value, "", source, (0, 1))


def _uptime(text: bytes) -> Reading:
    words = text.decode("ascii", "replace").split()
    value = number(words[0]) if words else None
    return missing("/proc/uptime", "value") if value is None else Measured(value, "s", "/proc/uptime", 0.01)


def cpu_zones(listing: bytes) -> list[Measured]:
    """The temperatures of the true CPU zones in a listing "ZONE TYPE RAW"."""
    return [
        reading
        for name, reading in parse_thermal_zones(listing).items()
        if isinstance(reading, Measured)
        and zone_role(name.removeprefix("zone.").removesuffix(".temperature").partition("@")[0]) == "cpu"
    ]


def _texts(power: bytes, governors: bytes) -> Mapping[str, str]:
    texts = {
        f"{match.group(1)}.governor": match.group(2) for line in lines(governors) if (match := _GOVERNOR.match(line))
    }
    word = wakefulness_of(power)
    return {**texts, **({"wakefulness": word} if word else {})}
