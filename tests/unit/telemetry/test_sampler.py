"""sampler.sh under the shells of this machine, with folders in place of /sys and /proc."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import device_agents.android
from device_agents.android.telemetry import (
    parse_live,
    parse_placements,
    parse_sampled_meminfo,
    parse_samples,
    parse_watchdog,
)
from harness.model import Measured, Trace

SCRIPT = Path(device_agents.android.__file__).with_name("sampler.sh").read_text(encoding="utf-8")
SHELLS = [name for name in ("mksh", "bash", "dash", "busybox") if shutil.which(name)]
LIMIT_S = 20.0

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs the /proc of Linux")


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + LIMIT_S
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"not within {LIMIT_S} s: {what}"
        pause.wait(0.02)


class Bench:
    """A folder with what the sampler sees, and a process for it to watch."""

    def __init__(self, root: Path, shell: str) -> None:
        self.root = root
        self.job = root / "job"
        self.shell = [shell, "sh"] if shell == "busybox" else [shell]
        self.job.mkdir()
        (root / "bin").mkdir()
        self.sys = root / "sys"
        self.sys.mkdir()
        self.program = SCRIPT.replace("/sys/", f"{root}/sys/")
        self.runner = subprocess.Popen(["/bin/sh", "-c", "read line"], stdin=subprocess.PIPE)
        self.started: list[subprocess.Popen[bytes]] = [self.runner]

    def put(self, path: str, text: str) -> Path:
        file = self.sys / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n", encoding="utf-8")
        return file

    def dumpsys(self, body: str) -> None:
        file = self.root / "bin" / "dumpsys"
        file.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        file.chmod(0o755)

    def build(self, fingerprint: str) -> None:
        file = self.root / "bin" / "getprop"
        file.write_text(f"#!/bin/sh\necho {fingerprint}\n", encoding="utf-8")
        file.chmod(0o755)

    def start(
        self, *, pid: int | None = None, max_s: str = "15", services_s: str = "0.1", floor_kb: str = "0"
    ) -> subprocess.Popen[bytes]:
        script = self.root / "sampler.sh"
        script.write_text(self.program, encoding="utf-8")
        argv = [*self.shell, str(script), str(self.job), str(pid or self.runner.pid), "0.05", "0.1", services_s, max_s]
        argv.append(floor_kb)
        path = f"{self.root / 'bin'}:{os.environ['PATH']}"
        process = subprocess.Popen(
            argv,
            env=dict(os.environ, PATH=path),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.started.append(process)
        return process

    def end_runner(self) -> None:
        assert self.runner.stdin is not None
        self.runner.stdin.close()
        self.runner.wait(LIMIT_S)

    def text(self) -> str:
        file = self.job / "samples"
        return file.read_text(encoding="utf-8") if file.exists() else ""

    def traces(self) -> dict[str, Trace]:
        return {trace.channel.name: trace for trace in parse_samples(self.text().encode())}

    def close(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.wait(LIMIT_S)
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


@pytest.fixture(params=SHELLS)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path, request.param)
    yield made
    made.close()


def test_samples_files_memory_and_services_of_a_phone(bench: Bench) -> None:
    bench.put("devices/system/cpu/cpufreq/policy4/scaling_cur_freq", "1824000")
    bench.put("devices/system/cpu/cpufreq/policy4/scaling_max_freq", "2900000")
    bench.put("class/power_supply/battery/current_now", "-326171")
    bench.put("class/power_supply/battery/status", "Not charging")
    for index, (zone, raw) in enumerate([("cpu-0-0", "41200"), ("lmh-dcvs-00", "75000"), ("name with spaces", "31")]):
        bench.put(f"class/thermal/thermal_zone{index}/type", zone)
        bench.put(f"class/thermal/thermal_zone{index}/temp", raw)
    bench.put("class/thermal/thermal_zone9/type", "broken")
    bench.dumpsys('case $1 in battery) echo "  level: 55";; *) echo "Thermal Status: 2"; echo "HAL Ready: true";; esac')
    sampler = bench.start()
    until(lambda: bench.text().count("\nf ") >= 3 and "e thermalservice" in bench.text(), "three samples of files")
    bench.end_runner()
    output, _ = sampler.communicate(timeout=LIMIT_S)
    assert output == b""
    found = bench.traces()
    assert set(found["policy4.cur_freq"].values) == {1824}
    assert set(found["policy4.max_freq"].values) == {2900}
    assert set(found["battery.current"].values) == {-0.326171}
    assert set(found["battery.status"].values) == {4}
    assert set(found["zone.cpu-0-0.temperature"].values) == {41.2}
    assert set(found["zone.name with spaces.temperature"].values) == {31}
    assert "limits driver" in found["zone.lmh-dcvs-00.temperature"].channel.absent
    assert found["zone.broken.temperature"].channel.absent == "No such file or directory"
    assert set(found["battery.level"].values) == {55}
    assert set(found["thermal.status"].values) == {2}
    assert len(found["runner.vm_hwm"].values) > len(found["policy4.cur_freq"].values)
    assert min(found["runner.vm_hwm"].values) > 0.1
    assert max(found["memory.available"].values) > 1
    assert bench.text().splitlines()[-1].endswith(" gone")
    assert parse_live(bench.text().encode())["battery_level_pct"] == 55


def test_trap_11_and_12_missing_files_neither_print_nor_stop_it(bench: Bench) -> None:
    bench.dumpsys("exit 127")
    sampler = bench.start(max_s="0.4")
    output, _ = sampler.communicate(timeout=LIMIT_S)
    assert output == b""
    found = bench.traces()
    assert found["battery.current"].channel.absent.startswith("No such file or directory")
    assert found["policy.cur_freq"].channel.absent.startswith("No such file or directory")
    assert found["battery.level"].channel.absent.endswith("there is no dumpsys battery here")
    assert len(found["runner.vm_rss"].values) >= 2


def test_a_denied_file_is_absent_with_the_words_of_the_phone(bench: Bench) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    bench.put("class/power_supply/battery/current_now", "1").chmod(0)
    bench.start(max_s="0.3").communicate(timeout=LIMIT_S)
    assert bench.traces()["battery.current"].channel.absent.startswith("Permission denied")


def test_it_never_outlives_its_limit_even_when_dumpsys_hangs(bench: Bench) -> None:
    note = bench.root / "hung"
    bench.dumpsys(f"echo $$ >>{note}; exec sleep 600")
    sampler = bench.start(max_s="0.5")
    started = time.monotonic()
    sampler.communicate(timeout=LIMIT_S)
    assert time.monotonic() - started < 5
    last = bench.text().splitlines()[-2:]
    assert last[0].startswith("m ")
    assert last[1].startswith("end ")
    assert last[1].endswith(" limit")
    for pid in note.read_text().split():
        until(lambda pid=pid: ended(int(pid)), "the hung dumpsys is ended")  # type: ignore[misc]


def ended(pid: int) -> bool:
    """Gone, or a zombie that its new parent has not collected yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z")
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_term_takes_a_last_memory_sample(bench: Bench) -> None:
    sampler = bench.start()
    until(lambda: bench.text().count("\nm ") >= 2, "two memory samples")
    sampler.send_signal(signal.SIGTERM)
    sampler.communicate(timeout=LIMIT_S)
    lines = [line for line in bench.text().splitlines() if line[:2] in {"m ", "en"}]
    assert lines[-1].endswith(" asked")
    assert lines[-2].startswith("m ")


