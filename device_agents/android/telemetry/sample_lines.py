"""The lines of the samples file that sampler.sh leaves on the phone, sorted by kind; the script tells the format."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from device_agents.android.telemetry.proc import CpuTicks, cpu_ticks
from device_agents.android.telemetry.text import number

MAX_BYTES = 128 * 1024 * 1024
"""A day of sampling at the default periods is under 100 MB."""

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


@dataclass(frozen=True, slots=True)
class Answer:
    """One complete answer of a service; `uptime_s` is the middle between question and answer."""

    service: str
    uptime_s: float
    status: str
    text: bytes


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
