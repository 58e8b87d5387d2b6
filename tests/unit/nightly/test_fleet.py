"""What is known of every phone of the lab, the worst first; and the looks it is made of."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import ErrorClass, Transient
from harness.gates import Conditions
from harness.model import (
    HEALTH_READINGS,
    DeviceState,
    HealthRecord,
    LeaseInfo,
    Measured,
    NightRecord,
    NightSummary,
    PhoneDrift,
    PhoneHealth,
    Quarantine,
    Reading,
    RunStatus,
    Unavailable,
    UsbPort,
)
from harness.nightly import quarantine
from harness.nightly.health import fleet
from harness.nightly.looks import HEALTH, known_phones, look_at_all
from harness.phone_memory import QUALIFICATION, PhoneMemory
from harness.plan import ResolvedDevice
from harness.store import Store
from tests.unit.nightly.phones import DAY_S, GOOD, NOW, attached, entry, facts, lab, look
from tests.unit.store import samples

ID = "serial of a"
LAB = lab(entry("a", hub="1-1", port=1), entry("b", hub="1-1", port=2), entry("c"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path / 'farm.db'}") as opened:
        yield opened


def keep(store: Store, *looks: HealthRecord) -> None:
    for each in looks:
        store.add_device_record(each.identity, HEALTH, each.night, each.at, each.to_json())


def by_id(phones: tuple[PhoneHealth, ...]) -> dict[str, PhoneHealth]:
    assert len({phone.device_id for phone in phones}) == len(phones)
    return {phone.device_id: phone for phone in phones}


# --- all phones -------------------------------------------------------------------------------------------------------


def test_every_phone_of_the_inventory_and_every_attached_one_is_there_the_worst_first(store: Store) -> None:
    keep(store, look("a"), look("b", at=NOW - DAY_S), look("stranger", entry=""))
    quarantine.put(store, Quarantine(ID, "a", "drifts", NOW))
    phones = fleet(store, LAB, (attached("a"), attached("stranger")), NOW)
    assert [(phone.device_id, phone.state) for phone in phones] == [
        ("b", "not attached"),
        ("a", "ready"),
        ("serial of stranger", "ready"),
        ("c", "never seen"),
    ]
    assert [phone.needs_hands for phone in phones] == [True, False, False, False]
    a = phones[1]
    assert a.quarantine is not None and a.problems[0].text == "quarantined: drifts"
    assert "farm quarantine lift a" in a.problems[0].advice
    json.dumps([phone.to_json() for phone in phones])


def test_what_is_known_of_one_phone(store: Store) -> None:
    keep(store, look("a", at=NOW - DAY_S, cycle_count=None), look("a", at=NOW - 9, night="2026-11-21"))
    store.add_device_record(ID, QUALIFICATION, "", NOW - DAY_S, {"ok": False, "held": 38, "ran": 40})
    drift = PhoneDrift(ID, "a", "decode_tps", 20, math.log(1.07), 0.05, 0.09, drifted=True)
    night = NightRecord("2026-11-20", "lab", NOW - DAY_S, RunStatus.RUNNING)
    store.nights.begin(night)
    summary = NightSummary("2026-11-20", "lab", 1.0, 2.0, measured=1, failed=0, refused=0, left=0, drifts=(drift,))
    store.nights.end("lab", "2026-11-20", RunStatus.FINISHED, NOW, summary)
    store.nights.begin(replace(night, night="2026-11-21"))
    case = replace(samples.planned_case(), identity=ID)
    options = {"nightly": {"night": "2026-11-21", "role": "measure"}}
    store.begin_run(replace(samples.run_record(started_at=NOW - 99), lab="lab", options=options), [case])
    store.finish_case(case.key, samples.result())
    phone = by_id(fleet(store, LAB, (attached("a"),), NOW))["a"]
    assert (phone.last_seen, phone.looked_at, phone.model, phone.tier) == (NOW, NOW - 9, "Phone X", "flagship")
    assert isinstance(phone.reading("cycle_count"), Measured), "the newest look counts"
    assert phone.drift == drift, "of the newest night that came to its end"
    assert [(each.night, each.measured) for each in phone.failures] == [("2026-11-21", 1)]
    assert [problem.text for problem in phone.problems] == [
        "decode_tps of its own reference build is 7.0 % worse than at first",
        "failed its self-test: 38 of 40 checks held",
    ]
    assert not phone.needs_hands
    told = phone.to_json()
    assert told["battery"] == "good" and set(told["readings"]) == set(HEALTH_READINGS)
    assert told["qualification"] == {"at": NOW - DAY_S, "ok": False, "held": 38, "ran": 40}


def test_a_lost_hub_is_told_the_same_for_all_its_phones(store: Store) -> None:
    keep(store, look("a"), look("b"), look("c"))
    phones = by_id(fleet(store, LAB, (attached("c"),), NOW))
    assert {phones[name].problems[0].text for name in ("a", "b")} == {"hub 1-1: all 2 phones at it are gone"}
    assert not phones["c"].problems


def test_a_phone_off_its_power_on_purpose_is_no_problem(store: Store) -> None:
    keep(store, look("a"), look("b"), look("c"))
    held = frozenset({UsbPort("1-1", 1)})
    phones = by_id(fleet(store, LAB, (attached("b"), attached("c")), NOW, held=held))
    assert (phones["a"].state, phones["a"].problems) == ("off its power", ())


def test_a_silent_phone_keeps_what_was_known_of_it(store: Store) -> None:
    keep(store, look("a", battery_health=4))
    phone = by_id(fleet(store, LAB, (attached("a", DeviceState.UNAUTHORIZED, advice="tap Allow"),), NOW))["a"]
    assert phone.identity == ID and phone.looked_at == NOW
    assert [problem.text for problem in phone.problems] == ["unauthorized", "its battery reports dead"]


def test_a_look_in_a_form_that_is_not_known_is_passed_over(store: Store) -> None:
    store.add_device_record(ID, HEALTH, "", NOW, {"identity": ID, "readings": 5})
    assert known_phones(store) == {}
    keep(store, look("a"))
    assert known_phones(store)[ID] == look("a")


# --- looks ------------------------------------------------------------------------------------------------------------

SNAPSHOT = {name: reading for name, reading in GOOD.items() if name not in ("capacity_pct", "temperature_rest_c")}


class Agent:
    """A phone that answers."""

    def __init__(self, device: ResolvedDevice, *, load: float = 2.0, lease: LeaseInfo | None = None) -> None:
        self.attached = device.attached
        self.telemetry = self.conditions = self.lease = self
        self.asked = 0
        self.closed = False
        self._load, self._lease = load, lease

    def snapshot(self, *, limit_s: float) -> Mapping[str, Reading]:
        self.asked += 1
        return {**SNAPSHOT, "battery_temperature_c": Measured(26.1, "°C", "dumpsys battery temperature")}

    def read(self, *, limit_s: float, quiet_pct: float | None = None) -> object:
        if quiet_pct is None:
            return self._lease
        return Conditions({"other_load_pct": Measured(self._load, "%", "/proc/stat"), **SNAPSHOT})

    def close(self) -> None:
        self.closed = True


def test_a_look_is_kept_with_its_phone_once_a_night(store: Store) -> None:
    agents: list[Agent] = []

    def opened(device: ResolvedDevice) -> Agent:
        agents.append(Agent(device))
        return agents[-1]

    here = (attached("a"), attached("stranger"), attached("b", DeviceState.OFFLINE))
    for _ in range(2):
        looks = look_at_all(store, LAB, here, opened, night="2026-11-21", clock=lambda: NOW)  # type: ignore[arg-type]
        assert [(each.device_id, each.reason) for each in looks] == [("a", ""), ("serial of stranger", "")]
    assert [agent.asked for agent in agents] == [1, 1] and all(agent.closed for agent in agents)
    found = known_phones(store)
    capacity = found[ID].reading("capacity_pct")
    assert isinstance(capacity, Measured) and capacity.value == pytest.approx(100 * 4788 / 5050)
    assert found[ID].reading("temperature_rest_c") == Measured(26.1, "°C", "dumpsys battery temperature")
    assert (found[ID].entry, found[ID].night, found["serial of stranger"].entry) == ("a", "2026-11-21", "")
    look_at_all(store, LAB, here, opened, clock=lambda: NOW)  # type: ignore[arg-type]
    assert len(agents) == 4, "by hand it is asked each time"


def test_a_busy_phone_tells_no_temperature_at_rest(store: Store) -> None:
    def look_with(load: float) -> Reading:
        (seen,) = look_at_all(store, LAB, (attached("a"),), lambda device: Agent(device, load=load))  # type: ignore
        assert seen.record is not None
        return seen.record.reading("temperature_rest_c")

    busy = look_with(31.0)
    assert isinstance(busy, Unavailable) and "31 % of its cores" in busy.reason
    assert isinstance(look_with(3.0), Measured)
    PhoneMemory(store, ID).saw_work()
    worked = look_with(3.0)
    assert isinstance(worked, Unavailable) and "has worked" in worked.reason


def test_a_phone_that_somebody_works_with_is_not_disturbed(store: Store) -> None:
    lease = LeaseInfo(ID, "bob@desk", "another host", 7, 1.0, NOW + 60)
    agents: list[Agent] = []

    def opened(device: ResolvedDevice) -> Agent:
        agents.append(Agent(device, lease=lease))
        return agents[-1]

    (seen,) = look_at_all(store, LAB, (attached("a"),), opened, clock=lambda: NOW)  # type: ignore[arg-type]
    assert (seen.record, seen.reason) == (None, "in use by bob@desk: not looked at")
    assert agents[0].asked == 0 and agents[0].closed and not known_phones(store)


def test_a_phone_that_goes_away_meanwhile_says_why(store: Store) -> None:
    def gone(_device: ResolvedDevice) -> Agent:
        raise Transient("the link was lost", error_class=ErrorClass.DEVICE_LOST)

    (seen,) = look_at_all(store, LAB, (attached("a"),), gone)  # type: ignore[arg-type]
    assert (seen.device_id, seen.record, seen.reason) == ("a", None, "the link was lost")


def test_free_space_of_a_device_that_tells_it_only_when_it_is_found(store: Store) -> None:
    class Host(Agent):
        def read(self, *, limit_s: float, quiet_pct: float | None = None) -> object:
            if quiet_pct is None:
                return None
            return Conditions({"other_load_pct": Measured(0.0, "%", "psutil")})

    (seen,) = look_at_all(store, LAB, (attached("a"),), Host)  # type: ignore[arg-type]
    assert seen.record is not None
    free = seen.record.reading("storage_free_mb")
    assert isinstance(free, Measured) and free.value == (facts("a").storage_free_bytes or 0) / 1e6
