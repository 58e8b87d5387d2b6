"""Energy that a phone's battery gave during a run, by two methods that share nothing but the voltage. Pure.

Both are in `harness.analysis.energy_methods`; here an idle baseline is subtracted and the methods are compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.analysis.energy_methods import LARGEST_UNCERTAINTY, measure
from harness.analysis.gauge import GaugeCalibration
from harness.analysis.gauge_series import Window
from harness.model import Measured, Reading, Trace, Unavailable, reading_from_json, reading_json
from harness.model.words import PowerState

APART_LIMIT = 0.10
"""The two methods are flagged when they differ by more than this share of the smaller."""

BASELINE_SHARE = 0.9
"""An idle baseline has to last about as long as the run: then both see as many updates and steps of the gauge."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """Power of the same phone while idle, in the same state (screen, radio), watts.

    Args:
        by_current, by_counter: the two methods; `resolution` is the uncertainty.
        duration_s: how long it was observed.
    """

    by_current: Reading
    by_counter: Reading
    duration_s: float

    def to_json(self) -> dict[str, Any]:
        return {
            "by_current": reading_json(self.by_current),
            "by_counter": reading_json(self.by_counter),
            "duration_s": self.duration_s,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Baseline:
        """The baseline as stored.

        Raises:
            KeyError, TypeError, ValueError: it was not written by `to_json`.
        """
        by_current, by_counter = reading_from_json(value["by_current"]), reading_from_json(value["by_counter"])
        return cls(by_current, by_counter, float(value["duration_s"]))


@dataclass(frozen=True, slots=True)
class EnergyResult:
    """Energy of one run.

    Args:
        energy_j: by current; energy_counter_j: by charge counter: all that left the battery, baseline included.
        energy_per_token_j: what is left of it after the idle baseline, per token.
        power_state: over the window; power_evidence: what it was told from.
        marks: what a reader has to know, such as methods that disagree.
        detail: further figures, JSON-ready.
    """

    energy_j: Reading
    energy_counter_j: Reading
    energy_per_token_j: Reading
    power_state: PowerState
    power_evidence: str
    marks: tuple[str, ...]
    detail: Mapping[str, Any]

    def metrics(self) -> dict[str, Reading]:
        """The readings by their names in METRICS."""
        return {
            "energy_j": self.energy_j,
            "energy_counter_j": self.energy_counter_j,
            "energy_per_token_j": self.energy_per_token_j,
        }

    def to_json(self) -> dict[str, Any]:
        return {
            **{name: reading_json(reading) for name, reading in self.metrics().items()},
            "power_state": self.power_state.value,
            "power_evidence": self.power_evidence,
            "marks": list(self.marks),
            **self.detail,
        }


def energy(
    traces: Sequence[Trace],
    window: Window,
    calibration: GaugeCalibration | None,
    baseline: Baseline | Unavailable,
    *,
    tokens: int | None,
) -> EnergyResult:
    """Energy of a run, or why there is none.

    Args:
        traces: of the run; battery.current, .voltage, .charge_counter, .status, .external are looked at.
        window: start and end of the run, device uptime in seconds.
        calibration: of this phone's gauge; None: not calibrated yet.
        baseline: of this phone while idle, or why there is none.
        tokens: generated in the window; None where the runner does not count them.
    """
    measured = measure(traces, window, calibration)
    by_current, by_counter = measured.by_current, measured.by_counter
    apart = _apart(by_current, by_counter)
    marks = []
    if apart is not None and apart > APART_LIMIT:
        marks.append(
            f"energy_disagrees: by current and by charge counter are {100 * apart:.0f} % apart, more than "
            f"{100 * APART_LIMIT:.0f} %"
        )
    net, idle_j = _less_idle(by_current, by_counter, baseline, measured.duration_s)
    detail = {
        "duration_s": measured.duration_s,
        "mean_power_w": None if measured.duration_s is None else _per(by_current, by_counter, measured.duration_s),
        "apart": apart,
        "idle_j": idle_j,
        "net_j": reading_json(net),
        "baseline": baseline.to_json() if isinstance(baseline, Baseline) else {"unavailable": baseline.reason},
        "tokens": tokens,
        "gauge": dict(measured.gauge),
    }
    per_token = _per_token(net, tokens)
    return EnergyResult(by_current, by_counter, per_token, measured.state, measured.told, tuple(marks), detail)


def idle_baseline(
    traces: Sequence[Trace], window: Window, calibration: GaugeCalibration | None
) -> Baseline | Unavailable:
    """Mean power over a stretch in which the phone idled, by the same methods and under the same conditions."""
    measured = measure(traces, window, calibration, largest=1.0)
    duration = measured.duration_s
    if duration is None or (
        isinstance(measured.by_current, Unavailable) and isinstance(measured.by_counter, Unavailable)
    ):
        first = measured.by_current
        return first if isinstance(first, Unavailable) else Unavailable("the baseline has no length")
    return Baseline(_power(measured.by_current, duration), _power(measured.by_counter, duration), duration)


def _apart(one: Reading, other: Reading) -> float | None:
    """Difference as a share of the smaller."""
    if isinstance(one, Unavailable) or isinstance(other, Unavailable):
        return None
    return abs(one.value - other.value) / min(one.value, other.value)


def _power(reading: Reading, duration: float) -> Reading:
    if isinstance(reading, Unavailable):
        return reading
    return Measured(
        reading.value / duration,
        "W",
        reading.source,
        None if reading.resolution is None else reading.resolution / duration,
    )


def _per(by_current: Reading, by_counter: Reading, duration: float) -> float | None:
    best = by_current if isinstance(by_current, Measured) else by_counter
    return best.value / duration if isinstance(best, Measured) else None


def _less_idle(
    by_current: Reading, by_counter: Reading, baseline: Baseline | Unavailable, duration: float | None
) -> tuple[Reading, float | None]:
    """Energy less that of an idle phone over as long a time, by the first method that has both; and the latter."""
    gross = by_current if isinstance(by_current, Measured) else by_counter
    if isinstance(gross, Unavailable) or duration is None:
        return by_current, None
    if isinstance(baseline, Unavailable):
        return Unavailable(f"there is no idle baseline to subtract: {baseline.reason}"), None
    if baseline.duration_s < BASELINE_SHARE * duration:
        return Unavailable(
            f"the idle baseline of {baseline.duration_s:.0f} s is shorter than the run of {duration:.0f} s"
        ), None
    idle = baseline.by_current if isinstance(by_current, Measured) else baseline.by_counter
    if isinstance(idle, Unavailable):
        return Unavailable(f"the idle baseline has no value by the same method: {idle.reason}"), None
    idle_j = idle.value * duration
    value = gross.value - idle_j
    uncertainty = math.hypot(gross.resolution or 0.0, (idle.resolution or 0.0) * duration)
    if value <= 0 or uncertainty > LARGEST_UNCERTAINTY * value:
        return Unavailable(
            f"{gross.value:.4g} J less {idle_j:.4g} J of an idle phone leave {value:.3g} J ± {uncertainty:.2g} J: too "
            "little to tell"
        ), idle_j
    source = f"{gross.source}; less {idle.value:.3g} W of an idle phone"
    return Measured(value, "J", source, uncertainty), idle_j


def _per_token(net: Reading, tokens: int | None) -> Reading:
    if isinstance(net, Unavailable):
        return net
    if not tokens or tokens < 0:
        return Unavailable(
            "the number of generated tokens is not known" if tokens is None else "no token was generated"
        )
    return Measured(
        net.value / tokens, "J/token", f"{net.source}; over {tokens} tokens", (net.resolution or 0.0) / tokens
    )
