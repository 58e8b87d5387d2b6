"""From what a calibration run gave to checks. Pure: each function takes the stored runs of one device."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from device_agents.base import Sampling
from harness.analysis.metrics import PERCENTILE_TOKENS, percentile
from harness.errors import ErrorClass
from harness.model import MEGABYTE, Reading, Trace, Unavailable, Workload, WorkloadKind
from harness.selftest.checks import Check, at_least, near, near_share, not_run, same
from harness.selftest.runs import Seen

TIME_MS = 1.0
"""Allowed of load and inter-token times."""

MEMORY_SHARE = 0.01
RATE_SHARE = 0.05
GAP_PERIODS = 3.0
STIRRED_S = 1.0
"""For this long after it has begun or changed, a process has its memory read at the quick rate."""

FAST_SHARE = 0.5
STAMP_MS = 60.0
"""/proc/uptime counts in 10 ms; between the supervisor's stamp and the runner's first line a shell starts it."""

KIB = 1024
Seens = Mapping[str, Seen]

LOAD_MS = 300
FIRST_MS = 40
INTERVALS_MS = (5, 10, 20, 40, 8)
TOKENS = 240
"""Enough for a p99; about 4 s."""

ANON_MB = 120
HOLD_MS = 500


def _stream(tokens: int, *args: str) -> Workload:
    return Workload(WorkloadKind.STREAM, prompt_tokens=1, gen_tokens=tokens, threads=1, args=args)


TIMING = _stream(
    TOKENS,
    *("--load-ms", str(LOAD_MS), "--first-ms", str(FIRST_MS)),
    *("--jitter-list", ",".join(map(str, INTERVALS_MS))),
)
MEMORY = _stream(
    40,
    *("--load-ms", "300", "--interval-ms", "50", "--map-file", "1"),
    *("--anon-mb", str(ANON_MB), "--anon-at-ms", "600", "--anon-hold-ms", str(HOLD_MS)),
)
"""The memory is given back long before the end: only a look at the right moment, or the kernel's mark, sees it."""


@dataclass(frozen=True, slots=True)
class Death:
    """A way to die and the class that it must be given."""

    how: str
    expected: ErrorClass


DEATHS: Mapping[str, Death] = {
    "death_exit": Death("exit:3", ErrorClass.RUNNER_FAILED),
    "death_segv": Death("segv", ErrorClass.CRASHED),
    "death_abort": Death("abort", ErrorClass.CRASHED),
    "death_ill": Death("ill", ErrorClass.ILLEGAL_INSTRUCTION),
    "death_kill": Death("kill", ErrorClass.KILLED),
    "death_garbage": Death("garbage", ErrorClass.OUTPUT_GARBAGE),
    "death_no_memory": Death("nomem", ErrorClass.ALLOCATION_FAILED),
    "death_hang": Death("hang", ErrorClass.TIMED_OUT),
}


def death_workloads() -> Mapping[str, Workload]:
    return {name: _stream(2, "--load-ms", "50", "--die", f"{death.how}@300") for name, death in DEATHS.items()}


def missing(seens: Seens, name: str) -> str:
    """Why a run that must have been measured gives nothing to compare, or ""."""
    seen = seens.get(name)
    if seen is None:
        return "the run was not planned for this device"
    if seen.row.attempt == 0 and not seen.error_class:
        return "the run was never started"
    if seen.error_class:
        return f"{seen.error_class}: {seen.message}"
    return "" if seen.truth else "the runner's own record is not in the result"


def _judged(checks: Sequence[str], run: str, body: Callable[[str, Seen], list[Check]]) -> Judge:
    def judge(device: str, seens: Seens) -> list[Check]:
        why = missing(seens, run)
        return [not_run(name, device, why) for name in checks] if why else body(device, seens[run])

    return judge


Judge = Callable[[str, Seens], list[Check]]


def _clock(device: str, seen: Seen) -> list[Check]:
    """The runner's clock and the axis of stamps and samples are one."""
    reported = seen.row.provenance["reported"]
    started, ended = seen.window
    note = "runner's CLOCK_BOOTTIME; stamps of the supervisor by /proc/uptime"
    return [
        near("clock_start", device, reported["start_uptime_s"] * 1e3, started * 1e3, STAMP_MS, "ms", note),
        near("clock_end", device, reported["end_uptime_s"] * 1e3, ended * 1e3, STAMP_MS, "ms", note),
    ]


def _sampler(device: str, seen: Seen) -> list[Check]:
    periods = Sampling()
    started, ended = seen.window
    found = [_fast(device, seen.traces.get("runner.vm_rss"), periods.memory_s)]
    # Memory is read often while it changes and seldom while it does not: the seldom rate is what is promised.
    for name, channel, period in (
        ("memory", "runner.vm_rss", periods.memory_calm_s),
        ("files", "cpu.busy", periods.files_s),
    ):
        trace = seen.traces.get(channel)
        times = trace.uptime_s if trace else ()
        if len(times) < 3:
            reason = trace.channel.absent if trace and trace.channel.absent else f"{len(times)} samples"
            found += [not_run(f"sampler_{name}_{what}", device, f"{channel}: {reason}") for what in ("rate", "gap")]
            continue
        rate = (len(times) - 1) / (times[-1] - times[0])
        gaps = [later - earlier for earlier, later in itertools.pairwise((started, *times, ended))]
        least = (1 - RATE_SHARE) / period
        found += [
            at_least(f"sampler_{name}_rate", device, least, rate, "Hz", f"{len(times)} samples"),
            near(f"sampler_{name}_gap", device, period, max(gaps), GAP_PERIODS * period, "s", "longest, ends included"),
        ]
    return found


