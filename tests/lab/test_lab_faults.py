"""Faults on demand, and nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import device_agents
from device_agents.virtual import record
from device_agents.virtual.adbserver import adb_binary
from device_agents.virtual.errors import LabError
from device_agents.virtual.lab import Lab, parse_wish
from device_agents.virtual.preflight import preflight
from tests.lab.conftest import RunningLab, StartLab, eventually

PHONE = "pixel-7a"


@pytest.fixture
def lab(start_lab: StartLab) -> RunningLab:
    return start_lab(PHONE)


def test_pulled_cable_hides_the_phone_and_ends_nothing(lab: RunningLab) -> None:
    serial = lab.info.phone(PHONE).adb_serial
    lab.says(
        PHONE,
        "cd /data/local/tmp; setsid nohup sleep 1000 > /dev/null 2>&1 < /dev/null & echo $! > /data/local/tmp/pid",
    )
    boot = lab.says(PHONE, "cat /proc/sys/kernel/random/boot_id")
    lab.lab.unplug(PHONE)
    eventually(lambda: lab.states().get(serial) != "device")
    assert lab.shell(PHONE, "true").returncode != 0
    lab.lab.replug(PHONE)
    eventually(lambda: lab.states().get(serial) == "device")
    assert lab.says(PHONE, "kill -0 $(cat /data/local/tmp/pid); cat /proc/sys/kernel/random/boot_id") == boot


def test_stalled_cable_keeps_the_connection(lab: RunningLab) -> None:
    lab.lab.stall(PHONE)
    with pytest.raises(subprocess.TimeoutExpired):
        lab.shell(PHONE, "true", limit_s=1.5)
    assert lab.states()[lab.info.phone(PHONE).adb_serial] == "device"
    lab.lab.stall(PHONE, False)
    assert lab.says(PHONE, "echo back") == "back"


def test_slow_cable(lab: RunningLab, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(os.urandom(8_000_000))
    lab.lab.link_rate(PHONE, 10e6)
    begin = time.monotonic()
    pushed = lab.adb("-s", lab.info.phone(PHONE).adb_serial, "push", str(tmp_path / "file"), "/data/local/tmp/file")
    seconds = time.monotonic() - begin
    lab.lab.link_rate(PHONE, None)
    assert pushed.returncode == 0
    assert 0.75 < seconds < 2.5


def test_killed_adbd_comes_back_and_leaves_orphans(lab: RunningLab) -> None:
    serial = lab.info.phone(PHONE).adb_serial
    lab.says(PHONE, "setsid nohup sleep 1001 > /dev/null 2>&1 < /dev/null &")
    before = lab.says(PHONE, "pidof adbd")
    lab.lab.kill_adbd(PHONE)
    eventually(lambda: lab.states().get(serial) == "device" and lab.shell(PHONE, "true").returncode == 0)
    assert lab.says(PHONE, "pidof adbd") != before
    assert lab.says(PHONE, "pgrep -f 'sleep 1001'")


def test_restart_that_kills(start_lab: StartLab) -> None:
    lab = start_lab(f"{PHONE}+adbd_restart_kills")
    lab.says(PHONE, "setsid nohup sleep 1002 > /dev/null 2>&1 < /dev/null &")
    boot = lab.says(PHONE, "cat /proc/sys/kernel/random/boot_id")
    lab.lab.kill_adbd(PHONE)
    eventually(lambda: lab.shell(PHONE, "true").returncode == 0)
    assert lab.says(PHONE, "ps -A -o ARGS").count("sleep 1002") == 0
    assert lab.says(PHONE, "cat /proc/sys/kernel/random/boot_id") == boot


def test_reboot_changes_the_boot_and_ends_processes(lab: RunningLab) -> None:
    lab.says(
        PHONE,
        "setsid nohup sleep 1003 > /dev/null 2>&1 < /dev/null &"
        " echo kept > /data/local/tmp/file; settings put global a 1",
    )
    before = lab.says(PHONE, "cat /proc/sys/kernel/random/boot_id")
    lab.shell(PHONE, "reboot")
    eventually(
        lambda: lab.shell(PHONE, "cat /proc/sys/kernel/random/boot_id").stdout.strip() not in (b"", before.encode())
    )
    assert lab.says(PHONE, "ps -A -o ARGS").count("sleep 1003") == 0
    assert lab.says(PHONE, "cat /data/local/tmp/file; settings get global a") == "kept\n1"
    assert float(lab.says(PHONE, "cat /proc/uptime").split()[0]) < 60


def test_an_update_of_the_system_boots_another_build_and_keeps_what_was_there(lab: RunningLab) -> None:
    ask = "getprop ro.build.fingerprint; getprop ro.serialno; getprop sys.boot.reason; cat /data/local/tmp/file"
    lab.says(PHONE, "echo kept > /data/local/tmp/file")
    fingerprint, serial, _, kept = lab.says(PHONE, ask).splitlines()
    lab.lab.update_os(PHONE, "UP1A.261101.001")
    eventually(lambda: b"UP1A.261101.001" in lab.shell(PHONE, "getprop ro.build.fingerprint").stdout)
    updated = lab.says(PHONE, ask).splitlines()
    assert updated[1:] == [serial, "reboot,ota", kept]
    assert updated[0] != fingerprint and updated[0].split("/")[:3] == fingerprint.split("/")[:3]
    with pytest.raises(LabError, match="no build id"):
        lab.lab.update_os(PHONE, "x; reboot")


def test_adb_server_that_was_killed_finds_the_phone_again(lab: RunningLab) -> None:
    serial = lab.info.phone(PHONE).adb_serial
    lab.adb("kill-server")
    lab.adb("start-server")
    eventually(lambda: lab.states().get(serial) == "device")
    assert lab.says(PHONE, "echo here") == "here"


def test_phones_that_let_nobody_in(start_lab: StartLab) -> None:
    lab = start_lab("pixel-8-pro", "galaxy-a54+unauthorized", "galaxy-a34+offline")
    states = {phone.id: phone.adb_serial for phone in lab.info.phones}
    eventually(lambda: lab.states().get(states["galaxy-a54"]) == "unauthorized")
    eventually(lambda: lab.states().get(states["galaxy-a34"]) == "offline")
    assert lab.states()[states["pixel-8-pro"]] == "device"
    assert b"unauthorized" in lab.shell("galaxy-a54", "true").stderr


def test_one_phone_on_two_cables(start_lab: StartLab) -> None:
    lab = start_lab("galaxy-s24-ultra+twin")
    phone = lab.info.phone("galaxy-s24-ultra")
    assert len(phone.adb_serials) == 2
    eventually(lambda: all(lab.states().get(serial) == "device" for serial in phone.adb_serials))
    serials = {lab.adb("-s", serial, "shell", "getprop ro.serialno").stdout for serial in phone.adb_serials}
    assert serials == {phone.serial.encode() + b"\n"}
    lab.lab.unplug(phone.id, cable=0)
    assert lab.adb("-s", phone.adb_serials[1], "shell", "echo still").stdout == b"still\n"


def test_a_hot_phone_is_slower_and_says_so(lab: RunningLab) -> None:
    # How often the busy process is held still, not how long it takes: this machine may be busy with other things.
    watch = (
        "while :; do :; done & busy=$!; sleep 1; held=0; i=0; while [ $i -lt 150 ]; do i=$((i+1)); sleep 0.013;"
        " read pid name state rest < /proc/$busy/stat; [ $state = T ] && held=$((held+1)); done;"
        " kill -9 $busy; echo $held"
    )
    cap = "cat /sys/devices/system/cpu/cpufreq/policy6/scaling_max_freq"
    assert lab.says(PHONE, cap) == "2850000"
    assert int(lab.says(PHONE, watch, limit_s=60)) == 0
    lab.lab.set(PHONE, temperature_c=95)
    eventually(lambda: int(lab.says(PHONE, cap)) < 2_000_000)
    assert "mStatus=6" in lab.says(PHONE, "dumpsys thermalservice")
    assert 20 < int(lab.says(PHONE, watch, limit_s=60)) < 110


def test_battery_follows_what_is_set(lab: RunningLab) -> None:
    lab.lab.set(PHONE, battery_level=12, charger="none")
    eventually(lambda: "\n  level: 12\n" in lab.says(PHONE, "dumpsys battery"))
    assert lab.says(PHONE, "cat /sys/class/power_supply/battery/status") == "Discharging"
    assert int(lab.says(PHONE, "cat /sys/class/power_supply/battery/current_now")) < 0
    lab.lab.set(PHONE, charger="ac")
    eventually(lambda: lab.says(PHONE, "cat /sys/class/power_supply/battery/status") == "Charging")


def test_truth_is_kept_where_the_phone_cannot_see_it(lab: RunningLab) -> None:
    truth = lab.info.phone(PHONE).truth
    eventually(lambda: truth.is_file() and len(truth.read_text().splitlines()) > 2)
    lines = [json.loads(line) for line in truth.read_text().splitlines()]
    assert lines[-1]["energy_j"] > lines[0]["energy_j"] >= 0
    assert lab.says(PHONE, "find / -name 'truth*' 2>/dev/null; true") == ""


def _processes_of(folder: Path) -> list[str]:
    return [
        " ".join(process.info["cmdline"])
        for process in psutil.process_iter(["cmdline"])
        if process.info["cmdline"] and any(str(folder) in part for part in process.info["cmdline"])
    ]


def _state_of(folder: Path) -> Path:
    content = record.Record(folder).read()
    assert content is not None
    return Path(content["state"])


def test_down_leaves_nothing(start_lab: StartLab) -> None:
    running = start_lab("pixel-7a", "galaxy-a34")
    folder, state = running.lab.folder, _state_of(running.lab.folder)
    running.says(PHONE, "setsid nohup sleep 1004 > /dev/null 2>&1 < /dev/null &")
    recorded = record.Record(folder).read()
    assert recorded is not None and _processes_of(folder)
    assert all(record.is_alive(who) for who in recorded["processes"])
    assert running.lab.down() is True
    assert _processes_of(folder) == []
    assert not any(record.is_alive(who) for who in recorded["processes"])
    assert not folder.exists() and not state.exists()
    assert running.lab.down() is False
    assert running.lab.status() is None


def test_killed_launcher_takes_all_with_it_and_the_next_up_cleans(start_lab: StartLab) -> None:
    running = start_lab("pixel-7a", "galaxy-a34")
    lab, state = running.lab, _state_of(running.lab.folder)
    recorded = record.Record(lab.folder).read()
    assert recorded is not None and len(recorded["processes"]) == 3
    psutil.Process(running.info.pid).kill()
    eventually(lambda: not any(record.is_alive(who) for who in recorded["processes"]), limit_s=5)
    assert lab.status() is None
    lab.up([parse_wish("pixel-7a")], die_with=os.getpid())
    assert not state.exists()
    psutil.Process(lab.info().pid).kill()
    eventually(lambda: lab.status() is None, limit_s=5)
    assert lab.down() is True
    assert not lab.folder.exists()


def test_a_lab_is_not_started_twice(lab: RunningLab) -> None:
    with pytest.raises(LabError, match="is up"):
        lab.lab.up([parse_wish(PHONE)])
    assert lab.says(PHONE, "echo alive") == "alive"


def test_a_process_with_a_recycled_pid_is_not_ours() -> None:
    assert record.is_alive(record.identity(os.getpid()))
    assert not record.is_alive([os.getpid(), 1])
    record.end([[os.getpid(), 1]])


def test_unknown_phones_are_named() -> None:
    with pytest.raises(LabError, match="no profile 'pixel-8'"):
        parse_wish("pixel-8")
    with pytest.raises(LabError, match="no behaviour 'flies'"):
        parse_wish("pixel-7a+flies")
    with pytest.raises(LabError, match="cannot be the name"):
        Lab("../x")


_AS_USER = """
import os, subprocess, time
from device_agents.virtual.adbserver import adb_binary
from device_agents.virtual.lab import Lab, wishes
lab = Lab("user")
info = lab.up(wishes(2), die_with=os.getpid())
try:
    for phone in info.phones:
        script = ("id -u; grep CapEff /proc/self/status; echo x > /data/local/tmp/s; chmod 0 /data/local/tmp/s;"
            " cat /data/local/tmp/s")
        said = subprocess.run([adb_binary(), "-s", phone.adb_serial, "shell", script],
            env={**os.environ, **info.env}, capture_output=True, text=True, timeout=30)
        print(os.getuid(), *said.stdout.split(), "Permission denied" in said.stderr)
    lab.reboot(info.phones[0].id)
    deadline = time.monotonic() + 20
    while lab.info().phones[0].pid == info.phones[0].pid and time.monotonic() < deadline:
        time.sleep(0.05)
    print("booted again", lab.info().phones[0].pid != info.phones[0].pid)
