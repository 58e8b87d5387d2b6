"""Logs after a death: which process they name, and when."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agents.android.evidence import denial, kills, runner_pid, signs_of, tombstone
from harness.death import KillEvidence

BOOT = "8d6b8b58-8d0f-4a2f-9d0a-1d9a5c6b7a11"
HEAD = f"""@@ boot
{BOOT}
@@ reason
reboot,adb

@@ clock
500.25 900.00
1726667890
@@ pid
100 7 4711 8
started=400.25
@@ kernel
dmesg: klogctl: Permission denied
@@ kernlog
@@ log
"""
LMKD = "I lowmemorykiller: Kill '{name}' ({pid}), uid 2000, oom_score_adj 0 to free 140528kB rss, 0kB swap; reason: low"


def kill_in(log: str, program: str = "llama-bench", pid: int = 4711) -> KillEvidence:
    return signs_of((HEAD + log).encode(), pid, program).kill


def test_what_the_phone_says_of_itself() -> None:
    found = signs_of(HEAD.encode(), 4711, "llama-bench")
    assert (found.boot_id, found.boot_reason) == (BOOT, "reboot,adb")
    assert found.unread == {"kernel": "dmesg: klogctl: Permission denied"}
    assert found.kill.kind == "none"
    assert runner_pid(HEAD.encode()) == 4711


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (f"1726667850.123   495   495 {LMKD.format(name='llama-bench', pid=4711)}", "low_memory_kill"),
        (LMKD.format(name="/data/local/tmp/farm/r/llama-bench", pid=4711), "low_memory_kill"),
        ("<6>[24448.455350] lowmemorykiller: Killing 'llama-bench' (4711), adj 1000,", "low_memory_kill"),
        ("lowmemorykiller: Killing 'llama-bench' (4711) (tgid 4711), adj 0,", "low_memory_kill"),
        ("1726667850.2 495 495 I killinfo: [4711,2000,0,0,140528,5,1,2,3]", "low_memory_kill"),
        ("[ 1630.1] oom-kill:constraint=CONSTRAINT_NONE,task_memcg=/,task=llama-bench,pid=4711,uid=2000", "kernel_oom"),
        ("[ 1630.1][T14021] Out of memory: Killed process 4711 (llama-bench) total-vm:4228kB", "kernel_oom"),
        ("Memory cgroup out of memory: Kill process 4711 (llama-bench) score 900 or sacrifice child", "kernel_oom"),
        ("Killed process 4711 (llama-bench) total-vm:5400kB, anon-rss:252kB", "kernel_oom"),
        ("oom_reaper: reaped process 4711 (llama-bench), now anon-rss:0kB", "kernel_oom"),
    ],
)
def test_a_line_that_names_our_process(line: str, kind: str) -> None:
    found = kill_in(line)
    assert (found.kind, found.victim_pid) == (kind, 4711)
    assert found.text == line.strip()


@pytest.mark.parametrize(
    "line",
    [
        LMKD.format(name="com.example.app", pid=47110),
        LMKD.format(name="com.example.app", pid=4711),
        "Out of memory: Killed process 4712 (llama-bench) total-vm:4228kB",
        f"1726667600.000   495   495 {LMKD.format(name='llama-bench', pid=4711)}",
        "I ActivityManager: Process 4711 (llama-bench) has died",
        "lowmemorykiller: Failed to open /proc/4711/oom_score_adj; errno=2: process 4711 might have been killed",
    ],
)
def test_other_victims_and_earlier_processes_are_no_evidence(line: str) -> None:
    assert kill_in(line).kind == "none"


def test_others_are_counted() -> None:
    log = "\n".join(LMKD.format(name=f"com.app{pid}", pid=pid) for pid in (20, 21, 21))
    found = signs_of((HEAD + log).encode(), 4711, "llama-bench")
    assert found.other_victims == 2
    assert found.kill.kind == "none"


def test_the_kernel_keeps_15_characters_of_a_name() -> None:
    assert kill_in("Killed process 4711 (farm-calibratio)", "farm-calibration").kind == "kernel_oom"


CRASH = """1726667850.1 200 200 F libc    : Fatal signal 6 (SIGABRT), code -1 in tid 4713 (llama), pid 4711 (llama)
1726667850.2 200 200 F DEBUG   : pid: 4711, tid: 4713, name: llama-bench  >>> ./llama-bench <<<
1726667850.2 200 200 F DEBUG   : signal 6 (SIGABRT), code -1 (SI_QUEUE), fault addr --------
1726667850.2 200 200 F DEBUG   : Abort message: 'ggml_abort'
1726667850.3 200 200 F DEBUG   : pid: 99, tid: 99, name: other  >>> other <<<
1726667850.3 200 200 F DEBUG   : Abort message: 'not ours'
"""


def test_the_crash_log_of_our_process() -> None:
    found = tombstone(CRASH, 4711)
    assert "signal 6 (SIGABRT), code -1 (SI_QUEUE)" in found
    assert "Abort message: 'ggml_abort'" in found
    assert "not ours" not in found
    assert tombstone(CRASH, 4713) == ""


def test_a_log_that_cannot_be_read() -> None:
    assert denial("Unable to open log device '/dev/log/kernel': Permission denied") != ""
    assert denial("--------- beginning of main\n") == ""
    assert denial("selinux: denied\nlowmemorykiller: Kill 'a' (1), uid\n") == ""


def test_captured_logs_name_their_victims(captures: Path) -> None:
    for name, first, count in (
        ("misc_lmkd/lmkd_not_responding_crdroid.txt", 17_933, 1),
        ("battery_historian/dmesg_lowmemorykiller.txt", 20_003, None),
        ("pixel/lmkd_pixel8_executorch_llama.txt", 15_964, None),
    ):
        if not (captures / name).is_file():
            pytest.skip(f"{captures} holds no {name}")
        found = list(kills((captures / name).read_text("utf-8", "replace")))
        assert found[0].evidence.victim_pid == first
        assert count is None or len(found) == count
        assert all(kill.evidence.kind == "low_memory_kill" for kill in found)
    for path in captures.rglob("*.txt"):
        text = path.read_bytes()
        assert signs_of(b"@@ log\n" + text, 1, "llama-bench").kill.kind == "none", path


@given(st.binary(max_size=400), st.one_of(st.none(), st.integers(0, 99)))
def test_any_bytes_are_read_without_an_invention(noise: bytes, pid: int | None) -> None:
    for output in (noise, b"@@ log\n" + noise, HEAD.encode() + noise):
        found = signs_of(output, pid, "llama-bench")
        assert found.kill.victim_pid in (None, pid)
        runner_pid(output)
