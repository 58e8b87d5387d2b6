"""Who gets a device: expiry, dead processes, reservations."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from harness import leases
from harness.model import LeaseInfo
from harness.store import Store

NOW = 1000.0
ALICE = LeaseInfo("phone", "alice@bench, run 1", "elsewhere", 10, 5.0, NOW + 60)
BOB = LeaseInfo("phone", "bob@bench, run 2", "elsewhere", 11, 6.0, NOW + 60)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path / 'farm.db'}") as opened:
        yield opened


def nobody_died(_: LeaseInfo) -> bool:
    return False


def test_a_lease_keeps_others_out_until_it_is_given_back(store: Store) -> None:
    assert store.acquire_lease(ALICE, now=NOW) == ALICE
    assert store.acquire_lease(BOB, now=NOW) == ALICE
    assert store.acquire_lease(replace(BOB, identity="another phone"), now=NOW).owner == BOB.owner
    store.release_lease(BOB)
    assert store.lease("phone") == ALICE, "nobody gives back what is not theirs"
    store.release_lease(ALICE)
    assert store.lease("phone") is None
    assert store.acquire_lease(BOB, now=NOW) == BOB


def test_an_expired_lease_is_taken_over_and_a_renewed_one_not(store: Store) -> None:
    store.acquire_lease(ALICE, now=NOW)
    store.renew_lease(replace(ALICE, expires_at=NOW + 500))
    assert store.acquire_lease(BOB, now=NOW + 100).owner == ALICE.owner
    assert store.acquire_lease(replace(BOB, expires_at=NOW + 700), now=NOW + 501).owner == BOB.owner
    store.renew_lease(replace(ALICE, expires_at=NOW + 9000))
    held = store.lease("phone")
    assert held is not None and (held.owner, held.expires_at) == (BOB.owner, NOW + 700)


def test_the_same_process_takes_its_lease_again(store: Store) -> None:
    store.acquire_lease(ALICE, now=NOW)
    again = replace(ALICE, expires_at=NOW + 90)
    assert store.acquire_lease(again, now=NOW) == again
    assert store.leases() == (again,)


def test_the_lease_of_a_dead_process_is_taken_over_at_once(store: Store) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    me = leases.identity_of_this_process()
    started = psutil.Process(child.pid).create_time()
    held = replace(me, identity="phone", pid=child.pid, pid_started=started, expires_at=NOW + 60)
    assert store.acquire_lease(held, now=NOW) == held
    assert store.acquire_lease(BOB, now=NOW) == held
    child.communicate(b"\n")
    assert store.acquire_lease(BOB, now=NOW) == BOB


def test_a_reservation_lets_in_its_own_person_only(store: Store) -> None:
    reserved = replace(ALICE, owner="alice@bench", pid=1, reserved=True, expires_at=NOW + 7200)
    assert store.acquire_lease(reserved, now=NOW) == reserved
    assert store.acquire_lease(BOB, now=NOW) == reserved
    assert store.acquire_lease(ALICE, now=NOW) == ALICE
    store.release_lease(ALICE)
    assert store.lease("phone", reserved=True) == reserved, "the run's end does not end the reservation"
    store.release_lease(replace(BOB, reserved=True))
    assert store.lease("phone", reserved=True) == reserved
    store.release_lease(replace(reserved, pid=999))
    assert store.leases() == ()


def test_a_phone_at_work_for_somebody_cannot_be_reserved(store: Store) -> None:
    store.acquire_lease(BOB, now=NOW)
    assert store.acquire_lease(replace(ALICE, reserved=True), now=NOW) == BOB


def test_a_reservation_can_be_made_longer_and_runs_out(store: Store) -> None:
    reserved = replace(ALICE, reserved=True)
    store.acquire_lease(reserved, now=NOW)
    longer = replace(reserved, pid=99, expires_at=NOW + 500)
    assert store.acquire_lease(longer, now=NOW) == longer
    assert store.acquire_lease(replace(BOB, expires_at=NOW + 900), now=NOW + 501).owner == BOB.owner


@pytest.mark.parametrize(
    ("held", "blocks"),
    [
        (None, False),
        (ALICE, True),
        (replace(ALICE, expires_at=NOW), False),
        (replace(ALICE, owner="bob@bench", reserved=True), False),
        (replace(ALICE, owner="bob@bench"), True),
        (replace(BOB, owner="renamed"), False),
    ],
)
def test_who_blocks_whom(held: LeaseInfo | None, blocks: bool) -> None:
    assert leases.blocker(BOB, held, now=NOW, dead=nobody_died) == (held if blocks else None)


def test_this_process_lives_and_a_pid_that_was_reused_does_not() -> None:
    me = leases.identity_of_this_process()
    assert leases.is_alive(me.host, me.pid, me.pid_started)
    assert not leases.is_alive(me.host, me.pid, me.pid_started - 60)
    assert leases.is_alive("another host", me.pid, me.pid_started - 60), "nobody here can tell"
    assert not leases.is_dead(replace(me, pid_started=0.0, reserved=True))


def test_the_owner_can_be_named_and_holds_no_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARM_OWNER", "night, lab\x1b[31m")
    assert leases.identity_of_this_process().owner == "night  lab [31m"
    assert leases.person(ALICE) == "alice@bench"
