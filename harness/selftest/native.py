"""farm-runner, the runner of the runner contract, against what its runtime recorded of itself.

The runtime follows a script in place of a model. The figures come from the events and the sampler, as for any runtime;
its record comes from CLOCK_MONOTONIC, and from what it was asked to take.
"""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from android_runner.native_calibration import SCRIPT
from harness.analysis.metrics import PERCENTILE_TOKENS, percentile
from harness.errors import ErrorClass
from harness.model import MEGABYTE, Measured, Reading, Unavailable, Workload, WorkloadKind
from harness.plan import ResolvedDevice
from harness.selftest.checks import Check, near, near_share, not_run, same
from harness.selftest.judges import MEMORY_SHARE, STAMP_MS, TIME_MS, Seens, load_reading, missing, number, numbers
from harness.selftest.runs import Bench, Seen
from harness.selftest.task import Task

PROMPT_TOKENS = 8
TOKENS = 240
"""Enough for a p99; about 4 s."""

LOAD_MS = 300
FIRST_MS = 80
INTERVALS_MS = (5, 10, 20, 40, 8)
RATE_SHARE = 0.001
OVERHEAD_US = 5.0
"""Beside the runner's own work per token its figure holds the edges of the whole: two events in all tokens."""

ANON_BYTES = 120_000_000
HOLD_MS = 500
DIE_AT = 3

ROUNDS = 3
"""A stall of this machine in the only run would be taken for an error of farm's; in one of three it is not."""


def scripted(tokens: int, *, page_cache: Literal["keep", "evict"] = "keep", **script: object) -> Workload:
    """A stream of so many tokens by a script (docs/selftest.md)."""
    return Workload(
        WorkloadKind.STREAM,
        prompt_tokens=PROMPT_TOKENS,
        gen_tokens=tokens,
        threads=1,
        page_cache=page_cache,
        env={SCRIPT: json.dumps(script)},
    )


TIMING = scripted(TOKENS, load_ms=LOAD_MS, first_ms=FIRST_MS, intervals_ms=INTERVALS_MS)
MEMORY = scripted(
    30,
    page_cache="evict",
    load_ms=LOAD_MS,
    intervals_ms=(50,),
    map_model=True,
    anon_bytes=ANON_BYTES,
    anon_at_ms=600,
    anon_hold_ms=HOLD_MS,
)
"""A cold load, and memory that is given back long before the end."""


@dataclass(frozen=True, slots=True)
class Death:
    """A way to die, the class that it must be given, and whether the class tells how far the events came."""

    how: str
    expected: ErrorClass
    tells_progress: bool = True


DEATHS: Mapping[str, Death] = {
    "native_death_exit": Death("exit", ErrorClass.RUNNER_FAILED),
    "native_death_segv": Death("segv", ErrorClass.CRASHED),
    "native_death_abort": Death("abort", ErrorClass.CRASHED),
    "native_death_kill": Death("kill", ErrorClass.KILLED),
    "native_death_garbage": Death("garbage", ErrorClass.OUTPUT_GARBAGE),
    "native_death_no_memory": Death("no_memory", ErrorClass.ALLOCATION_FAILED, tells_progress=False),
}
"""One that hangs takes a minute and is ended by the same supervisor: `deaths` has it."""


Part = tuple[str, Sequence[str], Callable[[str, Seen], list[Check]]]
"""Run, the checks that are made of it, and what makes them."""


def workloads(memory: Workload = MEMORY) -> Mapping[str, Workload]:
    """Name → what is run."""
    deaths = {
        name: scripted(2 * DIE_AT, load_ms=20, intervals_ms=(20,), die=death.how, die_at=DIE_AT)
        for name, death in DEATHS.items()
    }
    again = {
        name: _loading(workload, LOAD_MS + number)
        for run, workload in (("timing", TIMING), ("memory", memory))
        for number, name in enumerate(_rounds(run))
    }
    return {**again, **deaths}


def _loading(workload: Workload, load_ms: int) -> Workload:
    """The same with another time to load, so that it is a measurement of its own."""
    return replace(workload, env={SCRIPT: json.dumps({**json.loads(workload.env[SCRIPT]), "load_ms": load_ms})})


def _rounds(run: str) -> tuple[str, ...]:
    return tuple(run if number == 1 else f"{run}_{number}" for number in range(1, ROUNDS + 1))


def trial(bench: Bench, task: Task, devices: Sequence[ResolvedDevice]) -> list[Check]:
    """Everything in one go, devices at the same time."""
    del task
    seen = bench.run(devices, workloads(), native=True)
    return [check for device in devices for check in judge(device.id, seen[device.id])]


def judge(
    device: str, seens: Seens, parts: Sequence[Part] | None = None, deaths: Mapping[str, Death] = DEATHS
) -> list[Check]:
    """The checks of one device: those of `parts` (None: all that an Android phone has) and of the deaths. Pure."""
    found: list[Check] = []
    for run, names, body in PARTS if parts is None else parts:
        rounds = [name for name in _rounds(run) if name in seens] or [run]
        why = next((why for name in rounds if (why := missing(seens, name))), "")
        if why:
            found += [not_run(name, device, why) for name in names]
        else:
            found += middle([body(device, seens[name]) for name in rounds])
    return found + [_death(name, device, death, seens.get(name)) for name, death in deaths.items()]


