"""Power state from what a phone says and from what its battery does."""

from __future__ import annotations

import pytest

from harness.analysis.gauge import GaugeCalibration
from harness.analysis.power_state import power_state, power_state_over
from harness.model import Measured, Reading, Unavailable
from harness.model.words import PowerState
from tests.unit.power.gauges import MAKERS, calibration_of, changed, steady, stretch, without


def readings(external: float | None, status: float | None, amperes: float | None = None) -> dict[str, Reading]:
    names = ("power_state_external", "battery_status", "battery_current_a")
    return {
        name: Unavailable(f"{name} hidden") if value is None else Measured(value, "", "phone")
        for name, value in zip(names, (external, status, amperes), strict=True)
    }


@pytest.mark.parametrize(
    ("external", "status", "state"),
    [
        (1, 2, PowerState.CHARGING),
        (1, 5, PowerState.PLUGGED_IDLE),
        (1, 4, PowerState.PLUGGED_IDLE),
        (1, 3, PowerState.PLUGGED_DRAINING),
        (1, 1, PowerState.UNKNOWN),
        (1, None, PowerState.UNKNOWN),
        (0, 3, PowerState.UNPLUGGED),
        (0, None, PowerState.UNPLUGGED),
        (0, 1, PowerState.UNPLUGGED),
        (0, 2, PowerState.UNKNOWN),
        (0, 5, PowerState.UNKNOWN),
        (None, 3, PowerState.UNKNOWN),
        (None, 2, PowerState.CHARGING),
        (None, None, PowerState.UNKNOWN),
    ],
)
def test_by_the_phones_word(external: float | None, status: float | None, state: PowerState) -> None:
    found, told = power_state(readings(external, status))
    assert found is state
    assert told


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("external", "status", "into_a", "state"),
    [
        (1, 2, 1.2, PowerState.CHARGING),
        (1, 2, -0.4, PowerState.PLUGGED_DRAINING),
        (1, 2, 0.01, PowerState.PLUGGED_IDLE),
        (1, None, 1.2, PowerState.CHARGING),
        (0, 3, -0.8, PowerState.UNPLUGGED),
        (0, 3, 0.8, PowerState.UNKNOWN),
    ],
)
def test_a_calibrated_current_outranks_the_word(
    sign: int, external: float, status: float | None, into_a: float, state: PowerState
) -> None:
    seen = readings(external, status, into_a * sign)
    assert power_state(seen, outflow_per_unit=-sign)[0] is state


def test_a_current_of_unknown_sign_is_not_looked_at() -> None:
    assert power_state(readings(1, 2, -3.0))[0] is PowerState.CHARGING


def test_nothing_asked_is_unknown() -> None:
    assert power_state({})[0] is PowerState.UNKNOWN


def test_over_a_window() -> None:
    maker = MAKERS[1]
    run = stretch(maker, steady(5.0), minutes=5)
    calibration = calibration_of(maker)
    assert power_state_over(run.traces, run.window, calibration)[0] is PowerState.UNPLUGGED
    assert power_state_over(run.traces, run.window)[0] is PowerState.UNPLUGGED
    assert power_state_over(run.traces, run.window, GaugeCalibration())[0] is PowerState.UNPLUGGED
    turned = changed(run.traces, "battery.current", lambda _at, old: -old)
    assert power_state_over(turned, run.window, calibration)[0] is PowerState.UNKNOWN
    assert power_state_over(without(run.traces, "battery.status"), run.window)[0] is PowerState.UNPLUGGED
    for name in ("battery.external",):
        state, told = power_state_over(without(run.traces, name, "frozen by dumpsys battery unplug"), run.window)
        assert state is PowerState.UNKNOWN
        assert "frozen" in told
    assert power_state_over((), run.window)[0] is PowerState.UNKNOWN


def test_a_weak_port_drains_over_a_window() -> None:
    maker = MAKERS[0]
    run = stretch(maker, steady(3.0), minutes=5, external=1, status=2)
    assert power_state_over(run.traces, run.window, calibration_of(maker))[0] is PowerState.PLUGGED_DRAINING
    assert power_state_over(run.traces, run.window)[0] is PowerState.CHARGING


@pytest.mark.parametrize("name", ["battery.external", "battery.status"])
def test_a_change_is_no_state(name: str) -> None:
    run = stretch(MAKERS[0], steady(3.0), minutes=5)
    plugged = changed(run.traces, name, lambda at, old: (1.0 if "external" in name else 2.0) if at > 1200 else old)
    state, told = power_state_over(plugged, run.window)
    assert state is PowerState.UNKNOWN
    assert "changed from unplugged" in told


def test_power_that_is_there_right_after_the_end_may_have_come_before() -> None:
    run = stretch(MAKERS[0], steady(3.0), minutes=5, lead_s=8.0)
    back = changed(run.traces, "battery.external", lambda at, old: 1.0 if at > run.window[1] else old)
    state, told = power_state_over(back, run.window)
    assert state is PowerState.UNKNOWN
    assert "after the end" in told
