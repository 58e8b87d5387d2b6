"""How the inter-token times of a case are spread: a histogram of every token, burst and last third side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.analysis.metrics import percentile
from harness.analysis.repeats import RepeatPolicy, counted
from harness.analysis.throttle import BURST_S, LEAST_S, LEAST_TOKENS
from harness.model import CaseStatus, Measured
from reports.before import heat_view
from reports.cases import Case, median_reading, why_absent
from reports.charts import Scale, coordinate, ticks
from reports.inputs import Repetition, Telemetry
from reports.numbers import plural, significant
from reports.plots import Distribution, Histogram, Mark, Tick

WIDTH, LEFT, RIGHT = 360.0, 12.0, 348.0
TOP, BOTTOM = 56.0, 140.0
BINS = 48
PERCENTS = (50, 90, 99)
BEYOND = 1.25
"""The axis ends at this multiple of the 99th percentile: single tokens far out would press all others into one bar."""
LINE = 12.0
"""Height of a line of labels."""

Times = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Part:
    name: str
    metric: str
    times: Times


def distribution(case: Case, telemetry: Telemetry, policy: RepeatPolicy) -> Distribution:
    """The inter-token times of the repetitions that count; without histograms, and with the reason, where none are."""
    valid = [one for one in counted(case.repetitions, policy.warm_up) if one.status is CaseStatus.MEASURED]
    held = [(one, found) for one in valid if len(found := _positive(telemetry.itl(one.planned.key)))]
    if not held:
        dropped = next((one.row.dropped_tokens for one in valid if one.row.dropped_tokens), "")
        return Distribution((), dropped or why_absent(valid or case.repetitions, "itl_ms_p50"))
    whole = np.concatenate([found for _, found in held])
    burst, last = (np.concatenate(each) for each in zip(*(_ends(*each) for each in held), strict=True))
    parts = [_Part("All tokens", "", whole)]
    if min(len(burst), len(last)) >= LEAST_TOKENS:
        parts = [_Part(f"First {BURST_S:.0f} s", "burst_tps", burst), _Part("Last third", "sustained_tps", last)]
    drawn = np.concatenate([part.times for part in parts])
    high = BEYOND * max(percentile(part.times.tolist(), PERCENTS[-1]) for part in parts)
    scale = Scale(min(float(drawn.min()), high * 0.5), high, LEFT, RIGHT)
    mark = f" ({case.marks})" if case.marks else ""
    return Distribution(
        tuple(_histogram(part, scale, len(held), case, mark, policy) for part in parts),
        "",
    )


def _positive(itl_ms: Sequence[float]) -> Times:
    times = np.asarray(itl_ms, dtype=np.float64)
    return times[np.isfinite(times) & (times > 0)]


def _ends(one: Repetition, times: Times) -> tuple[Times, Times]:
    """The tokens of the first 30 s and of the last third of a run that lasted; both empty for any other.

    The run's length is spread over its tokens in proportion to their times, for the gaps between requests have none.
    """
    heat = heat_view(one.provenance)
    if heat is None or heat.duration_s < LEAST_S:
        return times[:0], times[:0]
    at = np.cumsum(times) / times.sum() * heat.duration_s
    return times[at <= BURST_S], times[at > heat.duration_s * 2 / 3]


def _histogram(part: _Part, scale: Scale, repetitions: int, case: Case, mark: str, policy: RepeatPolicy) -> Histogram:
    times = part.times.tolist()
    counts, _ = np.histogram(part.times, bins=BINS, range=(scale.low, scale.high))
    marks = [(percent, percentile(times, percent)) for percent in PERCENTS]
    told = ", ".join(f"p{percent} {significant(value)} ms" for percent, value in marks)
    beyond = sum(1 for value in times if value > scale.high)
    where = f"{case.planned.model.id}, {case.planned.workload_id}, on {case.device.id}{mark}"
    rate = median_reading(case, part.metric, policy) if part.metric else None
    return Histogram(
        title=part.name + (f", {significant(rate.value)} {rate.unit}" if isinstance(rate, Measured) else ""),
        description=f"Inter-token times of {where}, {part.name.lower()}: {plural(len(times), 'token')} of "
        f"{plural(repetitions, 'repetition')}, {significant(min(times))} to {significant(max(times))} ms, {told}."
        + (f" {plural(beyond, 'token')} beyond the axis." if beyond else ""),
        told=f"{plural(len(times), 'token')}: {told}" + (f"; {beyond} beyond the axis" if beyond else ""),
        mark=case.marks,
        width=WIDTH,
        height=BOTTOM + 18,
        axis_y=BOTTOM,
        bars=_bars(counts.tolist()),
        marks=tuple(_marks(marks, scale)),
        ticks=tuple(Tick(round(scale(at), 1), significant(at)) for at in ticks(scale.low, scale.high, 6)),
    )


def _bars(counts: Sequence[int]) -> str:
    """One path of all bars, standing on the axis."""
    most = max(counts) or 1
    width = (RIGHT - LEFT) / len(counts)
    drawn = []
    for number, count in enumerate(counts):
        if count:
            # Even a single token is seen.
            height = max((BOTTOM - TOP) * count / most, 1.0)
            x = coordinate(LEFT + number * width)
            drawn.append(
                f"M{x},{coordinate(BOTTOM)}v-{coordinate(height)}h{coordinate(width * 0.9)}V{coordinate(BOTTOM)}z"
            )
    return "".join(drawn)


def _marks(values: Iterable[tuple[int, float]], scale: Scale) -> Iterable[Mark]:
    """Lines of the percentiles, each label on a line of its own so that close ones can be read."""
    for number, (percent, value) in enumerate(values):
        x = round(scale.clamp(value), 1)
        left = x > (LEFT + RIGHT) / 2
        label_x = x - 4 if left else x + 4
        yield Mark(x, TOP - LINE * (len(PERCENTS) - number) + 8, label_x, "end" if left else "start", f"p{percent}")
