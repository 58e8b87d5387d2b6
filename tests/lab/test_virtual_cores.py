"""A program is as fast as the cores and the heat of its virtual phone let it be, and the truth file says so."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import Any

import pytest

from device_agents.posix.spec import suspended
from device_agents.virtual.errors import LabError
from harness.model import Measured
from tests.lab import spinner
from tests.lab.conftest import RunningLab, eventually, start

PHONE = "pixel-8-pro"
STILL = 1e-4
"""Heat scale at which a temperature that was set stays."""

_TRIES = 4


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    running = start([PHONE])
    spinner.push(running, PHONE, tmp_path_factory.mktemp("spin"))
    yield running
    running.lab.down()


@pytest.fixture(autouse=True)
def calm(lab: RunningLab) -> None:
    lab.lab.set(
        PHONE,
        temperature_c=28,
        ambient_c=22,
        heat_scale=1,
        battery_scale=1,
        other_load=0,
        memory_available_mb=1e6,
        charger="none",
    )


def truth(lab: RunningLab) -> list[dict[str, Any]]:
    text = lab.info.phone(PHONE).truth.read_text()
    return [json.loads(line) for line in text[: text.rfind("\n")].splitlines()]


def agrees(lab: RunningLab, share: float, *, mask: str = "") -> bool:
    """Whether one busy thread is let run for `share` of the time, within 5 %; looked at again while this machine is too
    busy for a tight answer. A wrong answer counts at once, unless more processes want this machine's processors than
    it has: the phone looks at its own ones too late then, and gets more time for that."""
    for number in range(1, _TRIES + 1):
        done = spinner.spin(lab, PHONE, 1, 0.8, skip_s=0.7 * number, mask=mask)
        is_so, is_crowded = done.agrees(share, 0.05), os.getloadavg()[0] > (os.cpu_count() or 1)
        if is_so and done.tells:
            return True
        if not is_so and (not is_crowded or number == _TRIES):
            return False
    return True


@pytest.mark.parametrize(("mask", "capacity"), [("", 1024), ("100", 1024), ("f0", 696), ("f", 256)])
def test_a_thread_is_as_fast_as_the_cores_it_may_use(lab: RunningLab, mask: str, capacity: int) -> None:
    assert agrees(lab, capacity / 1024, mask=mask)


def test_more_threads_on_little_cores_are_slower_than_fewer_on_big_ones(lab: RunningLab) -> None:
    big, little = (spinner.spin(lab, PHONE, threads, 0.8, mask=mask) for threads, mask in ((2, "f0"), (4, "f")))
    # One round is one piece of work of every thread.
    assert 2 * big.rate > 4 * little.rate
    every = spinner.spin(lab, PHONE, 9, 0.8)
    assert 9 * every.rate < 2 * big.rate


@pytest.mark.parametrize("temperature_c", [72.0, 80.0, 95.0])
def test_a_hot_phone_is_slower_by_exactly_its_cap(lab: RunningLab, temperature_c: float) -> None:
    lab.lab.set(PHONE, temperature_c=temperature_c, heat_scale=STILL)
    last = truth(lab)[-1]
    assert last["cap"] < 1.0 and last["heat_scale"] == STILL
    shown = lab.says(PHONE, "cat /sys/devices/system/cpu/cpufreq/policy*/scaling_max_freq").split()
    assert [int(khz) for khz in shown] == [last["max_khz"][f"policy{first}"] for first in (0, 4, 8)]
    assert agrees(lab, last["cap"])


def test_a_phone_comes_to_the_temperature_of_its_room(lab: RunningLab) -> None:
    lab.lab.set(PHONE, ambient_c=45, heat_scale=1000)
    eventually(lambda: truth(lab)[-1]["skin_c"] > 45)
    last = truth(lab)[-1]
    assert last["ambient_c"] == 45 and last["skin_c"] < 60
    lab.lab.set(PHONE, ambient_c=22)
    eventually(lambda: truth(lab)[-1]["skin_c"] < 40)


def test_the_truth_has_the_moment_in_which_the_cap_fell(lab: RunningLab) -> None:
    lab.lab.set(PHONE, temperature_c=60, heat_scale=40)
    watch = (
        "/data/local/tmp/spin 2 0 8 > /dev/null & busy=$!; i=0;"
        " cap=/sys/devices/system/cpu/cpufreq/policy8/scaling_max_freq;"
        " while [ $i -lt 600 ]; do i=$((i+1)); read khz < $cap; if [ $khz -lt 2914000 ]; then"
        " read up rest < /proc/uptime; echo $up $khz; break; fi; sleep 0.01; done; kill $busy"
    )
    seen_s, khz = lab.says(PHONE, watch, limit_s=60).split()
    falls = [line for line in truth(lab) if line.get("event") == "cap" and line["cap"] < 1.0]
    fall = min(falls, key=lambda line: abs(line["uptime_s"] - float(seen_s)))
    assert float(seen_s) - fall["uptime_s"] == pytest.approx(0.0, abs=0.3)
    assert fall["max_khz"]["policy8"] == int(khz) and fall["heat_scale"] == 40


def test_affinity_is_shown_in_the_phones_numbers(lab: RunningLab) -> None:
    def allowed(script: str) -> list[str]:
        return re.findall(r"Cpus_allowed_list:\s+(\S+)", lab.says(PHONE, script))

    assert allowed("cat /proc/self/status") == ["0-8"]
    assert allowed("taskset 1f0 cat /proc/self/status") == ["4-8"]
    assert allowed("taskset 91 sh -c '(cat /proc/self/status; true)'") == ["0,4,7"]
    # Of another process, by the shell's own reading, as a sampler does it; and after its parent is gone.
    other = "taskset 6 sh -c 'sleep 20 & echo $! > /data/local/tmp/other'; read pid < /data/local/tmp/other;"
    read = 'while read -r line; do echo "$line"; done < /proc/$pid/task/$pid/status; taskset -p $pid; kill $pid'
    said = lab.says(PHONE, f"{other} {read}")
    assert re.findall(r"Cpus_allowed_list:\s+(\S+)", said) == ["1-2"] and "affinity mask: 6" in said


def test_the_truth_is_out_of_the_phones_reach(lab: RunningLab) -> None:
    path = lab.info.phone(PHONE).truth
    assert path.is_file()
    for way in (
        str(path),
        f"/data/local/tmp/../{path.name}",
        f"/data/local/tmp/../../../..{path}",
        f"/proc/1/root{path}",
        f"/proc/1/cwd{path}",
        f"/proc/$(pidof adbd)/root{path}",
        f"/proc/self/root{path}",
    ):
        assert lab.shell(PHONE, f"cat {way}").returncode != 0, way
    assert lab.shell(PHONE, f"cat /data/local/tmp/../{path.name} /proc/*/fd/*/{path.name}").stdout == b""


def test_other_load_is_a_process_of_the_system(lab: RunningLab) -> None:
    def busy() -> tuple[int, int]:
        columns = [int(word) for word in lab.says(PHONE, "cat /proc/stat").splitlines()[0].split()[1:]]
        return columns[0], sum(columns)

    lab.lab.set(PHONE, other_load=0.3)
    eventually(lambda: "dex2oat64" in lab.says(PHONE, "ps -A -o NAME"))
    before = busy()
    eventually(lambda: busy()[1] - before[1] > 9 * 150)
    after = busy()
    # At most what was asked for: it has to share this machine.
    assert 0.05 < (after[0] - before[0]) / (after[1] - before[1]) < 0.36
    assert truth(lab)[-1]["other_load"] == 0.3
    lab.lab.set(PHONE, other_load=0)
    eventually(lambda: "dex2oat64" not in lab.says(PHONE, "ps -A -o NAME"))


def test_a_phone_that_slept_is_found_out(lab: RunningLab) -> None:
    note = (
        "clocks() { awake=; while read -r key a b c d e f g h rest; do case $key in cpu) ;;"
        ' cpu*) awake="$awake $key,$a,$b,$c,$d,$e,$f,$g,$h" ;; *) break ;; esac; done < /proc/stat;'
        ' read -r up rest < /proc/uptime; echo "$1=$up$awake"; }; clocks'
    )
    begin = lab.says(PHONE, f"{note} started")
    lab.lab.suspend(PHONE, 1.5)

    def slept() -> float:
        end = lab.says(PHONE, f"{note} ended")
        found = suspended(f"{begin}\n{end}\n")
        return found.value if isinstance(found, Measured) else 0.0

    # The order takes a moment, and a phone that has only just woken up has not yet accounted for any time.
    eventually(lambda: truth(lab)[-1]["slept_s"] > 1.2)
    eventually(lambda: slept() == pytest.approx(1.5, abs=0.45))
    assert any(line.get("event") == "suspend" and line["seconds"] == 1.5 for line in truth(lab))


def test_low_memory_and_its_killer(lab: RunningLab) -> None:
    def available() -> int:
        found = re.search(r"MemAvailable:\s+(\d+)", lab.says(PHONE, "cat /proc/meminfo"))
        assert found is not None
        return int(found[1])

    lab.lab.set(PHONE, memory_available_mb=500)
    assert available() * 1024 / 1e6 == pytest.approx(500, abs=30)
    pid = int(lab.says(PHONE, "setsid nohup sleep 1005 > /dev/null 2>&1 < /dev/null & echo $!"))
    lab.lab.low_memory_kill(PHONE, pid)
    eventually(lambda: lab.shell(PHONE, f"kill -0 {pid}").returncode != 0)
    assert re.search(rf"(?m) I lowmemorykiller: Kill '[a-z]+' \({pid}\), uid 2000,", lab.says(PHONE, "logcat -d"))
    assert any(line.get("event") == "low_memory_kill" and line["pid"] == pid for line in truth(lab))
    with pytest.raises(LabError, match="no process"):
        lab.lab.low_memory_kill(PHONE, 999_999)
    assert b"Permission denied" in lab.shell(PHONE, "dmesg").stderr


def test_memory_of_a_process_that_has_just_ended_is_not_counted_as_held(lab: RunningLab) -> None:
    # tail keeps what it was given until the end of its input.
    hold = "{ head -c 200000000 /dev/zero; exec sleep 1006; } | tail -c 200000000"
    holding = lab.says(PHONE, f"setsid nohup sh -c '{hold}' > /dev/null 2>&1 < /dev/null & echo $!")
    eventually(lambda: truth(lab)[-1]["anon_kb"] > 150_000)
    lab.says(PHONE, f"kill -KILL -{holding}")
    lab.lab.set(PHONE, memory_available_mb=500)
    eventually(lambda: truth(lab)[-1]["anon_kb"] < 100_000)
    found = re.search(r"MemAvailable:\s+(\d+)", lab.says(PHONE, "cat /proc/meminfo"))
    assert found is not None and int(found[1]) * 1024 / 1e6 == pytest.approx(500, abs=50)


def test_a_scaled_gauge_is_finer_and_faster_and_says_so_in_the_truth(lab: RunningLab) -> None:
    lab.lab.set(PHONE, battery_scale=100)
    read = "cat /sys/class/power_supply/battery/charge_counter"
    first = int(lab.says(PHONE, read))
    eventually(lambda: int(lab.says(PHONE, read)) < first)
    last = int(lab.says(PHONE, read))
    assert (first % 10, last % 10) == (0, 0) and first - last < 1000
    assert truth(lab)[-1]["battery_scale"] == 100
    assert truth(lab)[-1]["charge_mah"] == pytest.approx(last / 1000, abs=1)


def test_a_shutdown_by_heat_leaves_its_reason(lab: RunningLab) -> None:
    boot = lab.says(PHONE, "cat /proc/sys/kernel/random/boot_id")
    assert lab.says(PHONE, "getprop sys.boot.reason") == "reboot"
    lab.lab.thermal_shutdown(PHONE)
    eventually(
        lambda: lab.shell(PHONE, "cat /proc/sys/kernel/random/boot_id").stdout.strip() not in (b"", boot.encode())
    )
    assert lab.says(PHONE, "getprop sys.boot.reason") == "shutdown,thermal"
    assert [line["boot_reason"] for line in truth(lab) if line.get("event") == "boot"][-1] == "shutdown,thermal"