def test_a_process_that_is_gone_before_it_starts(bench: Bench) -> None:
    bench.end_runner()
    bench.start().communicate(timeout=LIMIT_S)
    assert bench.text().splitlines()[-1].endswith(" gone")
    assert bench.traces()["runner.vm_hwm"].channel.absent == "the process ended before the first sample"


def test_a_zombie_counts_as_ended(bench: Bench) -> None:
    sampler = bench.start()
    until(lambda: bench.text().count("\nm ") >= 2, "two memory samples")
    assert bench.runner.stdin is not None
    bench.runner.stdin.close()
    sampler.communicate(timeout=LIMIT_S)
    assert bench.text().splitlines()[-1].endswith(" gone")


def test_another_process_under_the_same_number_is_not_sampled(bench: Bench) -> None:
    folder = bench.root / "proc" / "77"
    folder.mkdir(parents=True)
    (bench.root / "proc" / "uptime").symlink_to("/proc/uptime")
    for name in ("stat", "meminfo"):
        (bench.root / "proc" / name).symlink_to(f"/proc/{name}")

    def identity(start: int) -> None:
        fields = " ".join(str(number) for number in range(4, 22))
        part = folder / "stat.part"
        part.write_text(f"77 (a name) with) S {fields} {start} 0 0\n", encoding="utf-8")
        part.rename(folder / "stat")

    identity(5000)
    (folder / "status").write_text("Name:\tx\nVmHWM:\t    2000 kB\nVmRSS:\t    1000 kB\n", encoding="utf-8")
    bench.program = bench.program.replace("/proc/", f"{bench.root}/proc/")
    sampler = bench.start(pid=77)
    until(lambda: bench.text().count("\nm ") >= 2, "two memory samples")
    assert list(bench.traces()["runner.vm_hwm"].values)[:1] == [2.048]
    assert sampler.poll() is None
    identity(6000)
    sampler.communicate(timeout=LIMIT_S)
    assert bench.text().splitlines()[-1].endswith(" gone")


