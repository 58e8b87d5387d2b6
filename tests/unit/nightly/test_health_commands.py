"""farm health and farm quarantine over phones that are made up."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from device_agents import ports_off
from harness.cli import compose
from harness.cli.main import main
from harness.model import Attached, DeviceState, Inventory, UsbPort
from harness.nightly.looks import HEALTH
from harness.store import Store
from tests.unit.nightly.phones import NOW, attached, look
from tests.unit.nightly.test_fleet import Agent
from tests.unit.store import samples

INVENTORY = """version: 1
tiers: {flagship: {title: Flagship}}
devices:
  - {id: a, platform: android, tier: flagship, match: {serial: serial of a}, usb: {hub: 1-1, port: 1}}
  - {id: b, platform: android, tier: flagship, match: {serial: serial of b}, usb: {hub: 1-1, port: 2}}
"""


@dataclass
class Farm:
    """The command line over one folder; `here` is what is attached."""

    folder: Path
    capsys: pytest.CaptureFixture[str]
    here: tuple[Attached, ...] = ()

    def __call__(self, *argv: str) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        code: object = 0
        try:
            main(["--inventory", str(self.folder / "inventory.yaml"), *argv])
        except SystemExit as ended:
            code = ended.code
        captured = self.capsys.readouterr()
        assert isinstance(code, int) and "Traceback" not in captured.err
        return code, captured.out, captured.err

    def json(self, *argv: str) -> Any:
        return json.loads(self("--json", *argv)[1])

    def store(self) -> Store:
        return Store.open(f"sqlite:///{self.folder / '.farm' / 'farm.db'}")


@pytest.fixture
def farm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Farm:
    (tmp_path / "inventory.yaml").write_text(INVENTORY, encoding="utf-8")
    made = Farm(tmp_path, capsys)

    def opener(_inventory: Inventory) -> Callable[[Any], Agent]:
        return Agent

    monkeypatch.setattr(compose, "discover", lambda _inventory: made.here)
    monkeypatch.setattr(compose, "opener", opener)
    monkeypatch.setenv("FARM_OWNER", "alice@desk")
    return made


# --- health -----------------------------------------------------------------------------------------------------------


def test_nothing_attached_and_nothing_known_is_no_device(farm: Farm) -> None:
    code, out, err = farm("health")
    assert (code, out) == (3, "") and "no phone is attached" in err
    assert farm.json("health") == {"phones": [], "hands": []}
    assert not (farm.folder / ".farm").exists()


def test_phones_in_order_are_looked_at_shown_and_kept(farm: Farm) -> None:
    farm.here = (attached("a"), attached("b"))
    code, out, err = farm("health")
    assert (code, err) == (0, "")
    assert "a (virtual phone)" in out and "155.0 GB" in out and "26.1 °C" in out and "95 %" in out
    with farm.store() as store:
        assert {record.identity for record in store.device_records(kind=HEALTH)} == {"serial of a", "serial of b"}
    told = farm.json("health", "--stored")
    assert [phone["device_id"] for phone in told["phones"]] == ["a", "b"] and told["hands"] == []
    with farm.store() as store:
        assert len(store.device_records(kind=HEALTH)) == 2, "--stored looks at nothing"


def test_a_phone_that_needs_a_hand_is_named_with_what_to_do(farm: Farm) -> None:
    farm.here = (attached("a"), attached("b"))
    farm("health")
    farm.here = (attached("a"), attached("b", DeviceState.UNAUTHORIZED, advice="tap Allow"))
    code, out, _ = farm("health")
    assert code == 1
    assert "b: unauthorized\n  what to do: tap Allow" in out
    assert farm("health", "--device", "a")[0] == 0, "asked for one phone, its own state counts"
    assert farm("health", "--device", "b")[0] == 1
    farm.here = ()
    code, out, _ = farm("health")
    assert code == 1
    assert "a, b: hub 1-1: all 2 phones at it are gone\n  what to do:" in out
    (hand,) = farm.json("health")["hands"]
    assert hand["devices"] == ["a", "b"]


def test_one_phone_is_shown_in_full_with_sources_and_reasons(farm: Farm) -> None:
    farm.here = (attached("a"), attached("b"))
    _, out, _ = farm("health", "--device", "a")
    assert "dumpsys battery temperature" in out and "charge_full_design_mah" in out
    assert "b (virtual phone)" not in out
    code, _, err = farm("health", "--device", "aa")
    assert code == 2 and "no phone 'aa'; did you mean 'a'?" in err


def test_a_phone_off_its_power_on_purpose_is_told_as_such(farm: Farm) -> None:
    farm.here = (attached("a"), attached("b"))
    farm("health")
    ports_off.note(UsbPort("1-1", 2), off_s=60, held_pct=80)
    farm.here = (attached("a"),)
    code, out, _ = farm("health")
    assert code == 0 and "off its power" in out
    assert "off their power to hold their charge: b; any run takes them back" in farm("devices")[1]


def test_hold_needs_to_know_what_to_hold(farm: Farm) -> None:
    code, _, err = farm("health", "--hold")
    assert code == 2 and "nightly: {charge: {low_pct: 40, high_pct: 80}}" in err
    assert farm("health", "--hold", "--device", "a")[0] == 2
    path = farm.folder / "inventory.yaml"
    path.write_text("version: 1\nnightly: {charge: {}}\n", encoding="utf-8")
    code, _, err = farm("health", "--hold")
    assert code == 2 and "no device of the inventory has a hub port" in err
    path.write_text(INVENTORY + "nightly: {charge: {low_pct: 80, high_pct: 60}}\n", encoding="utf-8")
    code, _, err = farm("health", "--hold")
    assert code == 2 and "expected low_pct below high_pct, found 80 and 60" in err
    path.write_text(INVENTORY + "nightly: {charge: {}}\n", encoding="utf-8")
    assert [(each["device_id"], each["action"], each["text"]) for each in farm.json("health", "--hold")["held"]] == [
        ("a", "skipped", "not attached"),
        ("b", "skipped", "not attached"),
    ]


# --- quarantine -------------------------------------------------------------------------------------------------------


def test_a_phone_is_put_there_shown_and_let_out(farm: Farm) -> None:
    assert farm("quarantine", "show")[1] == "no phone is in quarantine\n"
    assert not (farm.folder / ".farm").exists()
    farm.here = (attached("a"), attached("b"))
    code, out, _ = farm("quarantine", "set", "a", "--reason", "drops <b>frames</b>\x1b[31m")
    assert (code, out) == (0, "a is in quarantine: drops <b>frames</b>\\x1b[31m\n")
    (held,) = farm.json("quarantine", "show")["quarantined"]
    assert (held["device_id"], held["identity"], held["author"]) == ("a", "serial of a", "alice@desk")
    assert [row["quarantine"] for row in farm.json("devices")["devices"]] == ["drops <b>frames</b>\x1b[31m", None]
    assert "ready, quarantined" in farm("devices")[1]
    assert farm.json("quarantine", "lift", "a", "--reason", "new cable")["lifted"] is True
    assert farm.json("quarantine", "show") == {"quarantined": []}
    assert farm("quarantine", "lift", "a")[0] == 2, "it is out already"
    with farm.store() as store:
        newest = store.latest_device_record("serial of a", "quarantine")
        assert newest is not None
        assert newest.value == {"device_id": "a", "reason": "new cable", "author": "alice@desk", "lifted": True}


def test_a_phone_that_is_away_is_known_by_its_last_look(farm: Farm) -> None:
    with farm.store() as store:
        store.add_device_record("serial of a", HEALTH, "", NOW, look("a").to_json())
    assert farm.json("quarantine", "set", "a", "--reason", "fell")["identity"] == "serial of a"
    assert farm.json("quarantine", "lift", "serial of a")["device_id"] == "a"


def test_what_is_wrong_is_said_and_nothing_is_stored(farm: Farm) -> None:
    farm.here = (attached("a"),)
    code, _, err = farm("quarantine", "set", "aa", "--reason", "x")
    assert code == 2 and "no phone 'aa' is attached or known; did you mean 'a'? (there are: a)" in err
    assert farm("quarantine", "set", "a")[0] == 2
    assert farm("quarantine", "set", "a", "--reason", "  ")[0] == 2
    code, _, err = farm("quarantine", "lift", "a")
    assert code == 2 and "not in quarantine (there are: none)" in err
    assert not (farm.folder / ".farm").exists()


def test_show_marks_what_a_phone_in_quarantine_gave(farm: Farm) -> None:
    case = samples.planned_case()
    with farm.store() as store:
        store.begin_run(samples.run_record(started_at=NOW), [case])
        store.start_case(case.key, 1, NOW + 10)
        store.finish_case(case.key, samples.result(started_at=NOW + 10))
        value = {"device_id": "pixel", "reason": "drifts", "author": "farm", "lifted": False}
        store.add_device_record(case.identity, "quarantine", "", NOW, value)
    for name in (case.run, case.case, case.key):
        assert "drifts" in farm("show", name)[1], name
    assert farm.json("show", case.key)["quarantine"] == "drifts"
    assert farm.json("show", case.run)["quarantined"] == {"pixel": "drifts"}
