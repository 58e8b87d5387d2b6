"""What has to hold before a measurement begins, judged from what a phone says of itself. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from harness.errors import ErrorClass, Permanent
from harness.model import Measured, Reading, Step, Unavailable
from harness.model.inventory import Gates, PhoneSettings

GateState = Literal["pass", "fail", "unknown"]
Cure = Literal["wait", "park", "operator"]
GateOutcome = Literal["passed", "waited", "refused", "recorded", "parked", "off"]

OVERRIDES = ("battery_override", "thermal_override")
"""Checks that no mode but "off" lets pass: whatever the phone reports of battery and heat is then made up."""

HEAT = ("thermal_status", "skin_temperature_c", "cpu_temperature_c")
"""Checks of which at least one should be readable for a cool phone to be told from a hot one."""

_MARKS: Mapping[str, str] = {
    "thermal_status": "not_cooled",
    "skin_temperature_c": "not_cooled",
    "cpu_temperature_c": "not_cooled",
    "battery_level_pct": "battery_low",
    "other_load_pct": "other_load",
    "battery_override": "override_set",
    "thermal_override": "override_set",
}
"""Check that failed → first word of its mark; the others are marked by their own name."""

_TITLES: Mapping[str, str] = {
    "thermal_status": "thermal status",
    "skin_temperature_c": "skin",
    "cpu_temperature_c": "CPU",
    "battery_level_pct": "battery",
    "other_load_pct": "CPU load by others",
    "battery_override": "battery report",
    "thermal_override": "thermal status",
    "power_saver": "power saver",
    "screen_on": "screen",
    "airplane_mode": "airplane mode",
}

_UNSEEN = Unavailable("the phone was not asked")


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a phone says of itself before a measurement.

    Args:
        readings: by name, see `device_agents.android.conditions.CONDITION_NAMES`.
        texts: what is no number, e.g. "policy0.governor" → "schedutil".
    """

    readings: Mapping[str, Reading]
    texts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GateCheck:
    """One condition.

    Args:
        name: the reading it judges.
        state: "unknown" where the phone does not tell; it passes then.
        seen: value with unit, or why there is none.
        wanted: the limit in words.
        cure: what may make it pass: time, charging while other cases run, or somebody who changes a setting.
        advice: for that somebody; "" where time is the cure.
    """

    name: str
    state: GateState
    seen: str
    wanted: str
    cure: Cure
    advice: str = ""

    @property
    def text(self) -> str:
        return f"{_TITLES.get(self.name, self.name)} {self.seen} (wanted: {self.wanted})"