finally:
    lab.down()
print(list(lab.folder.parent.iterdir()))
"""


@pytest.mark.long
@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user runs every other test of this file already")
def test_an_ordinary_user_can_do_it_too(start_lab: StartLab, tmp_path: Path) -> None:
    start_lab(PHONE)  # skips where no phone can start, and has the rootfs built
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("no setpriv to become an ordinary user with")
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = [str(Path(psutil.__file__).parent.parent), str(Path(device_agents.__file__).parent.parent)]
    # setpriv itself still has root's rights when it starts a program; env has not.
    become = [setpriv, "--reuid=65534", "--regid=65534", "--clear-groups", "env"]
    home = Path("/var/tmp") / f"farm-test-{os.getpid()}"
    environment = {
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "FARM_CACHE": str(home / "cache"),
        "PYTHONPATH": os.pathsep.join(packages),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    check = ["-c", f"import psutil, device_agents, sys; assert sys.version_info[:2] == {sys.version_info[:2]}"]
    python = next(
        (
            name
            for name in (sys.executable, shutil.which(version) or "", f"/usr/bin/{version}")
            if name
            and subprocess.run(
                [*become, name, *check], env=environment, capture_output=True, check=False, cwd="/"
            ).returncode
            == 0
        ),
        None,
    )
    if python is None:
        pytest.skip("an ordinary user cannot reach a Python with this project's packages on this machine")
    if subprocess.run([*become, adb_binary(), "version"], capture_output=True, check=False).returncode != 0:
        pytest.skip("an ordinary user cannot reach the adb of this installation")
    home.mkdir()
    try:
        os.chown(home, 65534, 65534)
        done = subprocess.run(
            [*become, python, "-c", _AS_USER],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            cwd="/",
        )
    finally:
        shutil.rmtree(home, ignore_errors=True)
    if "LabUnsupported" in done.stderr:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    lines = done.stdout.splitlines()
    assert lines == ["65534 2000 CapEff: 0000000000000000 True"] * 2 + ["booted again True", "[]"], done.stderr


def test_preflight_is_one_line() -> None:
    reason = preflight()
    assert reason is None or "\n" not in reason


def test_a_lab_that_cannot_start_says_why_and_leaves_nothing(
    start_lab: StartLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_lab(PHONE)  # skips where no phone can start
    monkeypatch.setenv("ADBUTILS_ADB_PATH", str(tmp_path / "no-adb"))
    lab = Lab(f"test-{os.getpid()}-broken")
    with pytest.raises(LabError, match="did not come up"):
        lab.up([parse_wish(PHONE)], die_with=os.getpid())
    assert not lab.folder.exists()
    assert _processes_of(lab.folder) == []


def test_interrupted_start_leaves_nothing(start_lab: StartLab, monkeypatch: pytest.MonkeyPatch) -> None:
    start_lab(PHONE)  # skips where no phone can start
    lab = Lab(f"test-{os.getpid()}-interrupted")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(lab, "_await_ready", interrupt)
    with pytest.raises(KeyboardInterrupt):
        lab.up([parse_wish(PHONE)], die_with=os.getpid())
    eventually(lambda: _processes_of(lab.folder) == [])
    assert not lab.folder.exists()


def test_down_ends_the_adb_server_that_a_client_started_in_place_of_the_labs_own(start_lab: StartLab) -> None:
    running = start_lab("galaxy-a34")
    adb = adb_binary()
    subprocess.run([adb, "kill-server"], env=running.env, check=True, capture_output=True, timeout=20)
    subprocess.run([adb, "start-server"], env=running.env, check=True, capture_output=True, timeout=20)
    assert running.lab.down()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", running.info.adb_port)) != 0
