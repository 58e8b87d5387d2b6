"""A battery workload on a phone whose cable carries power and adb: the hub port takes both from a virtual phone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from device_agents import ports_off
from device_agents.base import DeviceAgent, JobHandle, Sampling
from device_agents.charging import HubCharging, reader
from harness import darkness, worker
from harness.artifacts.binaries import host_abi
from harness.events import Activity, Silent
from harness.lease_keeper import LeaseKeeper
from harness.leases import identity_of_this_process
from harness.model import CaseStatus, Step, UsbPort, Workload, WorkloadKind
from harness.plan import ResolvedDevice
from harness.selftest.runs import Bench, Seen, entry_for
from harness.store import Store
from harness.supply import calibration
from tests.contract.conftest import agent_of
from tests.contract.helpers import marked_processes, run_job, spec, wait_until
from tests.contract.test_jobs import free_port, server_spec
from tests.lab.conftest import RunningLab, start
from tests.unit.power.test_charging import Hub

PHONE = "pixel-8-pro"
PORT = UsbPort("1-1", 2)
SECONDS = 12.0
WORK = Workload(WorkloadKind.BATTERY, 1, 1, threads=1, minutes=SECONDS / 60, args=("--interval-ms", "500"))
ENERGY = ("energy_j", "energy_counter_j", "energy_per_token_j")

needs_compiler = pytest.mark.skipif(
    calibration.compiler_for(host_abi()) is None, reason="no C compiler on this machine"
)


@pytest.fixture(scope="module")
def lab() -> Iterator[RunningLab]:
    running = start([PHONE])
    yield running
    running.lab.down()


@pytest.fixture
def plugged(lab: RunningLab) -> Iterator[RunningLab]:
    """The lab with its phone at its cable, also when a test failed in the dark."""
    cable(lab)(True)
    yield lab
    cable(lab)(True)


def cable(lab: RunningLab, *, power: bool = True, link: bool = True) -> Callable[[bool], None]:
    """What a hub port takes away with a word from uhubctl: power, link, both or nothing."""

    def switch(on: bool) -> None:
        if power or on:
            lab.lab.set(PHONE, charger="usb" if on else "none")
        if link or on:
            (lab.lab.replug if on else lab.lab.unplug)(PHONE)

    return switch


class Listener(Silent):
    """Notes of the progress line; calls `then` at the first that says that the runner's phone is off its power."""

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        self.notes: list[str] = []
        self._then = then

    def activity(self, activity: Activity) -> None:
        if not activity.note.startswith("off its power"):
            return
        self.notes.append(activity.note)
        if activity.step is Step.RUN:
            self._then()


