"""A run takes its devices in the store and on the device itself, beside a reservation of the same person."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from device_agents.local.agent import LocalAgent, discover_local
from harness.lease_keeper import TTL_S, LeaseKeeper
from harness.leases import identity_of_this_process
from harness.model import Device, LeaseInfo, Platform
from harness.plan import ResolvedDevice
from harness.store import Store
from tests.contract.helpers import wait_until


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path / 'farm.db'}") as opened:
        yield opened


@pytest.fixture
def agent(tmp_path: Path) -> LocalAgent:
    return LocalAgent(discover_local(tmp_path / "device"), None, tmp_path / "device")


@pytest.fixture
def device(agent: LocalAgent) -> ResolvedDevice:
    return ResolvedDevice("host", Device("host", Platform.LOCAL, "t"), agent.attached)


@pytest.fixture
def keeper(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[LeaseKeeper]:
    monkeypatch.setenv("FARM_OWNER", "alice@bench")
    me = identity_of_this_process()
    made = LeaseKeeper(store, replace(me, owner=f"{me.owner}, run R"))
    yield made
    made.close()


def reservation(owner: str, device: ResolvedDevice) -> LeaseInfo:
    return LeaseInfo(device.facts.identity, owner, "elsewhere", 1, 1.0, time.time() + 600, reserved=True)


def test_a_lease_is_held_in_both_places_and_given_back(
    store: Store, agent: LocalAgent, device: ResolvedDevice, keeper: LeaseKeeper
) -> None:
    assert keeper.acquire(device, agent) is None
    held = store.lease(device.facts.identity)
    on_device = agent.lease.read(limit_s=10)
    assert held is not None and on_device is not None
    assert held.owner == on_device.owner == "alice@bench, run R"
    keeper.release(device, agent)
    assert store.lease(device.facts.identity) is None
    assert agent.lease.read(limit_s=10) is None


def test_ones_own_reservation_lets_the_run_in_and_outlives_it(
    store: Store, agent: LocalAgent, device: ResolvedDevice, keeper: LeaseKeeper
) -> None:
    reserved = reservation("alice@bench", device)
    store.acquire_lease(reserved)
    agent.lease.acquire(reserved, limit_s=10)
    assert keeper.acquire(device, agent) is None
    keeper.release(device, agent)
    on_device = agent.lease.read(limit_s=10)
    assert on_device is not None and on_device.reserved and on_device.owner == "alice@bench"
    assert store.lease(device.facts.identity, reserved=True) == reserved


def test_a_reservation_of_somebody_else_on_the_device_alone_blocks(
    store: Store, agent: LocalAgent, device: ResolvedDevice, keeper: LeaseKeeper
) -> None:
    agent.lease.acquire(reservation("bob@bench", device), limit_s=10)
    holder = keeper.acquire(device, agent)
    assert holder is not None and holder.owner == "bob@bench"
    assert store.lease(device.facts.identity) is None, "what the device refuses is not kept in the store"


def test_a_lease_is_held_over_a_time_in_which_it_cannot_be_renewed(
    agent: LocalAgent, device: ResolvedDevice, keeper: LeaseKeeper
) -> None:
    def left_s() -> float:
        held = agent.lease.read(limit_s=10)
        assert held is not None and held.owner == "alice@bench, run R"
        return held.expires_at - time.time()

    assert keeper.acquire(device, agent) is None
    keeper.hold(device, 1800)
    assert left_s() == pytest.approx(1800 + TTL_S, abs=5)
    keeper.hold(device, 0)
    assert left_s() == pytest.approx(TTL_S, abs=5)
    keeper.release(device, agent)
    keeper.hold(device, 1800)
    assert agent.lease.read(limit_s=10) is None, "what is not ours is not taken"


def test_a_lease_that_ran_out_meanwhile_is_taken_again(
    agent: LocalAgent, device: ResolvedDevice, keeper: LeaseKeeper
) -> None:
    assert keeper.acquire(device, agent) is None
    ours = agent.lease.read(limit_s=10)
    assert ours is not None
    agent.lease.renew(replace(ours, expires_at=time.time() - 600), limit_s=10)
    assert wait_until(lambda: (agent.lease.read(limit_s=10) or ours).expires_at <= time.time())
    keeper.hold(device, 0)
    again = agent.lease.read(limit_s=10)
    assert again is not None and again.expires_at > time.time() + TTL_S / 2
