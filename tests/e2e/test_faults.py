"""A phone, its cable or the adb server fails in the middle: the case is measured all the same or says why not, the
other phone does not notice, and the phone is usable afterwards."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.conftest import MakeFarm
from tests.e2e.support import ANSWER, SCRATCH, Farm, gate, gated, left_on
from tests.lab.conftest import RunningLab, StartLab, eventually

STEADY, FRAIL = "pixel-8-pro", "galaxy-a34"
GATE = "fault"

Harm = Callable[[RunningLab], None]


def later(seconds: float, act: Callable[[], None]) -> None:
    threading.Timer(seconds, act).start()


def cut(lab: RunningLab) -> None:
    lab.lab.cut(FRAIL)


def unplug(lab: RunningLab) -> None:
    lab.lab.unplug(FRAIL)
    later(1.5, lambda: lab.lab.replug(FRAIL))


def stall(lab: RunningLab) -> None:
    lab.lab.stall(FRAIL)
    later(1.5, lambda: lab.lab.stall(FRAIL, False))


def kill_adbd(lab: RunningLab) -> None:
    lab.lab.kill_adbd(FRAIL)


def restart_server(lab: RunningLab) -> None:
    lab.lab.restart_adb()


def reboot(lab: RunningLab) -> None:
    lab.lab.reboot(FRAIL)


HARMS: dict[str, Harm] = {
    "cable cut": cut,
    "unplugged": unplug,
    "stalled": stall,
    "adbd killed": kill_adbd,
    "adb server restarted": restart_server,
    "reboot": reboot,
}


def by_device(farm: Farm) -> dict[str, dict[str, Any]]:
    return {row["device"]: row for row in farm.rows()}


def all_well(farm: Farm, lab: RunningLab, harm: str) -> None:
    rows = by_device(farm)
    assert {device: row["status"] for device, row in rows.items()} == {STEADY: "measured", FRAIL: "measured"}, rows
    if harm != "adb server restarted":
        assert rows[STEADY]["attempt"] == 1, "the other phone had to try again"
    assert left_on(lab, STEADY) == left_on(lab, FRAIL) == ""


@pytest.mark.parametrize("harm", HARMS)
def test_while_the_runner_works(on_phones: MakeFarm, lab: RunningLab, harm: str) -> None:
    farm = on_phones()
    farm.write(models=[farm.model()], runners=[farm.runner(gated(GATE))])
    for phone in (STEADY, FRAIL):
        gate(lab, phone, GATE, open_=False)
    going = farm.start("-v", "run")
    for phone in (STEADY, FRAIL):
        going.until(rf"{phone}: .*#1  run")
    HARMS[harm](lab)
    open_when_back(lab, STEADY)
    going.until(rf"{STEADY} .*decode_tps")
    open_when_back(lab, FRAIL)
    going.end().expect(0)
    all_well(farm, lab, harm)


def open_when_back(lab: RunningLab, phone: str) -> None:
    """Open the gate of a phone as soon as it can be reached."""
    command = f"mkdir -p {SCRATCH} && : > {SCRATCH}/{GATE} && echo opened"
    eventually(lambda: b"opened" in lab.shell(phone, command).stdout, limit_s=40)


@pytest.mark.parametrize("harm", HARMS)
def test_while_a_model_is_pushed(on_phones: MakeFarm, lab: RunningLab, harm: str) -> None:
    farm = on_phones()
    padding = 24_000_000 + 512 * list(HARMS).index(harm)
    farm.write(models=[farm.model(padding=padding)], runners=[farm.runner(ANSWER)])
    lab.lab.link_rate(FRAIL, 8e6)
    try:
        going = farm.start("-v", "run")
        going.until(rf"{FRAIL}: .*1\d/24 MB")
        HARMS[harm](lab)
        going.until(rf"{FRAIL} .*decode_tps|{FRAIL}: .*again, because|{FRAIL} .* in ")
        lab.lab.link_rate(FRAIL, None)
        going.end().expect(0)
    finally:
        lab.lab.link_rate(FRAIL, None)
    all_well(farm, lab, harm)


def test_a_push_goes_on_where_it_was_cut(on_phones: MakeFarm, lab: RunningLab) -> None:
    farm = on_phones(FRAIL)
    farm.write(models=[farm.model(padding=25_000_000)], runners=[farm.runner(ANSWER)])
    lab.lab.link_rate(FRAIL, 8e6)
    try:
        going = farm.start("-v", "run")
        going.until(rf"{FRAIL}: .*1\d/25 MB")
        lab.lab.cut(FRAIL)
        going.end().expect(0)
    finally:
        lab.lab.link_rate(FRAIL, None)
    with farm.store() as store:
        (row,) = store.measurements()
        deploys = [step for step in store.steps(row.planned.key) if step.step == "deploy"]
    assert deploys[-1].detail["model"]["resumed_bytes"] > 0


@pytest.mark.long
def test_a_phone_that_stays_away_does_not_stop_the_others(
    on_phones: MakeFarm, lab: RunningLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole ladder takes minutes on purpose; here its patience is shortened."""
    farm = on_phones()
    farm.write(models=[farm.model()], runners=[farm.runner(gated(GATE))])
    for phone in (STEADY, FRAIL):
        gate(lab, phone, GATE, open_=phone == STEADY)
    impatient = (
        "from harness import limits, waiting, worker\n"
        "limits.RECOVERY_S = waiting.LINK_PATIENCE_S = worker.RETURN_PATIENCE_S = 5.0\n"
        "from harness.cli.main import main\n"
        "main()\n"
    )
    (farm.folder / "impatient.py").write_text(impatient, encoding="utf-8")
    farm.program = ["impatient.py"]
    try:
        going = farm.start("-v", "run", "--repeats", "2")
        going.until(rf"{FRAIL}: .*#1  run")
        lab.lab.unplug(FRAIL)
        done = going.end().expect(1, f"{FRAIL}: gone", "farm resume ")
    finally:
        lab.lab.replug(FRAIL)
    assert done.code == 1
    rows = farm.rows()
    assert [row["repeat"] for row in rows if row["device"] == STEADY and row["status"] == "measured"] == [1, 2]
    (lost,) = (row for row in rows if row["device"] == FRAIL)
    assert lost["status"] == "failed" and lost["error"]["class"] == "device_lost"
    farm.program = ["-m", "harness"]
    open_when_back(lab, FRAIL)
    farm("resume").expect(1)
    assert {(row["repeat"], row["status"]) for row in farm.rows() if row["device"] == FRAIL} == {
        (1, "failed"),
        (2, "measured"),
    }
    assert left_on(lab, FRAIL) == ""


