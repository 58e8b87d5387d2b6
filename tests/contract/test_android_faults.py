"""What a cable, an adb server and a phone do to a run, with a real adb and virtual phones."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from adbutils import adb_path

from device_agents.android import recovery
from device_agents.android.adb import AdbServer
from device_agents.android.agent import AndroidAgent
from device_agents.android.discovery import discover
from device_agents.base import JobHandle
from device_agents.posix import link
from device_agents.posix.files import PosixFiles
from harness.errors import ErrorClass, FarmError, Permanent, Transient
from harness.model import AdbEndpoint, DeviceState
from tests.contract.conftest import agent_of
from tests.contract.helpers import marked_processes, model, spec, wait_done, wait_until
from tests.lab.conftest import RunningLab, StartLab

PHONE = "galaxy-a54"


@pytest.fixture
def lab(start_lab: StartLab) -> RunningLab:
    return start_lab(PHONE)


@pytest.fixture
def phone(lab: RunningLab, monkeypatch: pytest.MonkeyPatch) -> AndroidAgent:
    return agent_of(lab, PHONE, monkeypatch)


def raised_by(call: Callable[[], object]) -> FarmError:
    with pytest.raises(FarmError) as raised:
        call()
    return raised.value


def later(seconds: float, harm: Callable[[], object]) -> threading.Timer:
    timer = threading.Timer(seconds, harm)
    timer.start()
    return timer


def back(agent: AndroidAgent) -> bool:
    return wait_until(lambda: agent.alive(limit_s=3), limit_s=20)


def ended(agent: AndroidAgent, handle: JobHandle) -> bool:
    """Whether the job is done. A phone may answer once before the way to it breaks: it is asked again then."""
    try:
        state = agent.jobs.poll(handle, limit_s=10)
    except Transient:
        return False
    assert state.phase in ("running", "done"), state
    return state.phase == "done"


def survives(agent: AndroidAgent, tmp_path: Path, harm: Callable[[], object]) -> None:
    """A job goes on while `harm` is done to the way to it, and its result is complete."""
    script = "i=0; while [ $i -lt 20 ]; do echo $i; i=$((i+1)); sleep 0.1; done; exit 5"
    handle = agent.jobs.start(spec("survivor", script), limit_s=20)
    harm()
    assert back(agent)
    assert wait_until(lambda: ended(agent, handle), limit_s=30), "the job still runs"
    output = agent.jobs.collect(handle, tmp_path / "out", limit_s=20)
    assert output.exit_code == 5
    assert output.files["stdout"].read_text().split() == [str(each) for each in range(20)]
    agent.jobs.end(handle, limit_s=20)
    assert not marked_processes(agent, handle.folder)


def test_cut_of_a_command_is_no_success(phone: AndroidAgent, lab: RunningLab) -> None:
    timer = later(0.5, lambda: lab.lab.cut(PHONE))
    error = raised_by(lambda: phone.shell.script("sleep 20; echo done", limit_s=15))
    timer.join()
    assert isinstance(error, Transient)
    assert error.error_class in (ErrorClass.DEVICE_LOST, ErrorClass.DEVICE_OFFLINE)
    assert error.device == phone.attached.serial
    assert back(phone)


def test_unplugged_phone_is_lost_and_comes_back(phone: AndroidAgent, lab: RunningLab) -> None:
    lab.lab.unplug(PHONE)
    error = raised_by(lambda: phone.shell.run(("true",), limit_s=10))
    assert error.error_class in (ErrorClass.DEVICE_LOST, ErrorClass.DEVICE_OFFLINE)
    assert error.advice
    assert not phone.alive(limit_s=5)
    lab.lab.replug(PHONE)
    assert back(phone)


@pytest.mark.parametrize("harm", ["cut", "server", "adbd"])
def test_cut_push_goes_on_where_it_stopped(phone: AndroidAgent, lab: RunningLab, tmp_path: Path, harm: str) -> None:
    artifact = model(tmp_path / "m.gguf", 40_000_000)
    lab.lab.link_rate(PHONE, 20e6)
    harms = {
        "cut": lambda: lab.lab.cut(PHONE),
        "server": lambda: subprocess.run([adb_path(), "kill-server"], env=lab.env, check=True),
        "adbd": lambda: lab.lab.kill_adbd(PHONE),
    }
    done: list[bool] = []

    def progress(sent: int, _total: int) -> None:
        if sent > 20_000_000 and not done:
            done.append(True)
            harms[harm]()

    error = raised_by(lambda: phone.files.ensure(artifact, keep=frozenset(), limit_s=60, progress=progress))
    assert isinstance(error, Transient)
    assert back(phone)
    lab.lab.link_rate(PHONE, None)
    deployed = phone.files.ensure(artifact, keep=frozenset(), limit_s=60)
    assert deployed.resumed_bytes > 5_000_000
    assert deployed.pushed_bytes + deployed.resumed_bytes == artifact.size
    there = phone.shell.script('sha256sum < "$1"', deployed.path, limit_s=60).stdout.decode().split()[0]
    assert there == artifact.sha256


def test_job_survives_a_cut(phone: AndroidAgent, lab: RunningLab, tmp_path: Path) -> None:
    survives(phone, tmp_path, lambda: lab.lab.cut(PHONE))


def test_job_survives_unplugging(phone: AndroidAgent, lab: RunningLab, tmp_path: Path) -> None:
    def unplug() -> None:
        lab.lab.unplug(PHONE)
        assert not phone.alive(limit_s=2)
        lab.lab.replug(PHONE)

    survives(phone, tmp_path, unplug)


def test_job_survives_the_adb_server(phone: AndroidAgent, lab: RunningLab, tmp_path: Path) -> None:
    survives(phone, tmp_path, lambda: subprocess.run([adb_path(), "kill-server"], env=lab.env, check=True))


def test_job_survives_an_adbd_restart(phone: AndroidAgent, lab: RunningLab, tmp_path: Path) -> None:
    survives(phone, tmp_path, lambda: lab.lab.kill_adbd(PHONE))


def test_job_that_dies_with_adbd_is_lost(start_lab: StartLab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lab = start_lab(f"{PHONE}+adbd_restart_kills")
    agent = agent_of(lab, PHONE, monkeypatch)
    handle = agent.jobs.start(spec("victim", "sleep 300"), limit_s=20)
    lab.lab.kill_adbd(PHONE)
    assert wait_until(lambda: agent.alive(limit_s=3))
    state = wait_done(agent, handle)
    assert (state.phase, state.error_class) == ("lost", ErrorClass.ADBD_RESTART)
    agent.jobs.end(handle, limit_s=20)


def test_reboot_loses_the_job_and_the_ladder_waits_for_the_phone(phone: AndroidAgent) -> None:
    handle = phone.jobs.start(spec("victim", "sleep 300"), limit_s=20)
    assert phone.recovery.climb("reboot", limit_s=60, alone=True)
    state = phone.jobs.poll(handle, limit_s=10)
    assert (state.phase, state.error_class) == ("lost", ErrorClass.DEVICE_REBOOTED)
    phone.jobs.end(handle, limit_s=20)
    assert phone.recovery.climb("unlock_check", limit_s=10, alone=True)


def test_stalled_link_costs_no_more_than_the_limit(phone: AndroidAgent, lab: RunningLab) -> None:
    lab.lab.stall(PHONE, on=True)
    started = time.monotonic()
    error = raised_by(lambda: phone.shell.run(("true",), limit_s=1))
    assert error.error_class is ErrorClass.TRANSPORT_STALLED
    assert not phone.alive(limit_s=1)
    assert time.monotonic() - started < 20
    lab.lab.stall(PHONE, on=False)
    assert back(phone)


def test_stalled_push_is_given_up(
    phone: AndroidAgent, lab: RunningLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "STALL_S", 1.5)
    lab.lab.link_rate(PHONE, 20e6)
    artifact = model(tmp_path / "m.gguf", 60_000_000)

    def progress(sent: int, _total: int) -> None:
        if sent > 10_000_000:
            lab.lab.stall(PHONE, on=True)

    started = time.monotonic()
    error = raised_by(lambda: phone.files.ensure(artifact, keep=frozenset(), limit_s=120, progress=progress))
    assert error.error_class is ErrorClass.TRANSPORT_STALLED
    assert time.monotonic() - started < 60
    lab.lab.stall(PHONE, on=False)
    lab.lab.link_rate(PHONE, None)
    assert back(phone)
    assert phone.files.ensure(artifact, keep=frozenset(), limit_s=60).resumed_bytes > 0


def test_silent_phone_is_shown_and_costs_its_own_limit(lab: RunningLab, phone: AndroidAgent) -> None:
    lab.lab.stall(PHONE, on=True)
    started = time.monotonic()
    (attached,) = discover(AdbEndpoint(), probe_s=1.0)
    assert time.monotonic() - started < 10
    assert attached.state is DeviceState.UNRESPONSIVE
    assert attached.advice
    lab.lab.stall(PHONE, on=False)


def test_every_phone_is_listed_with_what_to_do(start_lab: StartLab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = start_lab("pixel-7a", "oneplus-12+unauthorized", "galaxy-a54+offline", "galaxy-a34+twin")
    for name, value in lab.info.env.items():
        monkeypatch.setenv(name, value)
    by_state = {each.state: each for each in discover(AdbEndpoint(), probe_s=5.0)}
    assert set(by_state) == {DeviceState.READY, DeviceState.UNAUTHORIZED, DeviceState.OFFLINE}
    assert "Allow" in by_state[DeviceState.UNAUTHORIZED].advice
    assert by_state[DeviceState.OFFLINE].advice
    twin = next(each for each in discover(AdbEndpoint()) if each.facts and each.facts.model == "SM-A346B")
    assert set(twin.transports) == set(lab.info.phone("galaxy-a34").adb_serials)
    assert len(twin.transports) == 2
    refused = by_state[DeviceState.UNAUTHORIZED].serial
    error = raised_by(lambda: agent_for(refused).shell.run(("true",), limit_s=10))
    assert error.error_class is ErrorClass.DEVICE_UNAUTHORIZED


def agent_for(serial: str) -> AndroidAgent:
    attached = next(each for each in discover(AdbEndpoint()) if each.serial == serial)
    return AndroidAgent(attached, AdbEndpoint())


def test_full_phone_says_so_with_numbers(start_lab: StartLab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    agent = agent_of(start_lab(f"{PHONE}+small_storage"), PHONE, monkeypatch)
    artifact = model(tmp_path / "m.gguf", 60_000_000)
    error = raised_by(lambda: agent.files.ensure(artifact, keep=frozenset(), limit_s=30))
    assert (error.error_class, isinstance(error, Permanent)) == (ErrorClass.STORAGE_FULL, True)
    # The same when the space goes while the file is on its way.
    monkeypatch.setattr(PosixFiles, "_make_room", lambda *_: ())
    error = raised_by(lambda: agent.files.ensure(artifact, keep=frozenset(), limit_s=60))
    assert error.error_class is ErrorClass.STORAGE_FULL
    assert "MB free" in error.message


def test_ladder_brings_a_lost_server_back(phone: AndroidAgent, lab: RunningLab) -> None:
    rungs = phone.recovery.rungs()
    assert rungs == ("reconnect", "server_restart", "reboot", "unlock_check")
    subprocess.run([adb_path(), "kill-server"], env=lab.env, check=True)
    assert phone.recovery.climb("reconnect", limit_s=20, alone=True)
    assert not phone.recovery.climb("server_restart", limit_s=20, alone=False)
    assert phone.recovery.climb("server_restart", limit_s=30, alone=True)


def test_ladder_does_not_hang_on_a_silent_phone(
    phone: AndroidAgent, lab: RunningLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "ALIVE_S", 1.0)
    lab.lab.stall(PHONE, on=True)
    started = time.monotonic()
    assert not phone.recovery.climb("reconnect", limit_s=3, alone=True)
    assert time.monotonic() - started < 25
    lab.lab.stall(PHONE, on=False)


class FakeServer:
    """Answers every connection with the same bytes."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self.asked: list[bytes] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._socket.accept()
            except OSError:
                return
            with peer:
                self.asked.append(peer.recv(4096))
                peer.sendall(self._answer)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def fake_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes], FakeServer]]:
    for name in ("ADB_SERVER_SOCKET", "ANDROID_ADB_SERVER_PORT", "ANDROID_ADB_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    servers: list[FakeServer] = []

    def make(answer: bytes) -> FakeServer:
        servers.append(FakeServer(answer))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


def test_server_of_another_version_is_left_alone(fake_server: Callable[[bytes], FakeServer]) -> None:
    server = fake_server(b"OKAY00040020")
    error = raised_by(lambda: discover(AdbEndpoint("127.0.0.1", server.port)))
    assert (error.error_class, isinstance(error, Permanent)) == (ErrorClass.SERVER_VERSION, True)
    assert "protocol 32" in error.message
    assert "kill" not in b"".join(server.asked).decode()


def test_what_is_no_adb_server_is_said(fake_server: Callable[[bytes], FakeServer]) -> None:
    error = raised_by(lambda: discover(AdbEndpoint("127.0.0.1", fake_server(b"HTTP/1.1 400 Bad\r\n").port)))
    assert error.error_class is ErrorClass.SERVER_VERSION


def test_server_of_another_host_is_not_started(fake_server: Callable[[bytes], FakeServer]) -> None:
    server = fake_server(b"")
    server.close()
    error = raised_by(lambda: AdbServer(AdbEndpoint("127.0.0.2", server.port)).ready())
    assert error.error_class is ErrorClass.LAB_UNAVAILABLE
