"""Charge is held between two levels: off above, on below, and never at the expense of somebody who works."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from device_agents import ports_off
from harness.errors import ErrorClass, Transient
from harness.leases import identity_of_this_process
from harness.model import (
    Attached,
    Charge,
    Inventory,
    LeaseInfo,
    Measured,
    Nightly,
    Reading,
    RunStatus,
    Unavailable,
    UsbPort,
)
from harness.nightly import charge
from harness.nightly.charge import IDLE_DRAIN, MOST_OFF_S, HeldCharge, hold_once, level_left, port_wanted
from harness.nightly.looks import HEALTH
from harness.phone_memory import USB_PORT
from harness.store import Store
from tests.unit.nightly.phones import attached, entry, lab, look
from tests.unit.power.test_charging import Hub
from tests.unit.store import samples

PORT = UsbPort("1-1", 2)
ID = "serial of a"
HOUR_S = 3600.0

# --- the decision -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "charging", "off_h", "drain", "wanted"),
    [
        (79, True, 0, None, "keep"),
        (80, True, 0, None, "off"),
        (100, True, 0, None, "off"),
        (10, True, 0, None, "keep"),
        (None, True, 0, None, "keep"),
        (80, False, 0, None, "keep"),
        (80, False, 3.9, None, "keep"),
        (80, False, 4, None, "on"),
        (80, False, 11, 1.0, "keep"),
        (80, False, 12, 1.0, "on"),
        (41, False, 0, 1.0, "keep"),
        (40, False, 0, 1.0, "on"),
        (None, False, 0, 1.0, "on"),
        (100, False, 5, 12.0, "on"),
    ],
)
def test_what_is_to_become_of_a_port(
    level: float | None, charging: bool, off_h: float, drain: float | None, wanted: str
) -> None:
    assert port_wanted(level, charging, 40, 80, off_h * HOUR_S, drain) == wanted


def test_between_the_levels_a_port_stays_what_it_is() -> None:
    for level in range(41, 80):
        assert port_wanted(level, True, 40, 80) == port_wanted(level, False, 40, 80) == "keep"


def test_what_is_left_is_never_guessed_from_nothing_and_never_below_zero() -> None:
    assert level_left(None, HOUR_S, 1.0) is None
    assert level_left(50, 2 * HOUR_S, 3.0) == 44
    assert level_left(5, 9 * HOUR_S, 3.0) == 0


# --- one pass ---------------------------------------------------------------------------------------------------------


@dataclass
class Phone:
    """A phone at a port; over its cable it is listed only while that has power."""

    hub: Hub
    level: Reading = field(default_factory=lambda: Measured(50.0, "%", "dumpsys battery"))
    network: bool = False
    pretends: bool = False
    lease: LeaseInfo | None = None
    asked: int = 0

    @property
    def there(self) -> bool:
        return self.hub.on or self.network or self.pretends

    def discover(self) -> tuple[Attached, ...]:
        return (attached("a", network=self.network),) if self.there else ()

    def snapshot(self, *, limit_s: float) -> Mapping[str, Reading]:
        self.asked += 1
        if not self.there:
            raise Transient("the link was lost", error_class=ErrorClass.DEVICE_LOST)
        powered = Measured(float(self.hub.on or self.pretends), "", "dumpsys battery powered")
        return {"battery_level_pct": self.level, "power_state_external": powered}


@dataclass
class PhoneLease:
    held: LeaseInfo | None = None

    def read(self, *, limit_s: float) -> LeaseInfo | None:
        return self.held

    def acquire(self, lease: LeaseInfo, *, limit_s: float) -> LeaseInfo:
        return self.held or lease

    def renew(self, lease: LeaseInfo, *, limit_s: float) -> None: ...

    def release(self, lease: LeaseInfo, *, limit_s: float) -> None: ...


class Agent:
    """An agent of the phone."""

    def __init__(self, phone: Phone) -> None:
        self.telemetry = phone
        self.attached = attached("a", network=phone.network)
        self.lease = PhoneLease(phone.lease)

    def close(self) -> None: ...


@dataclass
class Bench:
    """One phone at one port, and the passes over it."""

    store: Store
    phone: Phone
    passed_s: float = 0.0
    inventory: Inventory = field(
        default_factory=lambda: replace(lab(entry("a", hub="1-1", port=2)), nightly=Nightly(charge=Charge(40, 80)))
    )

    def hold(self) -> HeldCharge:
        (held,) = hold_once(
            self.store,
            self.inventory,
            self.phone.discover,
            lambda _device: Agent(self.phone),  # type: ignore[arg-type,return-value]
            clock=lambda: time.time() + self.passed_s,
            run=self.phone.hub,
            back_s=0.0,
        )
        return held

    def at(self, percent: float) -> Bench:
        self.phone.level = Measured(percent, "%", "dumpsys battery")
        return self


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(charge, "_LINK_GONE_S", 0.0)
    monkeypatch.setattr(charge, "NOTICE_S", 0.0)
    with Store.open(f"sqlite:///{tmp_path / 'farm.db'}") as store:
        yield Bench(store, Phone(Hub()))


def test_nothing_is_held_where_the_inventory_does_not_say_so(bench: Bench) -> None:
    silent = replace(bench.inventory, nightly=Nightly())
    assert hold_once(bench.store, silent, bench.phone.discover, lambda _: Agent(bench.phone)) == ()  # type: ignore


def test_a_full_phone_is_switched_off_and_written_down(bench: Bench) -> None:
    assert bench.at(79).hold().action == "keep" and bench.phone.hub.on
    held = bench.at(85).hold()
    assert (held.action, held.level_pct, held.estimated) == ("off", 85, False)
    assert not bench.phone.hub.on
    (note,) = ports_off.noted()
    assert (note.port, note.held_pct) == (PORT, 85)
    assert ports_off.held_ports() == {PORT}
    assert bench.store.lease(ID) is None, "its lease is given back"


def test_off_its_power_its_level_follows_from_the_time(bench: Bench) -> None:
    bench.at(80).hold()
    bench.passed_s = 2 * HOUR_S
    held = bench.hold()
    assert (held.action, held.estimated) == ("keep", True)
    assert held.level_pct == pytest.approx(60, abs=0.1), "as if it lost as much as any phone may"
    bench.passed_s = 4 * HOUR_S
    held = bench.at(74).hold()
    assert (held.action, held.level_pct, held.estimated) == ("on", 74, False)
    assert bench.phone.hub.on and not ports_off.noted()


def test_what_it_lost_is_learnt_and_used(bench: Bench) -> None:
    bench.store.add_device_record(ID, HEALTH, "", time.time(), look("a").to_json())
    bench.at(80).hold()
    bench.passed_s = 4 * HOUR_S
    bench.at(74).hold()
    (record,) = bench.store.device_records(ID, IDLE_DRAIN)
    assert record.value["pct_per_h"] == pytest.approx((6 + 1) / 4, rel=1e-3), "both levels are rounded"
    bench.at(80).hold()
    bench.passed_s = 8 * HOUR_S
    held = bench.hold()
    assert held.action == "keep" and held.level_pct == pytest.approx(80 - 8 * 7 / 4, abs=0.1)
    bench.passed_s = MOST_OFF_S
    assert bench.at(60).hold().action == "on", "no phone stays unseen for longer"


def test_over_the_network_it_is_asked(bench: Bench) -> None:
    bench.phone.network = True
    held = bench.at(90).hold()
    assert held.action == "off" and "reports no external power" in held.text
    bench.passed_s = 20 * HOUR_S
    held = bench.at(55).hold()
    assert (held.action, held.level_pct, held.estimated) == ("keep", 55, False)
    assert bench.at(40).hold().action == "on"


def test_a_hub_that_only_pretends_is_told_and_the_port_is_on(bench: Bench) -> None:
    bench.phone.pretends = True
    held = bench.at(90).hold()
    assert held.action == "failed" and "does not agree" in held.text and held.advice
    assert bench.phone.hub.on and not ports_off.noted()


def test_a_level_that_rises_without_power_disproves_the_port(bench: Bench) -> None:
    bench.at(80).hold()
    bench.passed_s = 4 * HOUR_S
    held = bench.at(99).hold()
    assert held.action == "failed" and "from 80 to 99 %" in held.text
    proof = bench.store.latest_device_record(ID, USB_PORT, "1-1:2")
    assert proof is not None and proof.value["proven"] is False
    held = bench.hold()
    assert held.action == "skipped" and "does not cut its power" in held.text and bench.phone.hub.on


def test_an_unknown_level_keeps_the_power_on(bench: Bench) -> None:
    bench.phone.level = Unavailable("the battery report is frozen")
    held = bench.hold()
    assert (held.action, held.level_pct) == ("keep", None) and "frozen" in held.text
    assert bench.phone.hub.on


def test_a_phone_that_does_not_come_back_needs_a_hand(bench: Bench) -> None:
    bench.at(80).hold()
    bench.passed_s = MOST_OFF_S
    bench.phone.discover = lambda: ()  # type: ignore[method-assign]
    held = bench.hold()
    assert held.action == "failed" and "not listed" in held.text and "cable" in held.advice
    assert bench.phone.hub.on, "its power is on all the same"


def test_a_port_that_somebody_switched_on_is_not_believed_to_be_off(bench: Bench) -> None:
    bench.at(80).hold()
    bench.phone.hub.on = True
    assert bench.at(60).hold().action == "keep"
    assert not ports_off.noted()


# --- somebody works ---------------------------------------------------------------------------------------------------


def somebody(**changes: Any) -> LeaseInfo:
    later = time.time() + 3600
    return replace(LeaseInfo(ID, "bob@desk, run R", "another host", 7, 1.0, later), **changes)


@pytest.mark.parametrize("reserved", [False, True])
def test_a_phone_in_use_is_left_alone(bench: Bench, reserved: bool) -> None:
    bench.store.acquire_lease(somebody(reserved=reserved))
    held = bench.at(100).hold()
    assert (held.action, held.text) == ("skipped", "in use by bob@desk, run R")
    assert bench.phone.hub.on and bench.phone.asked == 0


def test_a_reservation_of_my_own_counts_too(bench: Bench) -> None:
    me = identity_of_this_process()
    bench.phone.lease = replace(me, identity=ID, reserved=True, expires_at=time.time() + 3600)
    assert bench.at(100).hold().action == "skipped"
    bench.phone.lease = replace(bench.phone.lease, expires_at=time.time() - 1)
    assert bench.at(100).hold().action == "off", "it has run out"


def test_a_phone_of_a_run_that_has_not_taken_it_yet_is_left_alone(bench: Bench) -> None:
    case = replace(samples.planned_case(), identity=ID)
    run = replace(samples.run_record(), host="another host", pid=7)
    bench.store.begin_run(run, [case])
    held = bench.at(100).hold()
    assert held.action == "skipped" and "run that is under way" in held.text
    bench.store.set_run_status(run.id, RunStatus.FINISHED, time.time())
    assert bench.hold().action == "off"


def test_a_port_in_the_hands_of_another_process_is_left_to_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    other = replace(identity_of_this_process(), host="another container")
    with monkeypatch.context() as patch:
        patch.setattr(ports_off, "identity_of_this_process", lambda: other)
        ports_off.note(PORT, off_s=3600)
    bench.phone.hub.on = False
    held = bench.hold()
    assert held.action == "skipped" and str(other.pid) in held.text
    assert not bench.phone.hub.on
