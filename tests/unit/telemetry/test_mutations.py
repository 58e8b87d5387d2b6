"""Torn, reordered, translated, garbled and huge outputs: no parser raises, dawdles or gives an impossible value."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from device_agents.android import telemetry
from device_agents.android.telemetry.sources import SOURCES
from harness.model import Measured, Trace, Unavailable

PARSERS: tuple[Callable[[bytes], object], ...] = (
    telemetry.cpuinfo_readings,
    telemetry.parse_cpuinfo,
    telemetry.parse_df,
    telemetry.parse_dumpsys_battery,
    telemetry.parse_dumpsys_meminfo,
    telemetry.parse_getprop,
    telemetry.parse_ioregistry,
    telemetry.parse_jetsam,
    telemetry.parse_live,
    telemetry.overrides,
    telemetry.parse_lmkd,
    telemetry.parse_placements,
    telemetry.parse_power_supply,
    telemetry.parse_sampled_meminfo,
    telemetry.parse_watchdog,
    telemetry.parse_proc_meminfo,
    telemetry.parse_proc_stat,
    telemetry.parse_proc_status,
    telemetry.parse_samples,
    telemetry.parse_thermal_zones,
    telemetry.parse_thermalservice,
    telemetry.parse_tombstone,
    telemetry.parse_uevent,
    *(source.ignored for source in SOURCES.values()),
)

LIMITS: Mapping[str, tuple[float, float]] = {
    "°C": (-30, 125),
    "%": (0, 100),
    "V": (2, 10),
    "A": (-30, 30),
    "mAh": (0, 40_000),
    "MB": (0, 1_048_576),
}
"""What a value of that unit can be on a phone."""

SAMPLES = b"""farm-samples 1
m 100.00 2000 1900 300 1600 0
channel\tp0c\tpolicy0.cur_freq\tkHz\t/sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq
channel\tbi\tbattery.current\tuA\t/sys/class/power_supply/battery/current_now
channel\tz0\tzone.cpu-0.temperature\t\t/sys/class/thermal/thermal_zone0/temp
absent\tzone.gpu.temperature\t/sys/class/thermal/thermal_zone1/temp\tPermission denied
f 100.10 p0c=1824000 bi=-326171 z0=41200 ma=1000000
c 100.10 cpu  10 0 10 100 0 0 0 0 0 0
s 100.10 100.14 0 battery
| Current Battery Service state:
|   USB powered: true
m 100.20 2100 2000 300 1700 0
|   level: 55
|   temperature: 301
e battery
s 100.15 100.20 0 thermalservice
| IsStatusOverride: false
| Thermal Status: 0
| HAL Ready: true
| Current temperatures from HAL:
| \tTemperature{mValue=34.6, mType=3, mName=SKIN, mStatus=0}
e thermalservice
f 100.60 p0c=1824000 bi=-22 z0=42200 ma=1000000
p 100.60 40 3 9
a 100.60 0-3;4-7 /top-app
watchdog 100.60 90000
c 100.60 cpu  30 0 20 120 0 0 0 0 0 0
s 100.61 100.69 0 meminfo
| ** MEMINFO in pid 7 [x] **
|    TOTAL PSS:   500 TOTAL RSS:   900
e meminfo
end 100.70 gone
"""

Mutation = Callable[[bytes], bytes]


def cut(draw: st.DrawFn) -> Mutation:
    start, end = draw(st.floats(0, 1)), draw(st.floats(0, 1))
    return lambda data: data[int(min(start, end) * len(data)) : int(max(start, end) * len(data))]


def reorder(draw: st.DrawFn) -> Mutation:
    random = draw(st.randoms(use_true_random=False))

    def apply(data: bytes) -> bytes:
        lines = data.split(b"\n")
        random.shuffle(lines)
        return b"\n".join(lines)

    return apply


def garble(draw: st.DrawFn) -> Mutation:
    places = draw(st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=12)), min_size=1, max_size=8))

    def apply(data: bytes) -> bytes:
        for place, junk in places:
            at = int(place * len(data))
            data = data[:at] + junk + data[at + len(junk) :]
        return data

    return apply


def enlarge(draw: st.DrawFn) -> Mutation:
    digits = b"9" * draw(st.integers(5, 5000))
    which = draw(st.integers(0, 30))
    times = draw(st.integers(1, 12))

    def apply(data: bytes) -> bytes:
        parts = data.split(b" ")
        parts.insert(min(which, len(parts)), digits)
        return (b" ".join(parts) + b"\n") * times

    return apply


def translate(draw: st.DrawFn) -> Mutation:
    digits = draw(st.sampled_from(["٠١٢٣٤٥٦٧٨٩", "०१२३४५६७८९", "0123456789"]))
    word = draw(st.sampled_from(["niveau", "ステータス", "température", "", "ﬁ"]))
    target = draw(st.sampled_from(TARGETS))
    table = {ord("0") + index: digit for index, digit in enumerate(digits)}
    return lambda data: data.decode("utf-8", "replace").translate(table).encode().replace(target, word.encode())


@st.composite
def mutations(draw: st.DrawFn) -> tuple[Mutation, ...]:
    makers = draw(st.lists(st.sampled_from([cut, reorder, garble, enlarge, translate]), min_size=1, max_size=3))
    return tuple(maker(draw) for maker in makers)


class Outputs(tuple[bytes, ...]):
    """Outputs to mutate; named shortly in the message of a failure."""

    def __repr__(self) -> str:
        return f"<{len(self)} outputs>"


@pytest.fixture(scope="module")
def outputs(captures: Path) -> Outputs:
    files = sorted(path for path in captures.rglob("*") if path.is_file())
    return Outputs([SAMPLES, *(path.read_bytes() for path in files)])


TARGETS = [b"level", b"Thermal", b"mValue", b"kB", b"VmHWM", b"cpu", b"temperature", b"HAL", b"reason", b"}", b'"']
"""Words that the parsers look for."""

EXAMPLES = int(os.environ.get("FARM_MUTATIONS", "300"))
"""Mutated outputs that are tried; FARM_MUTATIONS=10000 for the long run, which takes some minutes."""


def check_value(value: float, unit: str) -> None:
    assert math.isfinite(value)
    low, high = LIMITS.get(unit, (-math.inf, math.inf))
    assert low <= value <= high, (value, unit)


def check(found: object) -> None:
    readings: Iterable[object] = found.values() if isinstance(found, Mapping) else ()
    for reading in readings:
        if isinstance(reading, Measured):
            check_value(reading.value, reading.unit)
            assert reading.source
        elif isinstance(reading, Unavailable):
            assert reading.reason
    for trace in found if isinstance(found, tuple) else ():
        if isinstance(trace, Trace):
            check_trace(trace)


def check_trace(trace: Trace) -> None:
    assert len(trace.uptime_s) == len(trace.values)
    assert list(trace.uptime_s) == sorted(set(trace.uptime_s))
    assert bool(trace.values) != bool(trace.channel.absent)
    for value in trace.values:
        check_value(value, trace.channel.unit)


@settings(
    max_examples=EXAMPLES, deadline=timedelta(seconds=4), suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(which=st.integers(0, 10_000), changes=mutations())
def test_mutated_outputs_neither_raise_nor_give_impossible_values(
    outputs: Outputs, which: int, changes: tuple[Mutation, ...]
) -> None:
    # Every second example mutates the samples file, the richest format.
    data = outputs[0] if which % 2 else outputs[which // 2 % len(outputs)]
    for change in changes:
        data = change(data)
    for parser in PARSERS:
        check(parser(data))


@settings(max_examples=100, deadline=timedelta(seconds=2))
@given(data=st.binary(max_size=4096))
def test_any_bytes_at_all(data: bytes) -> None:
    for parser in PARSERS:
        check(parser(data))


FILLERS = [b"a", b"\n", b"cpu ", b"Temperature{", b"level: 1 ", b"m 1 1 1 1 1 1\n", b"=:"]
FILLERS += [b"{", b'{"', b'\\"', b"{'a\\'", b"<dict><key>a</key>", b"<", b'{"a":[']


@pytest.mark.parametrize("filler", FILLERS)
def test_much_of_the_same(filler: bytes) -> None:
    data = filler * (400_000 // len(filler))
    for parser in PARSERS:
        check(parser(data))
