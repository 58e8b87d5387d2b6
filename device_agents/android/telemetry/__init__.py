"""Parsers of what phones print, Android and iOS: pure functions from bytes, which never raise and never invent a value.

A number that the phone does not give, or that cannot be true, is `Unavailable` with the reason.
"""

from device_agents.android.telemetry.battery import parse_dumpsys_battery, parse_uevent
from device_agents.android.telemetry.ioregistry import parse_ioregistry
from device_agents.android.telemetry.jetsam import parse_jetsam
from device_agents.android.telemetry.proc import (
    cpuinfo_readings,
    parse_cpuinfo,
    parse_proc_meminfo,
    parse_proc_stat,
    parse_proc_status,
)
from device_agents.android.telemetry.sample_facts import (
    WatchdogKill,
    overrides,
    parse_live,
    parse_placements,
    parse_sampled_meminfo,
    parse_watchdog,
)
from device_agents.android.telemetry.sample_lines import Placement, cores_of
from device_agents.android.telemetry.samples import parse_samples
from device_agents.android.telemetry.storage import parse_df, parse_dumpsys_meminfo
from device_agents.android.telemetry.system import parse_getprop, parse_lmkd, parse_tombstone
from device_agents.android.telemetry.thermal import parse_thermal_zones, parse_thermalservice
from device_agents.android.telemetry.wear import parse_power_supply, wear_of

__all__ = [
    "Placement",
    "WatchdogKill",
    "cores_of",
    "cpuinfo_readings",
    "overrides",
    "parse_cpuinfo",
    "parse_df",
    "parse_dumpsys_battery",
    "parse_dumpsys_meminfo",
    "parse_getprop",
    "parse_ioregistry",
    "parse_jetsam",
    "parse_live",
    "parse_lmkd",
    "parse_placements",
    "parse_power_supply",
    "parse_proc_meminfo",
    "parse_proc_stat",
    "parse_proc_status",
    "parse_sampled_meminfo",
    "parse_samples",
    "parse_thermal_zones",
    "parse_thermalservice",
    "parse_tombstone",
    "parse_uevent",
    "parse_watchdog",
    "wear_of",
]
