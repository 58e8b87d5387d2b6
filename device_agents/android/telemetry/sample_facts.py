"""What a samples file tells beside its traces: the newest values, where the process ran, how the sampler ended it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from device_agents.android.telemetry.sample_lines import Placement, sort_lines
from device_agents.android.telemetry.samples import read_service
from device_agents.android.telemetry.storage import parse_dumpsys_meminfo
from device_agents.android.telemetry.text import number
from harness.model import MEGABYTE, Measured, Reading, Unavailable


def parse_live(data: bytes) -> dict[str, float]:
    """The newest values in the end of a samples file, for a progress line.

    Args:
        data: its last bytes; 16 KiB hold several answers of both services.

    Returns: those of temperature_c (hottest current CPU sensor, else skin, else battery), thermal_status,
    battery_level_pct and memory_mb (resident now) that are known.
    """
    raw = sort_lines(data)
    newest: dict[str, float] = {}
    for answer in raw.answers:
        for name, reading in read_service(answer).items():
            if isinstance(reading, Measured):
                newest[name] = reading.value
    live: dict[str, float] = {}
    for name in ("battery_temperature_c", "skin_temperature_c", "cpu_temperature_c"):
        if name in newest:
            live["temperature_c"] = newest[name]
    live.update({name: newest[name] for name in ("thermal_status", "battery_level_pct") if name in newest})
    if raw.memory:
        resident = number(raw.memory[-1][1][1])
        if resident is not None:
            live["memory_mb"] = resident * 1024 / MEGABYTE
    return live


def parse_placements(data: bytes) -> tuple[Placement, ...]:
    """Where the threads of the process were allowed to run, by time; empty when it was not looked at."""
    return tuple(sort_lines(data).placements)


@dataclass(frozen=True, slots=True)
class WatchdogKill:
    """The sampler ended the process because the phone's available memory was below the floor."""

    uptime_s: float
    available_mb: float


def parse_watchdog(data: bytes) -> WatchdogKill | None:
    """The line that the sampler leaves when it ends the process; None when it did not."""
    found = sort_lines(data).watchdog
    return None if found is None else WatchdogKill(found[0], found[1] * 1024 / MEGABYTE)


def parse_sampled_meminfo(data: bytes) -> dict[str, Reading]:
    """`dumpsys meminfo` of the process at the end, as `parse_dumpsys_meminfo` reads it.

    A process that ends by itself is gone before it can be asked for, so all of it is unavailable then; so is that of a
    phone which took too long to answer.
    """
    answers = [answer for answer in sort_lines(data).answers if answer.service == "meminfo"]
    if not answers:
        none = Unavailable(
            "dumpsys meminfo did not answer while the process lived; one that ends by itself is not asked for"
        )
        return dict.fromkeys(parse_dumpsys_meminfo(b""), none)
    if answers[-1].status != "0":
        failed = Unavailable(f"dumpsys meminfo ended with {answers[-1].status}")
        return dict.fromkeys(parse_dumpsys_meminfo(b""), failed)
    return parse_dumpsys_meminfo(answers[-1].text)


def overrides(data: bytes) -> Mapping[str, tuple[Reading, Reading]]:
    """battery_override and thermal_override of the first and of the last answer of their services (1: somebody froze
    the report, see the parsers); unavailable where a service did not answer."""
    raw = sort_lines(data)
    found: dict[str, tuple[Reading, Reading]] = {}
    for service, name in (("battery", "battery_override"), ("thermalservice", "thermal_override")):
        answers = [answer for answer in raw.answers if answer.service == service and answer.status == "0"]
        none = Unavailable(f"dumpsys {service} was not answered while the process ran")
        first, last = (read_service(answers[at]).get(name, none) if answers else none for at in (0, -1))
        found[name] = (first, last)
    return found
