"""The parts of the run step of one repetition, and the moments of its tokens, on the device's clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.analysis.throttle import BURST_S
from harness.model import Measured, Reading
from reports.before import HeatView, heat_view
from reports.charts import Point


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of the run step in device uptime, seconds; `name` is load, prefill, decode, or a part of a run of
    minutes: warm-up, burst, rest of first third, last third."""

    name: str
    start: float
    end: float


def phases_of(provenance: Mapping[str, Any], metrics: Mapping[str, Reading]) -> tuple[Phase, ...]:
    """Load, prefill and decode as far as they are known: the device's own stamps, and the time to first token.

    A program that loads, prefills and decodes several times inside one process (a throughput tool) has no stamps for
    them; nothing is drawn then.
    """
    recorded = provenance.get("stamps")
    stamps = {name: float(at) for name, at in recorded.items()} if isinstance(recorded, Mapping) else {}
    started, ready = stamps.get("started"), stamps.get("ready")
    requested, answered = stamps.get("requested"), stamps.get("answered")
    phases: list[Phase] = []
    heat = heat_view(provenance)
    if heat is not None:
        return _phases_of_heat(heat, started, ready)
    if started is not None and ready is not None:
        phases.append(Phase("load", started, ready))
    first = metrics.get("ttft_ms")
    if requested is not None and answered is not None and isinstance(first, Measured):
        token = requested + first.value / 1000
        if token <= answered:
            phases.append(Phase("prefill", requested, token))
            phases.append(Phase("decode", token, answered))
    return tuple(phase for phase in phases if phase.end > phase.start)


def _phases_of_heat(heat: HeatView, started: float | None, ready: float | None) -> tuple[Phase, ...]:
    """Of a run of many requests: what is compared by the verdict on throttling."""
    phases: list[Phase] = []
    begin, length = heat.start_uptime_s, heat.duration_s
    if started is not None and ready is not None:
        phases.append(Phase("load", started, ready))
    if ready is not None and length:
        phases.append(Phase("warm-up", ready, begin))
    burst = min(BURST_S, length)
    phases.append(Phase("burst", begin, begin + burst))
    phases.append(Phase("rest of first third", begin + burst, begin + length / 3))
    phases.append(Phase("last third", begin + max(length * 2 / 3, burst), begin + length))
    return tuple(phase for phase in phases if phase.end > phase.start)


def token_points(itl_ms: Sequence[float], phases: Sequence[Phase]) -> list[Point]:
    """Inter-token times at the moments their tokens came; only where the start of decode is known."""
    decode = next((phase for phase in phases if phase.name == "decode"), None)
    if decode is None:
        return []
    at, points = decode.start, list[Point]()
    for latency in itl_ms:
        at += latency / 1000
        points.append((at, float(latency)))
    return points
