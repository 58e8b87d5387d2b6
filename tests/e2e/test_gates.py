"""A phone that is not fit to be measured: waited for, refused or marked, and never mistaken for a fit one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.conftest import MakeFarm
from tests.e2e.support import ANSWER, Farm
from tests.lab.conftest import RunningLab, StartLab

PHONE = "pixel-8-pro"
QUIET = {"other_load_max_pct": 100, "max_wait_s": 0.5, "poll_s": 0.2}
"""The load of this machine is no phone's business here, and nobody waits long."""


@pytest.fixture
def phone(start_lab: StartLab) -> RunningLab:
    return start_lab(PHONE)


def farm_with(make: MakeFarm, lab: RunningLab, **gates: Any) -> Farm:
    farm = make(PHONE, of=lab)
    farm.write(models=[farm.model()], runners=[farm.runner(ANSWER)], gates={**QUIET, **gates})
    return farm


def only_row(farm: Farm) -> dict[str, Any]:
    (row,) = farm.rows()
    return row


def test_a_hot_phone_never_passes_the_strict_gate(phone: RunningLab, on_phones: MakeFarm) -> None:
    phone.lab.set(PHONE, temperature_c=70.0, heat_scale=1e-4)
    farm = farm_with(on_phones, phone, mode="strict", max_wait_s=4)
    farm("run", "--device", PHONE).expect(1)
    row = only_row(farm)
    assert (row["status"], row["error"]["class"], row["error"]["step"]) == ("refused", "gate_refused", "gate")
    assert "°C" in row["error"]["message"]
    assert row["provenance"]["gate"]["outcome"] == "refused" and row["provenance"]["gate"]["waited_s"] > 0
    assert all("value" not in reading for reading in row["metrics"].values())


def test_record_measures_a_hot_phone_and_marks_it(phone: RunningLab, on_phones: MakeFarm) -> None:
    phone.lab.set(PHONE, temperature_c=70.0, heat_scale=1e-4)
    farm = farm_with(on_phones, phone, mode="strict")
    farm("run", "--device", PHONE, "--gates", "record").expect(0)
    row = only_row(farm)
    assert row["status"] == "measured" and row["provenance"]["gate"]["outcome"] == "recorded"
    assert any(mark.startswith("not_cooled: ") for mark in row["provenance"]["marks"])


def test_a_made_up_battery_is_refused_and_told_how_to_end(phone: RunningLab, on_phones: MakeFarm) -> None:
    phone.says(PHONE, "dumpsys battery set level 90")
    farm = farm_with(on_phones, phone, mode="record")
    farm("run", "--device", PHONE).expect(1)
    row = only_row(farm)
    assert (row["status"], row["error"]["class"]) == ("refused", "override_set")
    assert "dumpsys battery reset" in farm("show", row["case"]).expect(0).out


def test_a_charging_phone_is_measured_without_energy(phone: RunningLab, on_phones: MakeFarm) -> None:
    farm = farm_with(on_phones, phone, mode="strict", cpu_max_c=90, skin_max_c=90)
    farm("run", "--device", PHONE).expect(0)
    row = only_row(farm)
    assert row["provenance"]["power_state"] in ("charging", "plugged_idle", "plugged_draining")
    for name in ("energy_j", "energy_counter_j", "energy_per_token_j"):
        assert "external power" in row["metrics"][name]["unavailable"]


def test_an_empty_phone_charges_first_and_then_goes_on(phone: RunningLab, on_phones: MakeFarm) -> None:
    phone.lab.set(PHONE, battery_level=12.0, charger="ac", charging=True)
    farm = farm_with(on_phones, phone, mode="strict", cpu_max_c=90, skin_max_c=90)
    going = farm.start("run", "--device", PHONE)
    going.until("charges before it goes on: battery 12")
    phone.lab.set(PHONE, battery_level=60.0)
    going.end().expect(0)
    checks = {check["name"]: check for check in only_row(farm)["provenance"]["gate"]["checks_last"]}
    assert (checks["battery_level_pct"]["state"], checks["battery_level_pct"]["seen"]) == ("pass", "60 %")


def test_settings_are_put_back_after_a_run(phone: RunningLab, on_phones: MakeFarm) -> None:
    ask = "settings get global stay_on_while_plugged_in; settings get system screen_off_timeout"
    before = phone.says(PHONE, ask)
    farm = farm_with(on_phones, phone, mode="off")
    farm("run", "--device", PHONE).expect(0)
    assert phone.says(PHONE, ask) == before
    assert phone.says(PHONE, "ls /data/local/tmp/farm/settings.undo 2> /dev/null; true") == ""


def test_repeats_auto_goes_on_until_the_figures_agree(phone: RunningLab, on_phones: MakeFarm) -> None:
    farm = farm_with(on_phones, phone, mode="off")
    farm.write(suites={"standard": {"workloads": ["bench"], "repeats": "auto"}})
    farm("run", "--device", PHONE).expect(0)
    rows = farm.rows()
    # The scripted runner gives the same figures each time.
    assert [row["repeat"] for row in rows] == [1, 2, 3, 4, 5]
    assert {row["status"] for row in rows} == {"measured"}
