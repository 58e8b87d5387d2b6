"""Every agent passes the same tests: this machine, a virtual phone behind a real adb, and a virtual iPhone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from device_agents.agents import open_agent
from device_agents.android.adb import AdbServer
from device_agents.android.agent import AndroidAgent, sampler_text
from device_agents.android.discovery import discover
from device_agents.base import DeviceAgent
from device_agents.ios.agent import IosAgent
from device_agents.ios.phone import Phone
from device_agents.local.agent import LocalAgent, discover_local
from harness.model import AdbEndpoint, Attached, DeviceState, Lab, Platform
from tests.contract.helpers import wait_until
from tests.contract.iphones import app
from tests.contract.subjects import Subject, subject_of
from tests.lab.conftest import RunningLab, start_lab, virtual_lab
from tests.lab.iphone_lab import Running, iphones

__all__ = ["start_lab", "virtual_lab"]


@pytest.fixture
def local_agent(tmp_path: Path) -> Iterator[DeviceAgent]:
    root = tmp_path / "device $(x) 'y'"
    agent = LocalAgent(discover_local(root), sampler_text(), root)
    yield agent
    agent.jobs.reap(limit_s=20)
    agent.close()


def agent_of(lab: RunningLab, phone: str, monkeypatch: pytest.MonkeyPatch) -> AndroidAgent:
    """An agent for a phone of `lab`; the process's environment leads to the lab's adb server."""
    for name, value in lab.info.env.items():
        monkeypatch.setenv(name, value)
    serial = lab.info.phone(phone).serial
    found = [each for each in discover(AdbEndpoint()) if each.facts is not None and each.facts.identity == serial]
    agent = open_agent(found[0], Lab())
    assert isinstance(agent, AndroidAgent)
    return agent


@pytest.fixture
def android_agent(virtual_lab: RunningLab, monkeypatch: pytest.MonkeyPatch) -> Iterator[DeviceAgent]:
    agent = agent_of(virtual_lab, "pixel-8-pro", monkeypatch)
    yield agent
    agent.jobs.reap(limit_s=20)
    agent.shell.script("rm -rf /data/local/tmp/farm", limit_s=20)
    agent.close()


@pytest.fixture
def old_android_agent(virtual_lab: RunningLab, monkeypatch: pytest.MonkeyPatch) -> Iterator[DeviceAgent]:
    """A phone whose adbd does not speak the shell protocol, so that commands go through the adb binary."""
    monkeypatch.setattr(AdbServer, "features", lambda self, serial: frozenset({"cmd"}))
    agent = agent_of(virtual_lab, "pixel-8-pro", monkeypatch)
    yield agent
    agent.close()


@pytest.fixture(scope="session")
def iphone_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A virtual iPhone without an app; tests leave it as it was."""
    folder = tmp_path_factory.mktemp("iphones")
    with iphones(folder, "iphone-15-pro@18") as running, pytest.MonkeyPatch.context() as patch:
        patch.setenv("FARM_CACHE", str(folder / "farm-cache"))
        phone = Phone(running.phone().udid, Lab())
        phone.ask("pair", limit_s=30)
        phone.close()
        patch.undo()
        yield running


@pytest.fixture
def bare_ios_agent(
    iphone_lab: Running, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[IosAgent]:
    """An agent of an iPhone on which no app is installed."""
    monkeypatch.setenv("FARM_CACHE", str(tmp_path_factory.getbasetemp() / "farm-cache"))
    # Whatever a test before has left: the phone is there, trusts this host, and has no app.
    iphone_lab.order("plug")
    lab = Lab(usbmux=iphone_lab.info.usbmux, tunneld=iphone_lab.info.tunneld or None)
    udid = iphone_lab.phone().udid
    agent = IosAgent(Attached(Platform.IOS, udid, (udid,), DeviceState.READY, "", None), lab)
    agent._phone.ask("pair", limit_s=30)
    yield agent
    iphone_lab.order("plug")
    assert wait_until(lambda: agent.alive(limit_s=5))
    agent._phone.ask("remove", area="media", path="farm", limit_s=30)
    agent.close()
    iphone_lab.order("no_app")


@pytest.fixture
def ios_agent(bare_ios_agent: IosAgent, tmp_path: Path) -> IosAgent:
    """An agent of an iPhone with the app of the tests."""
    bare_ios_agent.files.ensure(app(tmp_path / "app" / "FarmRunner.ipa"), keep=frozenset(), limit_s=60)
    return bare_ios_agent


@pytest.fixture(params=["local", "android", "ios"])
def every_agent(request: pytest.FixtureRequest) -> DeviceAgent:
    """What every agent can do."""
    found: DeviceAgent = request.getfixturevalue(f"{request.param}_agent")
    return found


@pytest.fixture
def subject(every_agent: DeviceAgent) -> Subject:
    """Every agent, with what it takes to run something on its device."""
    return subject_of(every_agent)


@pytest.fixture(params=["local", "android"])
def agent(request: pytest.FixtureRequest) -> DeviceAgent:
    found: DeviceAgent = request.getfixturevalue(f"{request.param}_agent")
    return found