@dataclass(frozen=True, slots=True)
class GateReport:
    """How a measurement came past its gates, stored with it.

    Args:
        mode: of the gates.
        outcome: passed (at the first look), waited (passed later), refused, recorded (ran in spite of `marks`), parked
            (battery below its limit: come back later), off.
        waited_s: seconds between first and last look.
        checks_first, checks_last: equal when there was one look.
        marks: what a reader of the figures has to know, e.g. "not_cooled: skin 41.2 °C (wanted: at most 36 °C)".
        texts: of the last look.
    """

    mode: Literal["strict", "record", "off"]
    outcome: GateOutcome
    waited_s: float
    checks_first: tuple[GateCheck, ...]
    checks_last: tuple[GateCheck, ...]
    marks: tuple[str, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)

    @property
    def may_run(self) -> bool:
        """Whether the measurement begins now."""
        return self.outcome not in ("refused", "parked")

    def to_json(self) -> dict[str, Any]:
        """Plain values for the store."""
        return {
            **{name: getattr(self, name) for name in ("mode", "outcome", "waited_s")},
            "checks_first": [asdict(check) for check in self.checks_first],
            "checks_last": [asdict(check) for check in self.checks_last],
            "marks": list(self.marks),
            "texts": dict(self.texts),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> GateReport:
        """The report that `to_json` made `stored` of."""
        return cls(
            mode=stored["mode"],
            outcome=stored["outcome"],
            waited_s=float(stored["waited_s"]),
            checks_first=tuple(GateCheck(**check) for check in stored["checks_first"]),
            checks_last=tuple(GateCheck(**check) for check in stored["checks_last"]),
            marks=tuple(stored["marks"]),
            texts=dict(stored["texts"]),
        )


def evaluate(
    gates: Gates,
    seen: Mapping[str, Reading],
    *,
    idle_cpu_c: float | None,
    wanted: PhoneSettings | None = None,
    parked: bool = False,
) -> tuple[GateCheck, ...]:
    """Judge one look at a phone. External power is no condition: it takes the energy away and nothing else.

    Args:
        gates: the limits.
        seen: readings by name.
        idle_cpu_c: hottest true CPU zone of this phone at rest; None: not known, the absolute limit holds.
        wanted: settings that farm keeps on the phone; what was changed back behind its back fails.
        parked: the phone was below its battery limit and has to reach the level where it works again.
    """
    level = gates.battery_level_resume_pct if parked else gates.battery_level_min_pct
    cpu_max = gates.cpu_max_c if idle_cpu_c is None else idle_cpu_c + gates.above_idle_max_c
    margin = "" if idle_cpu_c is None else f", {gates.above_idle_max_c:g} K above its idle of {idle_cpu_c:g} °C"
    cpu_wanted = f"at most {cpu_max:g} °C{margin}"

    def of(name: str) -> Reading:
        return seen.get(name, _UNSEEN)

    checks = [
        _override(of("battery_override"), "battery_override", "dumpsys battery reset"),
        _override(of("thermal_override"), "thermal_override", "cmd thermalservice reset"),
        _at_most(of("thermal_status"), "thermal_status", gates.thermal_status_max, ""),
        _at_most(of("skin_temperature_c"), "skin_temperature_c", gates.skin_max_c, " °C"),
        _at_most(of("cpu_temperature_c"), "cpu_temperature_c", cpu_max, " °C", wanted=cpu_wanted),
        _level(of("battery_level_pct"), level, of("power_state_external")),
        _at_most(of("other_load_pct"), "other_load_pct", gates.other_load_max_pct, " %"),
    ]
    if not gates.power_saver:
        checks.append(_switch(of("power_saver"), "power_saver", False, "switch power saver off on the phone"))
    return (*checks, *(() if wanted is None else _still_set(wanted, of("screen_on"), of("airplane_mode"))))


def failing(checks: Iterable[GateCheck]) -> tuple[GateCheck, ...]:
    """The checks that do not pass."""
    return tuple(check for check in checks if check.state == "fail")


def marks_of(checks: Sequence[GateCheck]) -> tuple[str, ...]:
    """What a reader of the figures has to know of a phone that was measured in this state."""
    marks = [f"{_MARKS.get(check.name, check.name)}: {check.text}" for check in failing(checks)]
    heat = [check for check in checks if check.name in HEAT]
    if all(check.state == "unknown" for check in heat):
        reasons = "; ".join(f"{_TITLES[check.name]}: {check.seen}" for check in heat)
        marks.append(f"heat_unknown: nothing tells whether the phone was hot ({reasons})")
    return tuple(marks)


def refusal(report: GateReport, device: str) -> Permanent:
    """The error of a measurement that `report` refused or parked."""
    failed = failing(report.checks_last)
    override = any(check.name in OVERRIDES for check in failed)
    waited = f" after {report.waited_s:.0f} s" if report.waited_s >= 1 else ""
    advice = next((check.advice for check in failed if check.advice), "")
    return Permanent(
        f"{device}: not measured{waited}: {'; '.join(check.text for check in failed) or 'its gates do not pass'}",
        error_class=ErrorClass.OVERRIDE_SET if override else ErrorClass.GATE_REFUSED,
        advice=advice or "let the phone cool and idle, raise the gate's limit or wait, or run with --gates record",
        device=device,
        step=Step.GATE,
    )


def _at_most(reading: Reading, name: str, limit: float, unit: str, *, wanted: str = "") -> GateCheck:
    words = wanted or f"at most {limit:g}{unit}"
    if isinstance(reading, Unavailable):
        return GateCheck(name, "unknown", reading.reason, words, "wait")
    shown = f"{round(reading.value, 2):g}{unit}"
    return GateCheck(name, "pass" if reading.value <= limit else "fail", shown, words, "wait")


def _level(reading: Reading, least: float, external: Reading) -> GateCheck:
    words = f"at least {least:g} %"
    if isinstance(reading, Unavailable):
        return GateCheck("battery_level_pct", "unknown", reading.reason, words, "park")
    fed = not (isinstance(external, Measured) and external.value == 0)
    advice = "" if fed else "plug the phone in: nothing charges it"
    state: GateState = "pass" if reading.value >= least else "fail"
    return GateCheck("battery_level_pct", state, f"{reading.value:g} %", words, "park", advice)


def _switch(reading: Reading, name: str, on: bool, advice: str) -> GateCheck:
    words = "on" if on else "off"
    if isinstance(reading, Unavailable):
        return GateCheck(name, "unknown", reading.reason, words, "operator", advice)
    is_on = reading.value != 0
    return GateCheck(name, "pass" if is_on == on else "fail", "on" if is_on else "off", words, "operator", advice)


def _still_set(wanted: PhoneSettings, screen: Reading, airplane: Reading) -> tuple[GateCheck, ...]:
    """Whether the phone is as farm set it; one that is to stay awake and sleeps may suspend in the middle of a run."""
    checks = []
    if wanted.screen == "off":
        advice = "somebody switched the screen on; farm switches it off when a run begins"
        checks.append(_switch(screen, "screen_on", False, advice))
    elif wanted.screen == "on" or wanted.stay_awake:
        advice = "the phone fell asleep though it is to stay awake: take its lock screen away, or plug it in"
        checks.append(_switch(screen, "screen_on", True, advice))
    if wanted.airplane_mode == "on":
        advice = "somebody ended airplane mode; farm sets it when a run begins"
        checks.append(_switch(airplane, "airplane_mode", True, advice))
    return tuple(checks)


def _override(reading: Reading, name: str, command: str) -> GateCheck:
    advice = f"somebody made it up; end that with `adb shell {command}`"
    if isinstance(reading, Unavailable):
        return GateCheck(name, "unknown", reading.reason, "true", "operator", advice)
    state: GateState = "pass" if reading.value == 0 else "fail"
    return GateCheck(name, state, "true" if state == "pass" else "overridden", "true", "operator", advice)