def test_a_killed_sampler_leaves_readable_samples_and_no_process(bench: Bench) -> None:
    bench.dumpsys('echo "  level: 55"')
    sampler = bench.start()
    until(lambda: bench.text().count("\nm ") >= 2 and "e battery" in bench.text(), "two memory samples")
    sampler.kill()
    sampler.wait(LIMIT_S)
    assert len(bench.traces()["runner.vm_hwm"].values) >= 2
    # Its helper holds the write end of this pipe: end of file means that it has ended too.
    assert sampler.stdout is not None
    assert sampler.stdout.read() == b""


def test_samples_keep_to_their_schedule(bench: Bench) -> None:
    bench.start(max_s="1.5").communicate(timeout=LIMIT_S)
    times = bench.traces()["runner.vm_rss"].uptime_s
    # 0.05 s asked for; a busy machine may lose some, but must not drift: the stamps stay on the grid of the start.
    assert len(times) >= 15
    assert times[-1] - times[0] >= 1.2


def test_cpu_time_and_placement_of_the_process(bench: Bench) -> None:
    bench.runner.kill()
    bench.runner = subprocess.Popen(["/bin/sh", "-c", "while :; do :; done"], stdin=subprocess.PIPE)
    bench.started.append(bench.runner)
    sampler = bench.start()
    until(lambda: "\na " in bench.text() and bench.text().count("\np ") > 3, "a placement")
    bench.runner.kill()
    bench.runner.wait(LIMIT_S)
    sampler.communicate(timeout=LIMIT_S)
    found = bench.traces()
    spent = found["runner.cpu_time"]
    assert spent.values[-1] > spent.values[0]
    assert spent.values[-1] - spent.values[0] <= spent.uptime_s[-1] - spent.uptime_s[0] + 0.05
    assert set(spent.uptime_s) <= set(found["cpu.busy_time"].uptime_s)
    (placement, *_) = parse_placements(bench.text().encode())
    assert placement.cores == os.sched_getaffinity(0)