def _fast(device: str, memory: Trace | None, period: float) -> Check:
    """The quick rate is kept in the first second at least, in which a process of any runner takes its memory."""
    times = memory.uptime_s if memory else ()
    gaps = [later - earlier for earlier, later in itertools.pairwise(times) if later - times[0] <= STIRRED_S]
    if len(gaps) < 3:
        return not_run("sampler_memory_fast", device, f"{len(gaps)} intervals in the first {STIRRED_S:g} s")
    found = statistics.median(gaps)
    return near("sampler_memory_fast", device, period, found, FAST_SHARE * period, "s", f"median of {len(gaps)}")


def _timing(device: str, seen: Seen) -> list[Check]:
    """Against what the runner recorded by another clock at each write; and that record against what was asked for."""
    truth = seen.truth
    ready = number(truth, "ready_monotonic_ns")
    at = [float(moment) for moment in numbers(truth, "token_monotonic_ns")]
    gaps = [(later - earlier) / 1e6 for earlier, later in itertools.pairwise(at)]
    if len(gaps) != len(seen.itl_ms) or not gaps:
        text = f"{len(gaps)} against {len(seen.itl_ms)}"
        return [same("itl_ms", device, f"{len(gaps)} intervals", f"{len(seen.itl_ms)} intervals", text)]
    worst = max(range(len(gaps)), key=lambda index: abs(seen.itl_ms[index] - gaps[index]))
    asked = [float(gap) for gap in itertools.islice(itertools.cycle(INTERVALS_MS), len(gaps))]
    late = f"latest token {number(truth, 'late_max_ns') / 1e6:.1f} ms after its time"
    found = [
        near("load_ms", device, number(truth, "load_ns") / 1e6, load_reading(seen), TIME_MS, "ms"),
        near("ttft_ms", device, (at[0] - ready) / 1e6, seen.metric("ttft_ms"), TIME_MS, "ms"),
        near("itl_ms", device, gaps[worst], seen.itl_ms[worst], TIME_MS, "ms", f"the worst of {len(gaps)} intervals"),
    ]
    for percent in PERCENTILE_TOKENS:
        name = f"itl_ms_p{percent}"
        found.append(near(name, device, percentile(gaps, percent), seen.metric(name), TIME_MS, "ms"))
    off = statistics.median(abs(measured - wanted) for measured, wanted in zip(seen.itl_ms, asked, strict=True))
    found.append(near("itl_asked", device, 0.0, off, TIME_MS, "ms", f"median distance from what was asked; {late}"))
    return found


def load_reading(seen: Seen) -> Reading:
    """The load of this run: the first one after a push or a reboot is stored under its own name."""
    warm = seen.metric("load_ms")
    return seen.metric("load_first_ms") if isinstance(warm, Unavailable) else warm


def _memory(device: str, seen: Seen) -> list[Check]:
    truth = seen.truth
    anon = number(truth, "base_anon_kb") * KIB + number(truth, "anon_bytes")
    file = number(truth, "base_file_kb") * KIB + number(truth, "file_bytes")
    note = f"{number(truth, 'anon_bytes') / MEGABYTE:g} MB taken for {HOLD_MS / 1000:g} s"
    peak = (anon + file) / MEGABYTE
    return [
        near_share("peak_memory_mb", device, peak, seen.metric("peak_memory_mb"), MEMORY_SHARE, "MB", note),
        near("rss_anon_mb", device, anon / MEGABYTE, seen.metric("rss_anon_mb"), peak * MEMORY_SHARE, "MB"),
        near("rss_file_mb", device, file / MEGABYTE, seen.metric("rss_file_mb"), peak * MEMORY_SHARE, "MB"),
    ]


def judge_deaths(device: str, seens: Seens) -> list[Check]:
    """Each death has the class that names it."""
    found: list[Check] = []
    for name, death in DEATHS.items():
        seen = seens.get(name)
        if seen is None or (seen.row.attempt == 0 and not seen.error_class):
            found.append(not_run(name, device, "the run was never started"))
        else:
            found.append(same(name, device, death.expected.value, seen.error_class or "measured", seen.message))
    return found


def number(truth: Mapping[str, object], name: str) -> float:
    """A number of the runner's record; 0 where it has none."""
    value = truth.get(name)
    return float(value) if isinstance(value, (int, float)) else 0.0


def numbers(truth: Mapping[str, object], name: str) -> Sequence[float]:
    """A list of the runner's record; empty where it has none."""
    value = truth.get(name)
    return value if isinstance(value, list) else ()


_CLOCK = ("clock_start", "clock_end")
_SAMPLER = (
    "sampler_memory_fast",
    "sampler_memory_rate",
    "sampler_memory_gap",
    "sampler_files_rate",
    "sampler_files_gap",
)
_TIMES = ("load_ms", "ttft_ms", "itl_ms", *(f"itl_ms_p{percent}" for percent in PERCENTILE_TOKENS), "itl_asked")
_AMOUNTS = ("peak_memory_mb", "rss_anon_mb", "rss_file_mb")

judge_clock = _judged(_CLOCK, "timing", _clock)
judge_sampler = _judged(_SAMPLER, "timing", _sampler)
judge_timing = _judged(_TIMES, "timing", _timing)
judge_memory = _judged(_AMOUNTS, "memory", _memory)
