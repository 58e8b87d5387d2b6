"""What a phone shows after a runner has died: boot, boot reason, and the logs that may name our process."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from device_agents.android.facts import sections
from device_agents.posix.link import Link, LinkShell
from harness.death import DeathSigns, KillEvidence

_SCRIPT = r"""exec 2>&1
say() { while IFS= read -r line; do echo "$line"; break; done < "$1"; }
echo '@@ boot'; say /proc/sys/kernel/random/boot_id
echo '@@ reason'; getprop sys.boot.reason; getprop sys.boot.reason.last; getprop ro.boot.bootreason
echo '@@ clock'; say /proc/uptime; date +%s
echo '@@ pid'; [ -z "$1" ] || { say "$1/pid"; grep -m 1 '^started=' "$1/stamps"; }
words="lowmemorykiller|lmkd|killinfo|out of memory|oom-kill|oom_reaper|Killed process|DEBUG|Fatal signal|unable to open"
words="$words|[Pp]ermission denied|not permitted|inaccessible"
echo '@@ kernel'; dmesg | grep -E -i "$words" | tail -n 200
echo '@@ kernlog'; logcat -d -v epoch -b kernel -t 5000 | grep -E -i "$words" | tail -n 200
echo '@@ log'; logcat -d -v epoch -b main,system,events,crash -t 20000 | grep -E -i "$words" | tail -n 400
exit 0"""

_QUOTED = 400
_CLOCK_ERROR_S = 2.0

_LOW_MEMORY_KILL = re.compile(
    r"(?:lowmemorykiller|lmkd)\b.*?\bKill(?:ing|ed)?\s+(?:process\s+)?'(?P<name>[^']*)'\s*\((?P<pid>\d+)\)"
)
_KILL_INFO = re.compile(r"\bkillinfo\b[^\[]*\[(?P<pid>\d+),")
_KERNEL_OOM = re.compile(
    r"(?:[Oo]ut of memory: |oom_reaper: reaped process |\b)(?:Kill(?:ed)? process )?(?P<pid>\d+) \((?P<name>[^)]*)\)"
)
_KERNEL_OOM_WORDS = re.compile(r"[Oo]ut of memory|oom_reaper|Killed process", re.ASCII)
_KERNEL_OOM_EVENT = re.compile(r"oom-kill:.*\btask=(?P<name>.*),pid=(?P<pid>\d+)")
_CRASH_PROCESS = re.compile(r"\bpid: (?P<pid>\d+), tid: \d+, name: ")
_CRASH_DETAIL = re.compile(r"(?:signal \d+ \([A-Z0-9]+\)|Abort message:).*")
_FATAL_SIGNAL = re.compile(r"Fatal signal \d+ \([A-Z0-9]+\).*\bpid (?P<pid>\d+)\b")
_EPOCH = re.compile(r"^\s*(\d{9,11}\.\d+)\s")
_DENIED = re.compile(r"denied|not permitted|unable to open|inaccessible|not found", re.IGNORECASE)
_COMM_LENGTH = 15
"""Characters of a process name that the kernel keeps."""


@dataclass(frozen=True, slots=True)
class Killed:
    """A log line that tells of a kill for lack of memory; `name` is "" where the line gives none."""

    evidence: KillEvidence
    name: str
    epoch_s: float | None


class AndroidEvidence:
    """Asks the phone behind `link` after a death; one round trip."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def ask(self, folder: str, program: str, *, pid: int | None = None, limit_s: float) -> DeathSigns:
        """What the phone shows of the death of a job's runner.

        Ask before the job is ended and its folder removed: process number and start time are read there.

        Args:
            folder: of the job on the phone (`JobHandle.folder`), or "".
            program: file name of the runner's program, so that a later process of the same number is not taken for it.
            pid: of the runner, where it is known already.

        Raises:
            Transient: the phone cannot be asked.
        """
        output = LinkShell(self._link).script(_SCRIPT, folder, limit_s=limit_s).stdout
        return signs_of(output, pid if pid is not None else runner_pid(output), program)


def runner_pid(output: bytes) -> int | None:
    """The runner's process number in the job's file `pid` (supervisor, its start, runner, its start), or None."""
    words = sections(output).get("pid", b"").split(b"\n", 1)[0].split()
    return int(words[2]) if len(words) == 4 and all(word.isdigit() for word in words) else None


