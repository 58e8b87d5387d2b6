"""farm health, quarantine and the hold of charges, on virtual phones behind a hub port that takes power and link."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import MakeFarm
from tests.e2e.support import ANSWER, REPOSITORY, Farm, base_inventory, phones_of
from tests.lab.conftest import RunningLab, StartLab, eventually, start

PHONE = "galaxy-a34"

HUB = """#!{python}
import os, sys
from pathlib import Path
sys.path.insert(0, {repository!r})
# The lab is found where it was started, the notes of ports lie in a folder of the test.
os.environ.pop("FARM_CACHE", None)
os.environ.update({env!r})
from device_agents.virtual.lab import Lab
state = Path({state!r})
show = lambda: f"  Port 4: 0503 {{'power enable connect' if state.read_text() == 'on' else 'off'}}"
print("Current status for hub 2-1 [hub]", show(), sep="\\n")
if "-a" in sys.argv:
    state.write_text(sys.argv[sys.argv.index("-a") + 1])
    lab, on = Lab({lab!r}), state.read_text() == "on"
    lab.set({phone!r}, charger="usb" if on else "none")
    (lab.replug if on else lab.unplug)({phone!r})
    print("New status for hub 2-1 [hub]", show(), sep="\\n")
"""


@pytest.fixture(scope="module")
def held_lab() -> Iterator[RunningLab]:
    running = start([PHONE])
    yield running
    running.lab.down()


def farm_at_hub(lab: RunningLab, folder: Path) -> Farm:
    """A farm whose phone hangs at port 4 of hub 2-1; `folder/port` says whether that is on."""
    tools = folder / "bin"
    tools.mkdir()
    (folder / "port").write_text("on")
    cache = {name: os.environ[name] for name in ("FARM_CACHE",) if name in os.environ}
    program = tools / "uhubctl"
    program.write_text(
        HUB.format(
            python=sys.executable,
            repository=str(REPOSITORY),
            env=cache,
            state=str(folder / "port"),
            lab=lab.lab.name,
            phone=PHONE,
        )
    )
    program.chmod(0o755)
    phones = [dict(phone, usb={"hub": "2-1", "port": 4}) for phone in phones_of(lab, PHONE)]
    farm = Farm(folder, dict(lab.env), base_inventory(phones))
    farm.env["PATH"] = f"{tools}:{farm.env['PATH']}"
    farm.env["FARM_CACHE"] = str(folder / "cache")
    farm.write(nightly={"charge": {"low_pct": 40, "high_pct": 80}})
    return farm


def hold(farm: Farm, code: int = 0) -> dict[str, Any]:
    (held,) = farm("--json", "health", "--hold").expect(code).json()["held"]
    assert isinstance(held, dict)
    return held


def later(farm: Farm, hours: float) -> None:
    """Let the port have been off for so long."""
    (note,) = (farm.folder / "cache" / "usb-ports-off").glob("*.json")
    fields = json.loads(note.read_text())
    note.write_text(json.dumps(fields | {"since": fields["since"] - hours * 3600}))


@pytest.mark.long
def test_the_charge_of_a_phone_is_held_and_any_command_takes_it_back(held_lab: RunningLab, tmp_path: Path) -> None:
    farm, port = farm_at_hub(held_lab, tmp_path), tmp_path / "port"
    held_lab.lab.set(PHONE, battery_level=70, charger="usb")
    assert (hold(farm)["action"], port.read_text()) == ("keep", "on")
    farm("health").expect(0)
    held_lab.lab.set(PHONE, battery_level=90)
    held = hold(farm)
    assert (held["action"], held["level_pct"], port.read_text()) == ("off", 90, "off")
    (phone,) = farm("--json", "health").expect(0).json()["phones"]
    assert (phone["state"], phone["problems"]) == ("off its power", [])
    later(farm, 2)
    held = hold(farm)
    assert (held["action"], held["estimated"]) == ("keep", True) and held["level_pct"] == pytest.approx(70, abs=1)
    later(farm, 4)
    held_lab.lab.set(PHONE, battery_level=72)
    held = hold(farm)
    assert (held["action"], held["level_pct"], port.read_text()) == ("on", 72, "on")
    with farm.store() as store:
        (drain,) = store.device_records(kind="idle_drain")
    assert drain.value["pct_per_h"] == pytest.approx((18 + 1) / 6, rel=0.01)
    # Off again, and a command that takes phones comes.
    held_lab.lab.set(PHONE, battery_level=95)
    assert hold(farm)["action"] == "off"
    farm("reserve", PHONE, "--for", "1h").expect(0, "was off to hold the charge of its phone: it is on again")
    assert port.read_text() == "on"
    held = hold(farm)
    assert held["action"] == "skipped" and held["text"].startswith("in use by"), "a reserved phone is not touched"
    farm("release", PHONE).expect(0)


def test_health_names_a_phone_that_is_gone_and_one_that_is_kept_apart(on_phones: MakeFarm, lab: RunningLab) -> None:
    farm = on_phones()
    farm.write(models=[farm.model()], runners=[farm.runner(ANSWER)])
    phones = {phone["device_id"]: phone for phone in farm("health", "--json").expect(0).json()["phones"]}
    assert set(phones) == {"pixel-8-pro", PHONE}
    for phone in phones.values():
        assert phone["battery"] == "good" and phone["readings"]["cycle_count"]["value"] > 0
        assert 80 < phone["readings"]["capacity_pct"]["value"] < 100
        assert all("value" in reading or reading["unavailable"] for reading in phone["readings"].values())
    farm("quarantine", "set", PHONE, "--reason", "it fell").expect(0)
    assert f"{PHONE} is in quarantine" in farm("plan").expect(0).out
    done = farm("--json", "run", "--device", PHONE).expect(0).json()
    assert {case["quarantine"] for case in done["cases"]} == {"it fell"}
    assert "in quarantine" in farm("show", done["run"]).expect(0).out
    lab.lab.unplug("pixel-8-pro")
    try:
        eventually(lambda: len(lab.states()) == 1)
        gone = farm("--json", "health", "--stored").expect(1).json()
        assert [hand["devices"] for hand in gone["hands"]] == [["pixel-8-pro"]]
        assert gone["hands"][0]["problem"].startswith("not attached; last seen")
    finally:
        lab.lab.replug("pixel-8-pro")
        eventually(lambda: len(lab.states()) == 2)
    farm("quarantine", "lift", PHONE).expect(0)
    assert farm("--json", "devices").expect(0).json()["devices"][0]["quarantine"] is None


def test_a_battery_that_is_done_for_needs_a_hand(start_lab: StartLab, on_phones: MakeFarm) -> None:
    farm = on_phones(of=start_lab("galaxy-a34+bad_battery", "pixel-7a", "galaxy-a54", "redmi-note-14"))
    farm.write()
    told = farm("--json", "health").expect(1).json()
    assert {(hand["devices"][0], hand["problem"]) for hand in told["hands"]} == {
        ("galaxy-a34", "its battery reports dead"),
        ("galaxy-a34", "its battery holds 52 % of its design"),
    }
    readings = {phone["device_id"]: phone["readings"] for phone in told["phones"]}
    assert told["phones"][0]["device_id"] == "galaxy-a34", "the worst first"
    assert readings["pixel-7a"]["capacity_pct"]["value"] == pytest.approx(77, abs=0.5)
    assert "denies it" in readings["galaxy-a54"]["cycle_count"]["unavailable"]
    assert "not counted" in readings["redmi-note-14"]["cycle_count"]["unavailable"]