class Farm:
    """Runs of the calibration runner on the phone behind a hub port."""

    def __init__(self, lab: RunningLab, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.agent = agent_of(lab, PHONE, monkeypatch)
        self.folder = folder
        self.cancel = threading.Event()
        self.listener = Listener()
        self._patch = monkeypatch
        # A virtual phone and its hub are quick.
        for name, value in {"START_S": 1.0, "END_S": 6.0, "WITHIN_S": 20.0, "PROBE_S": 1.0}.items():
            monkeypatch.setattr(darkness, name, value)
        monkeypatch.setattr("harness.energy_step.END_S", 6.0)

    def run(self, hub: Hub) -> Seen | None:
        """One battery workload; None when it was not finished."""
        self._patch.setattr(worker, "charging_control", lambda agent, **_: self.control(agent, hub))
        device = ResolvedDevice(PHONE, entry_for(PHONE), self.agent.attached)
        with Store.open(f"sqlite:///{self.folder / 'farm.db'}") as store:
            keeper = LeaseKeeper(store, identity_of_this_process())
            bench = Bench(
                store=store,
                keeper=keeper,
                open_agent=lambda _: self.agent,
                build_for=calibration.build,
                native_for=calibration.build_native,
                model=calibration.model(),
                work_dir=self.folder,
                cancel=self.cancel,
                reporter=self.listener,
            )
            try:
                return bench.run([device], {"drain": WORK}, sampling=Sampling(services_s=1.0))[PHONE].get("drain")
            finally:
                keeper.close()

    def control(self, agent: DeviceAgent, hub: Hub) -> HubCharging:
        return HubCharging(PORT, reader(agent), run=hub, notice_s=2.0)


@pytest.fixture
def farm(plugged: RunningLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Farm:
    return Farm(plugged, tmp_path, monkeypatch)


def reasons(seen: Seen) -> Mapping[str, str]:
    """Why each figure of energy is absent, "" for one that is there."""
    return {name: getattr(seen.metric(name), "reason", "") for name in ENERGY}


def marks(seen: Seen) -> str:
    return " | ".join(seen.row.provenance["marks"])


def provenance(seen: Seen) -> Mapping[str, Any]:
    return seen.row.provenance


@pytest.mark.long
@needs_compiler
def test_the_run_goes_on_unplugged_while_the_phone_is_out_of_reach(plugged: RunningLab, farm: Farm) -> None:
    hub = Hub(cable(plugged))
    seen = farm.run(hub)
    assert seen is not None and seen.row.status is CaseStatus.MEASURED, seen
    assert (provenance(seen)["power_state"], marks(seen)) == ("unplugged", "")
    assert "its own record" in provenance(seen)["power_state_reason"]
    external = seen.traces["battery.external"]
    assert set(external.values) == {0.0} and len(external.values) > SECONDS / 2
    # Everything held but the length: a gauge needs a minute.
    assert all("too short for a fuel gauge" in why for why in reasons(seen).values()), reasons(seen)
    assert "too short for a fuel gauge" in provenance(seen)["energy"]["baseline"]["unavailable"]
    stamps = provenance(seen)["stamps"]
    assert stamps["unplugged"] <= stamps["started"] and stamps["ended"] - stamps["started"] >= SECONDS
    assert any("back in about 1 min" in note for note in farm.listener.notes)
    assert hub.on and ports_off.left_off(alive=lambda *_: False) == ()
    assert farm.agent.jobs.reap(limit_s=20) == ()
    assert plugged.says(PHONE, "settings get system screen_off_timeout") != "2147483647"


@pytest.mark.long
@needs_compiler
def test_a_hub_that_cuts_the_data_lines_only_is_found_out_by_the_phone(
    plugged: RunningLab, farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(darkness, "WITHIN_S", 5.0)
    hub = Hub(cable(plugged, power=False))
    seen = farm.run(hub)
    assert seen is not None and seen.row.status is CaseStatus.MEASURED, seen
    assert "on_power: adb went away with the port, yet the phone did not report" in marks(seen)
    assert provenance(seen)["power_state"] != "unplugged"
    assert all("external power is attached" in why for why in reasons(seen).values()), reasons(seen)
    assert hub.on


@needs_compiler
def test_a_hub_that_only_pretends_is_measured_on_its_power(plugged: RunningLab, farm: Farm) -> None:
    hub = Hub(cable(plugged, power=False, link=False))
    seen = farm.run(hub)
    assert seen is not None and seen.row.status is CaseStatus.MEASURED, seen
    assert "on_power: USB port 2 of hub 1-1 says that it is off, but the phone does not agree" in marks(seen)
    assert all("external power is attached" in why for why in reasons(seen).values())
    assert hub.on


@pytest.mark.long
@needs_compiler
def test_power_that_is_back_before_the_end_takes_the_energy_away(
    plugged: RunningLab, farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.energy_step.dark_s", lambda *_: SECONDS / 2)
    seen = farm.run(Hub(cable(plugged)))
    assert seen is not None and seen.row.status is CaseStatus.MEASURED, seen
    assert all("it changed from unplugged to" in why for why in reasons(seen).values()), reasons(seen)


@needs_compiler
def test_a_run_that_is_ended_in_the_dark_gives_the_power_back(plugged: RunningLab, farm: Farm) -> None:
    hub = Hub(cable(plugged))

    farm.listener = Listener(farm.cancel.set)
    seen = farm.run(hub)
    assert seen is not None and seen.row.status is CaseStatus.RUNNING, "it is to be done again"
    assert farm.cancel.is_set() and hub.on
    assert wait_until(lambda: farm.agent.alive(limit_s=3))
    assert farm.agent.jobs.reap(limit_s=20) == ()
    assert ports_off.left_off(alive=lambda *_: False) == ()


# --- the job itself, on the phone -------------------------------------------------------------------------------------


@pytest.fixture
def agent(plugged: RunningLab, monkeypatch: pytest.MonkeyPatch) -> Iterator[DeviceAgent]:
    found = agent_of(plugged, PHONE, monkeypatch)
    yield found
    found.jobs.reap(limit_s=20)


def waiting(agent: DeviceAgent, **more: object) -> JobHandle:
    handle = agent.jobs.start(spec("waits", "sleep 300", unplugged_within_s=100.0, **more), limit_s=20)
    assert agent.jobs.poll(handle, limit_s=10).phase == "running"
    return handle


def test_a_job_that_waits_is_found_and_ended_at_once(agent: DeviceAgent) -> None:
    handle = waiting(agent)
    assert agent.jobs.find("waits", limit_s=10) == handle
    assert marked_processes(agent, handle.folder)
    agent.jobs.end(handle, limit_s=20)
    assert not marked_processes(agent, handle.folder)
    assert agent.jobs.find("waits", limit_s=10) is None


def test_a_job_that_waits_is_reaped(agent: DeviceAgent) -> None:
    handle = waiting(agent)
    assert agent.jobs.reap(limit_s=20) == ("waits",)
    assert not marked_processes(agent, handle.folder)


def test_a_server_is_driven_once_the_power_is_gone(agent: DeviceAgent, plugged: RunningLab, tmp_path: Path) -> None:
    job = server_spec(agent, tmp_path, free_port(agent), unplugged_within_s=30.0, sampling=Sampling())
    timer = threading.Timer(2.0, lambda: plugged.lab.set(PHONE, charger="none"))
    timer.start()
    output = run_job(agent, job, tmp_path / "out")
    timer.join()
    assert output.ended_by == "server_done", output.files["stderr"].read_bytes()
    stamps = output.stamps
    assert stamps["unplugged"] <= stamps["started"] <= stamps["ready"] <= stamps["answered"] <= stamps["ended"]
    assert b'{"stop":true}' in output.files["stream"].read_bytes()


def test_a_server_whose_phone_keeps_its_power_is_not_started(agent: DeviceAgent, tmp_path: Path) -> None:
    job = server_spec(agent, tmp_path, free_port(agent), unplugged_within_s=1.0, sampling=Sampling())
    output = run_job(agent, job, tmp_path / "out")
    assert (output.exit_code, output.signal, output.ended_by) == (None, None, "stayed_powered")
    assert "started" not in output.stamps and "stream" not in output.files
