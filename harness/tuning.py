"""Which thread count and which cores are fastest on a phone: the settings to try, the rounds, the conclusion (pure).

Problem. On a phone with big and little cores more threads are often slower, sometimes by two orders, and nothing but
trying tells. Trying all settings fifteen times would take a night.

Method. Clusters are taken from the biggest down: the big cores alone, then with the middle ones, then all; each set is
tried with every thread count that the next smaller set could not hold. Beside them stands what `threads: auto` does.
Successive halving: each round runs the surviving settings a few times in turn, so that slow drift falls on all alike;
after a round a setting goes that is shown to be slower than the best (Welch's interval, harness.analysis.compare), and
of the others the slower half. `auto` stays, since the best is compared with it in the end. What is not distinguishable
from the best is listed beside it, and a best that is not distinguishable from `auto` says so.

Limits. The best of many is a little lucky: on another day its lead over `auto` is somewhat smaller.

Source. Jamieson, Talwalkar, "Non-stochastic best arm identification", AISTATS 2016 (successive halving).
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.analysis.compare import Comparison, Decision, compare
from harness.analysis.placement import cpu_list
from harness.analysis.statistics import centre
from harness.model import METRICS, DeviceFacts

ROUNDS = (3, 3, 4, 5)
"""Repetitions of each surviving setting per round; 15 in all for those that stay to the end."""

KEPT_LEAST = 3
"""Settings that no round goes below unless they are shown to be slower."""

RECORD_KIND = "tuned"


@dataclass(frozen=True, slots=True)
class Setting:
    """A thread count bound to cores (None: left to the system); `auto`: what `threads: auto` comes to."""

    threads: int
    cores: tuple[int, ...] | None
    auto: bool = False

    @property
    def name(self) -> str:
        """Short and unique: "4t-cpu4-7", "auto"."""
        if self.auto:
            return "auto"
        return f"{self.threads}t-" + ("any" if self.cores is None else f"cpu{cpu_list(self.cores)}")


@dataclass(frozen=True, slots=True)
class Trial:
    """A setting and the values of its repetitions; `failed` counts those without a figure."""

    setting: Setting
    values: tuple[float, ...] = ()
    failed: int = 0

    @property
    def median(self) -> float | None:
        return statistics.median(self.values) if self.values else None


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What a sweep found.

    Args:
        best: the trial with the best median; None when nothing was measured.
        alike: other settings that are not shown to be slower than it.
        against_auto: best compared with `auto`; None when either has no figure.
        reason: in words.
    """

    best: Trial | None
    alike: tuple[Setting, ...]
    against_auto: Comparison | None
    reason: str

    @property
    def beats_auto(self) -> bool:
        """Whether the best setting is shown to be better than `auto`."""
        return self.against_auto is not None and self.against_auto.decision is Decision.BETTER


def clusters(facts: DeviceFacts) -> tuple[tuple[int, ...], ...]:
    """Cores that a shell process may use, in groups of one size, the biggest first; one group when they are alike or
    the device does not tell."""
    usable = [core for core in facts.cores if not facts.cpus_allowed or core.index in facts.cpus_allowed]
    for rank in ("capacity", "max_khz"):
        sizes = {core.index: getattr(core, rank) for core in usable}
        if sizes and all(isinstance(size, int) for size in sizes.values()):
            order = sorted(set(sizes.values()), reverse=True)
            return tuple(tuple(sorted(index for index in sizes if sizes[index] == size)) for size in order)
    found = tuple(sorted(core.index for core in usable)) or tuple(sorted(facts.cpus_allowed))
    return (found,) if found else ()


def settings(facts: DeviceFacts, auto: Setting) -> tuple[Setting, ...]:
    """`auto`, and every setting of the sweep that is not the same; `auto` alone where the cores are not known."""
    found: list[Setting] = [auto]
    cores: tuple[int, ...] = ()
    for cluster in clusters(facts):
        held = len(cores)
        cores = tuple(sorted((*cores, *cluster)))
        found += [Setting(threads, cores) for threads in range(held + 1, len(cores) + 1)]
    same = (auto.threads, auto.cores)
    return tuple(each for each in found if each.auto or (each.threads, each.cores) != same)