def signs_of(output: bytes, pid: int | None, program: str) -> DeathSigns:
    """What shows in the output of the script; any bytes."""
    parts = {name: part.decode("utf-8", "replace") for name, part in sections(output).items()}
    since = _started_epoch(parts)
    logs = [parts.get(name, "") for name in ("kernel", "kernlog", "log")]
    found = [kill for log in logs for kill in kills(log)]
    ours = next((kill for kill in found if _is_ours(kill, pid, program, since)), None)
    others = {kill.evidence.victim_pid for kill in found} - {pid}
    return DeathSigns(
        pid=pid,
        boot_id=_first_line(parts.get("boot", "")) if _is_boot_id(parts.get("boot", "")) else "",
        boot_reason=_first_line(parts.get("reason", "")),
        kill=ours.evidence if ours else KillEvidence(),
        other_victims=len(others),
        tombstone=tombstone(logs[2], pid) if pid is not None else "",
        unread={name: text for name in ("kernel", "kernlog", "log") if (text := denial(parts.get(name, "")))},
    )


def kills(log: str) -> Iterator[Killed]:
    """Every kill for lack of memory that a log tells of, of any process; the log is of logcat or dmesg."""
    for line in log.splitlines():
        stamp = _EPOCH.match(line)
        epoch_s = float(stamp[1]) if stamp else None
        for kind, found in (
            ("low_memory_kill", _LOW_MEMORY_KILL.search(line)),
            ("low_memory_kill", _KILL_INFO.search(line)),
            ("kernel_oom", _KERNEL_OOM_EVENT.search(line)),
            ("kernel_oom", _KERNEL_OOM.search(line) if _KERNEL_OOM_WORDS.search(line) else None),
        ):
            if found is None or len(found["pid"]) > 9:
                continue
            words = line.strip()[:_QUOTED]
            evidence = (
                KillEvidence("low_memory_kill", int(found["pid"]), words)
                if kind == "low_memory_kill"
                else KillEvidence("kernel_oom", int(found["pid"]), words)
            )
            yield Killed(evidence, found.groupdict().get("name") or "", epoch_s)
            break


def tombstone(log: str, pid: int) -> str:
    """What the crash log says of the process: signal and abort message; "" when it says nothing."""
    said: list[str] = []
    inside = False
    for line in log.splitlines():
        process, fatal = _CRASH_PROCESS.search(line), _FATAL_SIGNAL.search(line)
        if process:
            inside = int(process["pid"][:9]) == pid
        elif fatal and int(fatal["pid"][:9]) == pid:
            said.append(fatal[0])
        elif inside and (detail := _CRASH_DETAIL.search(line)):
            said.append(detail[0])
    return "; ".join(dict.fromkeys(said))[:_QUOTED]


def denial(log: str) -> str:
    """The phone's words when a log cannot be read; "" for a log that was read, empty or not."""
    lines = [line.strip() for line in log.splitlines() if line.strip() and not line.startswith("---------")]
    return lines[0][:_QUOTED] if len(lines) == 1 and _DENIED.search(lines[0]) else ""


def _is_ours(kill: Killed, pid: int | None, program: str, since: float | None) -> bool:
    """The line names our process number, no other program, and no time before the runner's start."""
    if pid is None or kill.evidence.victim_pid != pid:
        return False
    if kill.epoch_s is not None and since is not None and kill.epoch_s < since - _CLOCK_ERROR_S:
        return False
    name = kill.name.rpartition("/")[2]
    return not name or not program or name == program or name == program[:_COMM_LENGTH]


def _started_epoch(parts: dict[str, str]) -> float | None:
    """Wall-clock second at which the runner was started, from the job's stamp and the phone's two clocks."""
    clock = re.match(r"\s*(\d{1,12}\.\d+) .*\n(\d{9,11})\n", parts.get("clock", ""))
    started = re.search(r"(?m)^started=(\d{1,12}(?:\.\d+)?)$", parts.get("pid", ""))
    return float(clock[2]) - (float(clock[1]) - float(started[1])) if clock and started else None


def _first_line(text: str) -> str:
    return next((line.strip()[:_QUOTED] for line in text.splitlines() if line.strip()), "")


def _is_boot_id(text: str) -> bool:
    return re.fullmatch(r"[0-9a-f-]{36}", _first_line(text)) is not None
