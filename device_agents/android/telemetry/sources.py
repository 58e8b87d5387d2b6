"""Every saved output that `farm parse` reads: its name, its parser, and what the parser leaves out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from device_agents.android.telemetry.battery import (
    ignored_battery,
    ignored_uevent,
    parse_dumpsys_battery,
    parse_uevent,
)
from device_agents.android.telemetry.ioregistry import ignored_ioregistry, parse_ioregistry
from device_agents.android.telemetry.jetsam import ignored_jetsam, parse_jetsam
from device_agents.android.telemetry.proc import (
    cpuinfo_readings,
    ignored_cpuinfo,
    ignored_proc_status,
    parse_proc_status,
)
from device_agents.android.telemetry.storage import ignored_df, ignored_meminfo, parse_df, parse_dumpsys_meminfo
from device_agents.android.telemetry.text import Ignored, Words
from device_agents.android.telemetry.thermal import ignored_thermalservice, parse_thermalservice
from harness.model import Reading


@dataclass(frozen=True, slots=True)
class Source:
    """How one kind of output is read, and what of it is seen but not used; both are pure and never raise."""

    parse: Callable[[bytes], Mapping[str, Reading | Words]]
    ignored: Callable[[bytes], tuple[Ignored, ...]]


SOURCES: Mapping[str, Source] = {
    "dumpsys-battery": Source(parse_dumpsys_battery, ignored_battery),
    "dumpsys-thermalservice": Source(parse_thermalservice, ignored_thermalservice),
    "uevent": Source(parse_uevent, ignored_uevent),
    "dumpsys-meminfo": Source(parse_dumpsys_meminfo, ignored_meminfo),
    "proc-status": Source(parse_proc_status, ignored_proc_status),
    "df": Source(parse_df, ignored_df),
    "jetsam": Source(parse_jetsam, ignored_jetsam),
    "ioregistry": Source(parse_ioregistry, ignored_ioregistry),
    "cpuinfo": Source(cpuinfo_readings, ignored_cpuinfo),
}
"""Name of a saved output → how it is read."""