def middle(rounds: Sequence[Sequence[Check]]) -> list[Check]:
    """Of each check the one with the middle error. Where the error is no number in every round: one that does not hold,
    if there is one."""
    found: dict[str, list[Check]] = {}
    for checks in rounds:
        for check in checks:
            found.setdefault(check.check, []).append(check)
    return [_middle(checks) for checks in found.values()]


def _middle(checks: Sequence[Check]) -> Check:
    errors = [check.error for check in checks if check.error is not None]
    if len(errors) < len(checks):
        return min(checks, key=lambda check: check.ok)
    nearest = statistics.median_low(errors)
    chosen = next(check for check in checks if check.error == nearest)
    if len(checks) == 1:
        return chosen
    return replace(chosen, note=f"{chosen.note}; the middle of {len(checks)} runs".removeprefix("; "))


def _timing(device: str, seen: Seen) -> list[Check]:
    """Against the record by another clock at each call; and that record against what was asked for."""
    truth = seen.truth
    ends = numbers(truth, "taken_ns")
    gaps = [(later - earlier) / 1e6 for earlier, later in itertools.pairwise(ends)]
    if not gaps or len(gaps) != len(seen.itl_ms):
        return [same("native_itl_ms", device, f"{len(gaps)} intervals", f"{len(seen.itl_ms)} intervals")]
    worst = max(range(len(gaps)), key=lambda index: abs(seen.itl_ms[index] - gaps[index]))
    first_ms = (ends[0] - number(truth, "first_begun_ns")) / 1e6
    prompt = PROMPT_TOKENS / first_ms * 1e3
    rate = len(gaps) / sum(gaps) * 1e3
    found = [
        near("native_load_ms", device, number(truth, "load_ns") / 1e6, load_reading(seen), TIME_MS, "ms"),
        near("native_ttft_ms", device, first_ms, seen.metric("ttft_ms"), TIME_MS, "ms"),
        near_share("native_prefill_tps", device, prompt, seen.metric("prefill_tps"), TIME_MS / first_ms, "tok/s"),
        near_share("native_decode_tps", device, rate, seen.metric("decode_tps"), RATE_SHARE, "tok/s"),
        near("native_itl_ms", device, gaps[worst], seen.itl_ms[worst], TIME_MS, "ms", f"the worst of {len(gaps)}"),
    ]
    for percent in PERCENTILE_TOKENS:
        name = f"itl_ms_p{percent}"
        found.append(near(f"native_{name}", device, percentile(gaps, percent), seen.metric(name), TIME_MS, "ms"))
    return [*found, _asked(device, seen), _overhead(device, seen)]


def _asked(device: str, seen: Seen) -> Check:
    asked = itertools.islice(itertools.cycle(INTERVALS_MS), len(seen.itl_ms))
    off = statistics.median(abs(measured - wanted) for measured, wanted in zip(seen.itl_ms, asked, strict=True))
    late = f"latest {number(seen.truth, 'late_max_ns') / 1e6:.1f} ms after its time"
    return near("native_itl_asked", device, 0.0, off, TIME_MS, "ms", f"median distance from what was asked; {late}")


def _overhead(device: str, seen: Seen) -> Check:
    """What passed between the runtime's calls, by its own clock, is what the runner is said to cost."""
    spent = number(seen.truth, "between_ns") / 1e3 / (len(seen.itl_ms) + 1)
    told = (seen.row.provenance.get("reported") or {}).get("framework_overhead") or {}
    parts = ", ".join(f"{part} {told.get(f'{part}_us', '?')} µs" for part in ("runner", "choosing", "calls"))
    measured = seen.metric("framework_overhead_us")
    return near("native_overhead_us", device, spent, measured, OVERHEAD_US, "µs", f"per token: {parts}")


def _clock(device: str, seen: Seen) -> list[Check]:
    """The uptime in the runner's events and the axis of stamps and samples are one."""
    reported = seen.row.provenance["reported"]
    started, ended = seen.window
    note = "runner's events; stamps of the supervisor by /proc/uptime"
    return [
        near("native_clock_start", device, reported["start_uptime_s"] * 1e3, started * 1e3, STAMP_MS, "ms", note),
        near("native_clock_end", device, reported["end_uptime_s"] * 1e3, ended * 1e3, STAMP_MS, "ms", note),
    ]


def _memory(device: str, seen: Seen) -> list[Check]:
    return _amounts(device, seen, _AMOUNTS)


def _app_memory(device: str, seen: Seen) -> list[Check]:
    return _amounts(device, seen, _APP_AMOUNTS)


