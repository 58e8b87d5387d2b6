"""Every condition by itself: what passes, what fails, what is not known."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from harness.errors import ErrorClass
from harness.gates import GateCheck, GateReport, evaluate, failing, marks_of, refusal
from harness.model import Measured, Reading, Unavailable
from harness.model.inventory import Gates, PhoneSettings

GATES = Gates()
FINE: Mapping[str, float] = {
    "battery_level_pct": 74,
    "power_state_external": 1,
    "battery_override": 0,
    "thermal_override": 0,
    "thermal_status": 0,
    "skin_temperature_c": 29.5,
    "cpu_temperature_c": 33.0,
    "other_load_pct": 2.0,
    "screen_on": 1,
    "airplane_mode": 0,
    "power_saver": 0,
}


def seen(**changed: float | str) -> dict[str, Reading]:
    """A cool, quiet phone, but for what is `changed`; a text is the reason why a reading is not there."""
    values = {**FINE, **changed}
    return {
        name: Unavailable(value) if isinstance(value, str) else Measured(float(value), "", "test")
        for name, value in values.items()
    }


def check(name: str, readings: Mapping[str, Reading], **more: object) -> GateCheck:
    options = {"idle_cpu_c": None, **more}
    found = [each for each in evaluate(GATES, readings, **options) if each.name == name]  # type: ignore[arg-type]
    assert len(found) == 1
    return found[0]


def test_a_cool_quiet_phone_passes_everything() -> None:
    checks = evaluate(GATES, seen(), idle_cpu_c=30.0)
    assert {each.state for each in checks} == {"pass"}
    assert marks_of(checks) == ()


@pytest.mark.parametrize(
    ("name", "fails", "passes", "cure"),
    [
        ("thermal_status", 1, 0, "wait"),
        ("skin_temperature_c", 36.05, 36.0, "wait"),
        ("cpu_temperature_c", 45.1, 45.0, "wait"),
        ("battery_level_pct", 24, 25, "park"),
        ("other_load_pct", 10.5, 10.0, "wait"),
        ("power_saver", 1, 0, "operator"),
        ("battery_override", 1, 0, "operator"),
        ("thermal_override", 1, 0, "operator"),
    ],
)
def test_each_limit_fails_beyond_it_and_passes_at_it(name: str, fails: float, passes: float, cure: str) -> None:
    beyond, within = check(name, seen(**{name: fails})), check(name, seen(**{name: passes}))
    assert (beyond.state, beyond.cure, within.state) == ("fail", cure, "pass")
    assert [each.name for each in failing(evaluate(GATES, seen(**{name: fails}), idle_cpu_c=None))] == [name]


def test_the_cpu_is_judged_against_the_phones_own_idle_where_that_is_known() -> None:
    warm = seen(cpu_temperature_c=41.0)
    assert check("cpu_temperature_c", warm).state == "pass"
    beside_idle = check("cpu_temperature_c", warm, idle_cpu_c=31.0)
    assert (beside_idle.state, beside_idle.seen) == ("fail", "41 °C")
    assert "at most 37 °C" in beside_idle.wanted and "31 °C" in beside_idle.wanted
    assert check("cpu_temperature_c", warm, idle_cpu_c=35.0).state == "pass"


def test_a_parked_phone_has_to_reach_the_level_where_it_works_again() -> None:
    assert check("battery_level_pct", seen(battery_level_pct=30)).state == "pass"
    parked = check("battery_level_pct", seen(battery_level_pct=30), parked=True)
    assert (parked.state, parked.wanted) == ("fail", "at least 40 %")


def test_a_low_phone_that_nothing_charges_says_so() -> None:
    assert check("battery_level_pct", seen(battery_level_pct=9)).advice == ""
    assert "plug" in check("battery_level_pct", seen(battery_level_pct=9, power_state_external=0)).advice


@pytest.mark.parametrize("external", [0, 1])
def test_being_plugged_in_or_not_blocks_nothing(external: float) -> None:
    assert failing(evaluate(GATES, seen(power_state_external=external), idle_cpu_c=None)) == ()


def test_power_saver_may_be_allowed() -> None:
    allowed = evaluate(Gates(power_saver=True), seen(power_saver=1), idle_cpu_c=None)
    assert failing(allowed) == ()


@pytest.mark.parametrize(
    ("wanted", "changed", "fails"),
    [
        (PhoneSettings(stay_awake=False), {"screen_on": 0, "airplane_mode": 0}, ()),
        (PhoneSettings(), {"screen_on": 1, "airplane_mode": 0}, ()),
        (PhoneSettings(), {"screen_on": 0}, ("screen_on",)),
        (PhoneSettings(screen="on"), {"screen_on": 0}, ("screen_on",)),
        (PhoneSettings(screen="off"), {"screen_on": 1}, ("screen_on",)),
        (PhoneSettings(screen="off"), {"screen_on": 0}, ()),
        (PhoneSettings(airplane_mode="on"), {"airplane_mode": 0}, ("airplane_mode",)),
        (PhoneSettings(airplane_mode="on"), {"airplane_mode": 1}, ()),
    ],
)
def test_settings_that_were_changed_back_fail(
    wanted: PhoneSettings, changed: Mapping[str, float], fails: tuple[str, ...]
) -> None:
    checks = evaluate(GATES, seen(**changed), idle_cpu_c=None, wanted=wanted)
    assert tuple(each.name for each in failing(checks)) == fails


def test_what_the_phone_does_not_tell_passes_as_unknown_with_its_reason() -> None:
    unread = check("skin_temperature_c", seen(skin_temperature_c="no such sensor"))
    assert (unread.state, unread.seen) == ("unknown", "no such sensor")
    never_asked = evaluate(GATES, {}, idle_cpu_c=None)
    assert {each.state for each in never_asked} == {"unknown"} and failing(never_asked) == ()


def test_a_phone_without_any_reading_of_heat_is_marked_loudly() -> None:
    blind = seen(skin_temperature_c="no skin", cpu_temperature_c="zones denied", thermal_status="HAL not ready")
    (mark,) = marks_of(evaluate(GATES, blind, idle_cpu_c=None))
    assert mark.startswith("heat_unknown: ") and "zones denied" in mark and "HAL not ready" in mark
    one_left = seen(skin_temperature_c="no skin", cpu_temperature_c="zones denied")
    assert marks_of(evaluate(GATES, one_left, idle_cpu_c=None)) == ()


def test_marks_name_what_was_seen() -> None:
    hot = evaluate(GATES, seen(skin_temperature_c=41.23, other_load_pct=23, battery_override=1), idle_cpu_c=None)
    marks = marks_of(hot)
    assert "not_cooled: skin 41.23 °C (wanted: at most 36 °C)" in marks
    assert any(mark.startswith("other_load: CPU load by others 23 %") for mark in marks)
    assert any(mark.startswith("override_set: battery report overridden") for mark in marks)


def test_a_refusal_says_what_failed_and_what_to_do() -> None:
    checks = evaluate(GATES, seen(skin_temperature_c=44.0), idle_cpu_c=None)
    error = refusal(GateReport("strict", "refused", 900.0, checks, checks), "px")
    assert error.error_class is ErrorClass.GATE_REFUSED
    assert "px" in error.message and "44 °C" in error.message and "900 s" in error.message and error.advice
    checks = evaluate(GATES, seen(thermal_override=1), idle_cpu_c=None)
    error = refusal(GateReport("record", "refused", 0.0, checks, checks), "px")
    assert error.error_class is ErrorClass.OVERRIDE_SET
    assert "cmd thermalservice reset" in error.advice


def test_a_report_survives_being_stored() -> None:
    checks = evaluate(GATES, seen(skin_temperature_c=44.0, battery_level_pct="frozen"), idle_cpu_c=28.0)
    report = GateReport("record", "recorded", 12.5, checks[:2], checks, marks_of(checks), {"policy0.governor": "x"})
    assert GateReport.from_json(json.loads(json.dumps(report.to_json()))) == report
    assert report.may_run and not GateReport("strict", "parked", 0.0, checks, checks).may_run