def test_a_phone_without_space_says_the_numbers(on_phones: MakeFarm, start_lab: StartLab) -> None:
    small = start_lab("galaxy-a54+small_storage")
    farm = on_phones(of=small)
    farm.write(models=[farm.model(padding=60_000_000)], runners=[farm.runner(ANSWER)])
    farm("run").expect(1, "MB")
    (row,) = farm.rows()
    assert (row["status"], row["error"]["class"]) == ("refused", "storage_full")
    assert "60" in row["error"]["message"], row["error"]["message"]


def test_one_phone_on_two_cables_is_one_phone_and_others_say_what_they_need(
    on_phones: MakeFarm, start_lab: StartLab
) -> None:
    mixed = start_lab("pixel-7a+twin", "galaxy-a54+unauthorized", "galaxy-a34+offline")
    farm = on_phones(of=mixed)
    farm.write(models=[farm.model()], runners=[farm.runner(ANSWER)])
    listed = {row["state"]: row for row in farm("--json", "devices").expect(0).json()["devices"]}
    assert set(listed) == {"ready", "unauthorized", "offline"}
    assert len(listed["ready"]["transports"]) == 2
    assert listed["unauthorized"]["advice"] and listed["offline"]["advice"]
    farm("run").expect(0)
    assert [row["device"] for row in farm.rows()] == ["pixel-7a"]
    ran = farm("doctor")
    assert ran.code == 1 and "unauthorized" in ran.out and "what to do" in ran.out


def test_what_listens_is_no_adb_server(on_phones: MakeFarm) -> None:
    farm = on_phones()
    farm.write(models=[farm.model()], runners=[farm.runner(ANSWER)])
    with socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        port = str(other.server_address[1])
        elsewhere = {"ADB_SERVER_SOCKET": f"tcp:localhost:{port}", "ANDROID_ADB_SERVER_PORT": port}
        for command in ("devices", "run"):
            farm(command, env=elsewhere).expect(1, port, "does not answer", "what to do")
        assert "adb" in farm("doctor", env=elsewhere).out
        other.shutdown()
