"""The wait at the gate, with a phone that follows a script and a clock that only the pauses move."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from harness.gate_keeper import wait_at_gate
from harness.gates import Conditions, GateCheck, GateReport
from harness.model.inventory import Gates, PhoneSettings
from tests.unit.gates.test_evaluate import seen


class Phone:
    """A phone whose state is a function of the seconds since the first look; each look takes half a second."""

    def __init__(self, at: Callable[[float], dict[str, float | str]]) -> None:
        self.now = 1000.0
        self.looks: list[float] = []
        self.pauses: list[float] = []
        self._at = at

    def look(self) -> Conditions:
        self.looks.append(self.now - 1000.0)
        readings = seen(**self._at(self.now - 1000.0))
        self.now += 0.5
        return Conditions(readings, {"policy0.governor": "schedutil"})

    def clock(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        assert seconds > 0
        self.pauses.append(seconds)
        self.now += seconds

    def wait(self, gates: Gates, **options: object) -> GateReport:
        return wait_at_gate(gates, self.look, clock=self.clock, pause=self.pause, **options)  # type: ignore[arg-type]


def cooling(seconds: float) -> dict[str, float | str]:
    """From 46 °C down to 26 °C, half of the way every 100 s."""
    return {"skin_temperature_c": 26.0 + 20.0 * 0.5 ** (seconds / 100.0)}


def always(**state: float | str) -> Callable[[float], dict[str, float | str]]:
    return lambda _: state


def test_a_cool_phone_passes_at_the_first_look() -> None:
    phone = Phone(always())
    report = phone.wait(Gates())
    assert (report.outcome, report.waited_s, len(phone.looks)) == ("passed", 0.0, 1)
    assert report.texts == {"policy0.governor": "schedutil"} and report.marks == ()


def test_a_hot_phone_is_waited_for_until_it_is_cool() -> None:
    phone = Phone(cooling)
    report = phone.wait(Gates(poll_s=5))
    assert report.outcome == "waited" and report.may_run
    assert 100.0 <= report.waited_s <= 106.0
    first = next(check for check in report.checks_first if check.name == "skin_temperature_c")
    last = next(check for check in report.checks_last if check.name == "skin_temperature_c")
    assert (first.state, first.seen, last.state) == ("fail", "46 °C", "pass")
    assert report.marks == ()


@pytest.mark.parametrize("skin", [36.1, 41.0, 60.0])
def test_a_hot_phone_never_passes_strict(skin: float) -> None:
    phone = Phone(always(skin_temperature_c=skin))
    report = phone.wait(Gates(mode="strict", max_wait_s=60, poll_s=7))
    assert report.outcome == "refused" and not report.may_run
    assert 60.0 <= report.waited_s < 62.0
    assert phone.looks[-1] >= 59.5, "the last look is at the end of the wait"


def test_a_phone_hot_by_any_of_its_sensors_never_passes_strict() -> None:
    for hot in ({"cpu_temperature_c": 52.0}, {"thermal_status": 2.0}, {"skin_temperature_c": 40.0}):
        assert Phone(always(**hot)).wait(Gates(max_wait_s=0)).outcome == "refused"
    idle = Phone(always(cpu_temperature_c=44.0)).wait(Gates(max_wait_s=0), idle_cpu_c=30.0)
    assert idle.outcome == "refused"


def test_record_runs_a_phone_that_stayed_hot_and_marks_it() -> None:
    report = Phone(always(skin_temperature_c=41.2)).wait(Gates(mode="record", max_wait_s=30))
    assert report.outcome == "recorded" and report.may_run and report.waited_s >= 30.0
    assert report.marks == ("not_cooled: skin 41.2 °C (wanted: at most 36 °C)",)


def test_record_waits_first() -> None:
    assert Phone(cooling).wait(Gates(mode="record")).outcome == "waited"


def test_off_looks_once_and_marks() -> None:
    phone = Phone(always(skin_temperature_c=41.2, battery_level_pct=3, thermal_override=1))
    report = phone.wait(Gates(mode="off"))
    assert (report.outcome, len(phone.looks), phone.pauses) == ("off", 1, [])
    assert {mark.partition(":")[0] for mark in report.marks} == {"not_cooled", "battery_low", "override_set"}


@pytest.mark.parametrize("mode", ["strict", "record"])
@pytest.mark.parametrize("override", ["battery_override", "thermal_override"])
def test_an_override_is_refused_at_once(mode: str, override: str) -> None:
    phone = Phone(always(**{override: 1.0, "skin_temperature_c": 44.0}))
    report = phone.wait(Gates(mode=mode))  # type: ignore[arg-type]
    assert (report.outcome, phone.pauses) == ("refused", [])


@pytest.mark.parametrize("mode", ["strict", "record"])
def test_a_low_phone_is_parked_at_once(mode: str) -> None:
    phone = Phone(always(battery_level_pct=12, skin_temperature_c=44.0))
    report = phone.wait(Gates(mode=mode))  # type: ignore[arg-type]
    assert (report.outcome, report.waited_s, phone.pauses) == ("parked", 0.0, [])
    assert not report.may_run


def test_a_low_phone_is_waited_for_when_there_is_nothing_else_to_do() -> None:
    def charging(seconds: float) -> dict[str, float | str]:
        return {"battery_level_pct": 35.0 + seconds // 20.0}

    report = Phone(charging).wait(Gates(poll_s=10), parked=True, may_park=False)
    assert report.outcome == "waited" and 95.0 <= report.waited_s <= 115.0
    low = Phone(always(battery_level_pct=12))
    assert low.wait(Gates(max_wait_s=20), may_park=False).outcome == "refused"


def test_what_only_an_operator_can_cure_is_not_waited_for() -> None:
    strict, record = Phone(always(power_saver=1)), Phone(always(power_saver=1))
    assert strict.wait(Gates()).outcome == "refused"
    report = record.wait(Gates(mode="record"))
    assert (report.outcome, report.marks[0].partition(":")[0]) == ("recorded", "power_saver")
    assert strict.pauses == record.pauses == []
    hot = Phone(always(power_saver=1, skin_temperature_c=44.0))
    assert hot.wait(Gates(mode="record", max_wait_s=20)).waited_s >= 20.0


def test_the_load_of_an_update_is_waited_for() -> None:
    def updating(seconds: float) -> dict[str, float | str]:
        return {"other_load_pct": 45.0 if seconds < 42 else 1.5}

    report = Phone(updating).wait(Gates(poll_s=3))
    assert report.outcome == "waited" and 42.0 <= report.waited_s < 47.0


def test_waiting_is_told_and_what_is_raised_passes_through() -> None:
    told: list[tuple[float, Sequence[str]]] = []

    def tell(waited_s: float, checks: tuple[GateCheck, ...]) -> None:
        told.append((waited_s, [check.name for check in checks]))
        if len(told) == 3:
            raise InterruptedError("the run is cancelled")

    with pytest.raises(InterruptedError):
        Phone(cooling).wait(Gates(poll_s=5), on_wait=tell)
    assert [names for _, names in told] == [["skin_temperature_c"]] * 3
    assert [waited for waited, _ in told] == [0.5, 6.0, 11.5]


def test_settings_of_the_run_are_part_of_the_gate() -> None:
    phone = Phone(always(screen_on=0))
    assert phone.wait(Gates()).outcome == "passed"
    assert phone.wait(Gates(), wanted=PhoneSettings(screen="on")).outcome == "refused"
