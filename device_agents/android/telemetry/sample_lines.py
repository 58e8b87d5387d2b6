"""The lines of the samples file that sampler.sh leaves on the phone, sorted by kind; the script tells the format."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from device_agents.android.telemetry.proc import CpuTicks, cpu_ticks
from device_agents.android.telemetry.text import number, whole

MAX_BYTES = 128 * 1024 * 1024
"""A day of sampling at the default periods is under 100 MB."""

_CORES_MAX = 4096

_PATH_NAME = re.compile(r"^[a-z]+[0-9]*\.[a-z_]+$|^zone\..+\.temperature$")


@dataclass(frozen=True, slots=True)
class FileSource:
    """A channel line of the header."""

    name: str
    path: str


@dataclass(slots=True)
class RawSamples:
    """The lines of a samples file, sorted by kind."""

    files: dict[str, FileSource] = field(default_factory=dict)
    absent: list[tuple[str, str, str]] = field(default_factory=list)
    memory: list[tuple[float, list[str]]] = field(default_factory=list)
    by_key: dict[str, list[tuple[float, str]]] = field(default_factory=dict)
    ticks: list[tuple[float, CpuTicks]] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    process: list[tuple[float, ProcessTicks]] = field(default_factory=list)
    placements: list[Placement] = field(default_factory=list)
    watchdog: tuple[float, int] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """One complete answer of a service; `uptime_s` is the middle between question and answer."""

    service: str
    uptime_s: float
    status: str
    text: bytes


@dataclass(frozen=True, slots=True)
class ProcessTicks:
    """CPU time of the process since its start, in clock ticks, and its threads."""

    user: int
    system: int
    threads: int


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the threads of the process may run at one moment.

    Args:
        uptime_s: when it was read.
        cpus: the different lists of cores that its threads have, as the kernel prints them ("0-3,6"); mostly one.
        cpuset: path of its cpuset, "" where that is not readable.
    """

    uptime_s: float
    cpus: tuple[str, ...]
    cpuset: str

    @property
    def cores(self) -> frozenset[int]:
        """Every core that one of the threads may use."""
        return frozenset(core for each in self.cpus for core in cores_of(each))


def cores_of(cpu_list: str) -> frozenset[int]:
    """The cores of a kernel list like "0-3,6"; what is no such list has none."""
    cores: set[int] = set()
    for part in cpu_list.split(","):
        first, dash, last = part.partition("-")
        low, high = whole(first), whole(last if dash else first)
        if low is None or high is None or not 0 <= low <= high < _CORES_MAX:
            return frozenset()
        cores.update(range(low, high + 1))
    return frozenset(cores)


def sort_lines(data: bytes) -> RawSamples:
    """Every complete line of a samples file, whole or cut anywhere."""
    raw = RawSamples()
    question: tuple[float, str, str] | None = None
    body: list[bytes] = []
    # What follows the last line feed was cut.
    for line in data[:MAX_BYTES].split(b"\n")[:-1]:
        if line.startswith(b"| "):
            body.append(line[2:])
            continue
        text = line.decode("utf-8", "replace")
        words = text.split(" ")
        if text.startswith("s "):
            question, body = _question(words), []
        elif text.startswith("e "):
            if question is not None and words[1:] == [question[2]]:
                raw.answers.append(Answer(question[2], question[0], question[1], b"\n".join(body)))
            question = None
        else:
            _sort_line(raw, text, words)
    return raw


def _question(words: list[str]) -> tuple[float, str, str] | None:
    """(middle time, exit status, service) of an "s" line."""
    if len(words) != 5:
        return None
    asked, answered = number(words[1]), number(words[2])
    if asked is None or answered is None or answered < asked:
        return None
    return (asked + answered) / 2, words[3], words[4]


def _sort_line(raw: RawSamples, text: str, words: list[str]) -> None:
    fields = text.split("\t")
    if fields[0] == "channel" and len(fields) == 5 and _PATH_NAME.match(fields[2]):
        raw.files.setdefault(fields[1], FileSource(fields[2], fields[4]))
        return
    if fields[0] == "absent" and len(fields) == 4 and _PATH_NAME.match(fields[1]):
        raw.absent.append((fields[1], fields[2], fields[3]))
        return
    uptime_s = number(words[1]) if len(words) > 2 else None
    if uptime_s is None:
        return
    if words[0] == "m" and len(words) == 7:
        raw.memory.append((uptime_s, words[2:]))
    elif words[0] == "f":
        for word in words[2:]:
            key, found, value = word.partition("=")
            if found:
                raw.by_key.setdefault(key, []).append((uptime_s, value))
    elif words[0] == "c":
        ticks = cpu_ticks(" ".join(words[2:]))
        if ticks is not None:
            raw.ticks.append((uptime_s, ticks))
    else:
        _sort_process_line(raw, uptime_s, words)


def _sort_process_line(raw: RawSamples, uptime_s: float, words: list[str]) -> None:
    if words[0] == "p" and len(words) == 5:
        counts = [count for word in words[2:] if (count := whole(word)) is not None and count >= 0]
        if len(counts) == 3:
            raw.process.append((uptime_s, ProcessTicks(*counts)))
    elif words[0] == "a" and len(words) == 4:
        lists = tuple(each for each in words[2].split(";") if cores_of(each))
        if lists:
            raw.placements.append(Placement(uptime_s, lists, "" if words[3] == "-" else words[3]))
    elif words[0] == "watchdog" and len(words) == 3:
        available = whole(words[2])
        if raw.watchdog is None and available is not None and available >= 0:
            raw.watchdog = (uptime_s, available)