def _amounts(device: str, seen: Seen, names: Sequence[str]) -> list[Check]:
    """Farm's sampler, and what the runner says of itself, against what its runtime was asked to take."""
    truth = seen.truth
    base, file = number(truth, "base_anon_bytes"), number(truth, "base_file_bytes") + number(truth, "file_bytes")
    peak = base + number(truth, "anon_bytes") + file
    told = (seen.row.provenance.get("reported") or {}).get("memory") or {}
    note = f"{number(truth, 'anon_bytes') / MEGABYTE:g} MB taken and given back"
    anon = peak - file
    figures = {
        "native_peak_memory_mb": (peak, seen.metric("peak_memory_mb"), note),
        "native_rss_anon_mb": (anon, seen.metric("rss_anon_mb"), note),
        "native_rss_file_mb": (file, seen.metric("rss_file_mb"), ""),
        "native_footprint_mb": (anon, _most(seen, "runner.phys_footprint"), f"sysmontap; {note}"),
        "native_told_peak_mb": (peak, _told(told, "vm_hwm_bytes"), "the runner's own event"),
        "native_told_anon_mb": (base, _told(told, "rss_anon_bytes"), "the runner's own event, at its end"),
        "native_told_file_mb": (file, _told(told, "rss_file_bytes"), "the runner's own event, at its end"),
    }
    allowed = peak / MEGABYTE * MEMORY_SHARE
    chosen = {name: figures[name] for name in names}
    return [
        near(name, device, truth / MEGABYTE, found, allowed, "MB", why) for name, (truth, found, why) in chosen.items()
    ]


def _most(seen: Seen, channel: str) -> Reading:
    """The largest sample of a channel."""
    trace = seen.traces.get(channel)
    if trace is None or not trace.values:
        return Unavailable(trace.channel.absent if trace is not None else f"{channel} was not sampled")
    return Measured(max(trace.values), trace.channel.unit, trace.channel.source)


def _told(told: Mapping[str, object], name: str) -> float | Unavailable:
    value = told.get(name)
    return value / MEGABYTE if isinstance(value, int) else Unavailable("the runner did not tell it")


def _cold(device: str, seen: Seen) -> list[Check]:
    """The model came from storage, as the kernel counts the process's reads, and its time is that of the load."""
    truth, reported = seen.truth, seen.row.provenance.get("reported") or {}
    load_ms = number(truth, "load_ns") / 1e6
    found = [near("native_load_cold_ms", device, load_ms, seen.metric("load_cold_ms"), TIME_MS, "ms")]
    size, before = reported.get("model_bytes"), reported.get("cached_before_bytes")
    if not isinstance(size, int) or not isinstance(before, int):
        return [*found, not_run("native_evicted_mb", device, "the runner did not count the model's pages")]
    read, faults = number(truth, "storage_bytes"), number(truth, "major_faults")
    if not read and faults:
        why = "the kernel does not count what a process reads from storage"
        return [*found, not_run("native_evicted_mb", device, why)]
    note = f"read from storage by the kernel's account, {faults:.0f} major faults; not in memory by mincore"
    share = size / MEGABYTE * MEMORY_SHARE
    return [*found, near("native_evicted_mb", device, read / MEGABYTE, (size - before) / MEGABYTE, share, "MB", note)]


def _death(name: str, device: str, death: Death, seen: Seen | None) -> Check:
    """The class that names it; beside it, that what was written until then was read."""
    if seen is None or seen.row.attempt == 0:
        return not_run(name, device, seen.message if seen and seen.message else "the run was never started")
    found = seen.error_class or "measured"
    if death.tells_progress and f"after token {DIE_AT} of turn 1" not in seen.message:
        found += ", not how far it came"
    return same(name, device, death.expected.value, found, seen.message)


_TIMES = (
    *("native_load_ms", "native_ttft_ms", "native_prefill_tps", "native_decode_tps", "native_itl_ms"),
    *(f"native_itl_ms_p{percent}" for percent in PERCENTILE_TOKENS),
    *("native_itl_asked", "native_overhead_us"),
)
_TOLD = ("native_told_peak_mb", "native_told_anon_mb", "native_told_file_mb")
_AMOUNTS = ("native_peak_memory_mb", "native_rss_anon_mb", "native_rss_file_mb", *_TOLD)
_APP_AMOUNTS = ("native_peak_memory_mb", "native_footprint_mb", *_TOLD)
_COLD = ("native_load_cold_ms", "native_evicted_mb")

PARTS: Sequence[Part] = (
    ("timing", ("native_clock_start", "native_clock_end"), _clock),
    ("timing", _TIMES, _timing),
    ("memory", _AMOUNTS, _memory),
    ("memory", _COLD, _cold),
)
"""Run, its checks, and what makes them of it."""

APP_PARTS: Sequence[Part] = (
    ("timing", _TIMES, _timing),
    ("memory", _APP_AMOUNTS, _app_memory),
    ("memory", _COLD, _cold),
)
"""Of the app of an iPhone: its own stamps are those of the run, and iOS tells a footprint, not its parts."""