def survivors(trials: Sequence[Trial], metric: str) -> tuple[Setting, ...]:
    """The settings that the next round runs again; the better half, without those shown to be slower, and `auto`."""
    ranked = _ranked(trials, metric)
    if not ranked:
        return ()
    best = ranked[0]
    better = METRICS[metric].better
    open_ = [best] + [
        each for each in ranked[1:] if compare(best.values, each.values, better).decision != Decision.WORSE
    ]
    kept = open_[: max(KEPT_LEAST, -(-len(ranked) // 2))]
    return tuple(each.setting for each in trials if each in kept or (each.setting.auto and each.values))


def conclude(trials: Sequence[Trial], metric: str) -> Conclusion:
    """The best setting, with what is not distinguishable from it."""
    ranked = _ranked(trials, metric)
    if not ranked:
        failed = sum(trial.failed for trial in trials)
        return Conclusion(None, (), None, f"no repetition has a figure ({failed} failed)")
    best, better = ranked[0], METRICS[metric].better
    alike = tuple(
        each.setting for each in ranked[1:] if compare(best.values, each.values, better).decision != Decision.WORSE
    )
    auto = next((trial for trial in trials if trial.setting.auto and trial.values), None)
    if auto is None:
        return Conclusion(best, alike, None, f"{best.setting.name} has the best median; auto has no figure")
    if auto is best:
        return Conclusion(best, alike, None, "auto has the best median: nothing that was tried is better")
    against = compare(auto.values, best.values, better)
    ratio = f"{against.ratio:.3f} of auto" if against.ratio is not None else "no ratio to auto"
    if against.decision is Decision.BETTER and against.interval is not None:
        low, high = against.interval
        return Conclusion(best, alike, against, f"{best.setting.name}: {ratio} (95 %: {low:.3f} to {high:.3f})")
    return Conclusion(
        best, alike, against, f"{best.setting.name} has the best median ({ratio}) but is not distinguishable from auto"
    )


def _ranked(trials: Sequence[Trial], metric: str) -> list[Trial]:
    """Trials with a figure, the best median first."""
    measured = [trial for trial in trials if trial.values]
    lower = METRICS[metric].better == "lower"
    return sorted(measured, key=lambda trial: (trial.median or 0.0) * (1 if lower else -1))


def record_key(model_id: str, runner_id: str) -> str:
    """Under which key the best setting of a phone is kept; ids as in a series, so that a new build keeps it."""
    return f"{model_id}/{runner_id}"


def record_of(
    conclusion: Conclusion, trials: Sequence[Trial], metric: str, evidence: Mapping[str, Any]
) -> dict[str, Any]:
    """The stored value of a sweep, JSON-ready.

    Args:
        evidence: run, workload, hashes and OS build that it was found with.
    """
    if conclusion.best is None:
        raise ValueError("a sweep without a figure is not kept")
    best = conclusion.best.setting
    return {
        "threads": best.threads,
        "cores": None if best.cores is None else list(best.cores),
        "auto": best.auto,
        "beats_auto": conclusion.beats_auto,
        "reason": conclusion.reason,
        "alike": [setting.name for setting in conclusion.alike],
        "metric": metric,
        "trials": [trial_json(trial) for trial in trials],
        **evidence,
    }


def trial_json(trial: Trial) -> dict[str, Any]:
    """One line of the table, JSON-ready; null for what was not measured."""
    found = centre(trial.values)
    setting = trial.setting
    return {
        "setting": setting.name,
        "threads": setting.threads,
        "cores": None if setting.cores is None else list(setting.cores),
        "n": len(trial.values),
        "failed": trial.failed,
        "median": found.value if found else None,
        "low": found.low if found else None,
        "high": found.high if found else None,
    }


def setting_of(record: Mapping[str, Any], facts: DeviceFacts) -> Setting | str:
    """The setting of a stored sweep, or in words why it cannot be used on this phone now."""
    threads, cores = record.get("threads"), record.get("cores")
    if not isinstance(threads, int) or isinstance(threads, bool) or threads < 1:
        return "the stored setting has no thread count"
    if cores is None:
        return Setting(threads, None, record.get("auto") is True)
    if not isinstance(cores, list) or not cores or not all(isinstance(core, int) and core >= 0 for core in cores):
        return "the stored setting names no cores"
    missing = sorted(set(cores) - set(facts.cpus_allowed)) if facts.cpus_allowed else []
    if missing:
        return f"a shell process may not use cores {cpu_list(missing)} now"
    return Setting(threads, tuple(sorted(cores)), record.get("auto") is True)
