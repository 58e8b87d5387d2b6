"""The gates before what real phones said."""

from __future__ import annotations

from pathlib import Path

import pytest

from device_agents.android.conditions import conditions_of
from harness.gate_keeper import wait_at_gate
from harness.gates import GateReport, failing
from harness.model.inventory import Gates


def report_of(captures: Path, name: str) -> GateReport:
    file = captures / name
    if not file.is_file():
        pytest.skip(f"{name} is not among the captures here")
    conditions = conditions_of(b"@@ thermal\n" + file.read_bytes())
    return wait_at_gate(Gates(max_wait_s=0), lambda: conditions, clock=lambda: 0.0, pause=lambda _: None)


def test_a_throttled_phone_whose_status_lies_is_refused(captures: Path) -> None:
    """Galaxy S24+, frequency cap at 1824 of 2900 MHz, and "Thermal Status: 0" beside a skin of 40 °C."""
    report = report_of(captures, "galaxy_s24/thermalservice_heat_sample_s24plus.txt")
    assert report.outcome == "refused"
    assert "skin_temperature_c" in [check.name for check in failing(report.checks_last)]
    status = next(check for check in report.checks_last if check.name == "thermal_status")
    assert status.state == "pass", "it is the skin that tells"


def test_a_cool_phone_is_not_held_up_by_its_stale_values(captures: Path) -> None:
    """Xiaomi 13T Pro: 48.5 °C cached from earlier, 34.4 °C now."""
    report = report_of(captures, "xiaomi_13t_pro/thermalservice_idle_status0.txt")
    skin = next(check for check in report.checks_last if check.name == "skin_temperature_c")
    assert (skin.state, skin.seen) == ("pass", "34.35 °C")