def test_below_the_floor_of_memory_the_group_of_the_process_is_ended(bench: Bench) -> None:
    group = subprocess.Popen(["/bin/sh", "-c", "sleep 600 & wait"], start_new_session=True)
    bench.started.append(group)
    # No machine has as much: every reading is below.
    sampler = bench.start(pid=group.pid, floor_kb="2000000000")
    sampler.communicate(timeout=LIMIT_S)
    assert group.wait(LIMIT_S) == -signal.SIGKILL
    kill = parse_watchdog(bench.text().encode())
    assert kill is not None
    assert kill.available_mb > 1
    assert (bench.job / "ended_by").read_text() == "watchdog\n"
    assert bench.text().count("\nwatchdog ") == 1
    assert bench.text().splitlines()[-1].endswith(" gone")


def test_above_the_floor_the_process_is_left_alone(bench: Bench) -> None:
    bench.start(max_s="1.2", floor_kb="1").communicate(timeout=LIMIT_S)
    assert bench.runner.poll() is None
    assert parse_watchdog(bench.text().encode()) is None
    assert not (bench.job / "ended_by").exists()


def test_services_are_asked_at_both_ends_and_meminfo_while_the_process_lives(bench: Bench) -> None:
    bench.dumpsys('case $1 in meminfo) echo "** MEMINFO in pid $2 [x] **";; *) echo "  level: 55";; esac')
    sampler = bench.start(services_s="600")
    until(lambda: "e thermalservice" in bench.text(), "the first answers")
    first = bench.text().count("e battery")
    sampler.send_signal(signal.SIGTERM)
    sampler.communicate(timeout=LIMIT_S)
    assert bench.text().count("\ne battery") == first + 1
    assert bench.text().count("\ne thermalservice") == first + 1
    pid = parse_sampled_meminfo(bench.text().encode())["pid"]
    assert isinstance(pid, Measured)
    assert pid.value == bench.runner.pid


def test_a_service_that_hangs_at_the_end_is_given_up(bench: Bench) -> None:
    note = bench.root / "asked"
    bench.dumpsys(f'[ -e {note} ] || {{ [ "$1" = battery ] || : >{note}; exit 0; }}; exec sleep 600')
    sampler = bench.start(services_s="600")
    until(lambda: "e thermalservice" in bench.text(), "the first answers")
    started = time.monotonic()
    bench.end_runner()
    sampler.communicate(timeout=LIMIT_S)
    assert time.monotonic() - started < 8
    assert bench.text().splitlines()[-1].endswith(" gone")


def test_sources_are_discovered_once_per_build(bench: Bench) -> None:
    bench.build("brand/phone:15/A")
    bench.put("class/thermal/thermal_zone0/type", "cpu 0")
    value = bench.put("class/thermal/thermal_zone0/temp", "41200")
    kept = bench.root / "sampler.sources"

    def sampled() -> dict[str, Trace]:
        (bench.job / "samples").unlink(missing_ok=True)
        bench.start(max_s="0.5").communicate(timeout=LIMIT_S)
        return bench.traces()

    found = sampled()
    assert set(found["zone.cpu 0.temperature"].values) == {41.2}
    text = kept.read_text(encoding="utf-8")
    assert text.splitlines()[0] == "farm-sources 1 1 brand/phone:15/A"
    # A line that only the kept file can hold shows that it is used.
    kept.write_text(text + "absent\tbattery.power\t/nowhere\tkept words\n", encoding="utf-8")
    again = sampled()
    assert again["battery.power"].channel.absent == "kept words"
    assert set(again["zone.cpu 0.temperature"].values) == {41.2}
    assert set(again) == {*found, "battery.power"}
    # A source that has changed: all are looked at again.
    value.with_name("type").write_text("gpu\n")
    changed = sampled()
    assert "zone.gpu.temperature" in changed
    assert "battery.power" not in changed
    # Another build.
    kept.write_text(kept.read_text() + "absent\tbattery.power\t/nowhere\tkept words\n", encoding="utf-8")
    bench.build("brand/phone:16/B")
    assert "battery.power" not in sampled()
    assert "phone:16/B" in kept.read_text(encoding="utf-8")
