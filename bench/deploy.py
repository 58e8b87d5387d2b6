"""How fast farm deploys a model, against `adb push` of the same file.

A file of 300 MB that does not compress, as quantized weights do not, goes to a virtual phone over a cable that the lab
holds to 40 MB/s (USB 2) and to 300 MB/s (USB 3), and over one that is not held. farm's way is the one of every run:
`Files.ensure` of the phone's agent, which resumes, checks the hash on the phone and renames. `adb push` does none of
that; it runs with its own defaults and with -Z (no compression). The two alternate; each value is the median over the
rounds of a ratio of two neighbours.

The phone's own hash rate is told, too: where the machine hashes slower than the cable delivers (a CPU without SHA
instructions, or a busy one), no check on the phone can keep up with it, whatever overlaps.

Asked (the project's own limits): over 40 MB/s at least 0.95 of the speed of `adb push`, over 300 MB/s at least 0.85; a
file that is there already: no byte, at most 1 s.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import sys
import tempfile
from pathlib import Path

from common import Finding, adb, alternate, finding, lab, main, ratios, say, timed

from device_agents.android.agent import ROOT, AndroidAgent
from device_agents.android.discovery import discover
from device_agents.virtual.lab import LabPhone
from harness.errors import ErrorClass, Permanent
from harness.model import MEGABYTE, AdbEndpoint, Artifact, ArtifactFile

LIMITS = {40.0: 0.95, 300.0: 0.85}
"""MB/s of the cable → least share of the speed of `adb push`."""

UNCHANGED_S = 1.0
LIMIT_S = 600.0
STORE = f"{ROOT}/store"
PLAIN = "/data/local/tmp/plain.gguf"


def make_file(path: Path, size: int) -> Artifact:
    """`size` bytes that do not compress."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for first in range(0, size, MEGABYTE):
            some = os.urandom(min(MEGABYTE, size - first))
            digest.update(some)
            file.write(some)
    file_sha256 = digest.hexdigest()
    return Artifact("model", file_sha256, (ArtifactFile(path.name, str(path), size, file_sha256),))


def open_agent(phone: LabPhone) -> AndroidAgent:
    """The agent that a run would use for this phone."""
    endpoint = AdbEndpoint()
    for attached in discover(endpoint):
        if attached.serial == phone.adb_serial:
            return AndroidAgent(attached, endpoint)
    raise Permanent(f"{phone.id} is not attached", error_class=ErrorClass.DEVICE_LOST)


class Rivals:
    """The ways to bring one file to one phone."""

    def __init__(self, phone: LabPhone, artifact: Artifact) -> None:
        self._serial = phone.adb_serial
        self._artifact = artifact
        self._agent = open_agent(phone)

    def push(self, *options: str) -> float:
        """Seconds of `adb push`."""
        source = self._artifact.files[0].path
        taken = timed(lambda: adb(self._serial, "push", *options, source, PLAIN))
        adb(self._serial, "shell", f"rm {PLAIN}")
        return taken

    def deploy(self) -> float:
        """Seconds of farm's deploy of a file that the phone does not have."""
        taken = timed(lambda: self._ensure(pushed=self._artifact.size))
        self.forget()
        return taken

    def unchanged(self) -> float:
        """Seconds of farm's deploy of a file that the phone has."""
        return timed(lambda: self._ensure(pushed=0))

    def hash_only(self) -> float:
        """Seconds of `sha256sum` of the file in the phone's store, by plain adb."""
        return timed(lambda: adb(self._serial, "shell", f"sha256sum {STORE}/{self._artifact.sha256}/*"))

    def keep(self) -> None:
        """Have the file in the phone's store."""
        self._ensure(pushed=self._artifact.size)

    def forget(self) -> None:
        """Remove the file from the phone's store."""
        adb(self._serial, "shell", f"rm -rf {STORE}/{self._artifact.sha256}")

    def _ensure(self, *, pushed: int) -> None:
        done = self._agent.files.ensure(self._artifact, keep=frozenset(), limit_s=LIMIT_S)
        if done.pushed_bytes != pushed:
            raise Permanent(
                f"{done.pushed_bytes} bytes were pushed in place of {pushed}", error_class=ErrorClass.PUSH_FAILED
            )


def compare(rivals: Rivals, rate: float | None, rounds: int, size: int) -> list[Finding]:
    """farm's speed as a share of adb's, over the cable as it is now."""
    name = "no limit" if rate is None else f"{rate:g} MB/s"
    say(f"cable: {name}")
    taken = alternate(
        rounds,
        {"adb push": rivals.push, "farm": rivals.deploy, "adb push -Z": lambda: rivals.push("-Z")},
    )
    speeds = {way: size / MEGABYTE / statistics.median(seconds) for way, seconds in taken.items()}
    detail = ", ".join(f"{way} {speed:.1f} MB/s" for way, speed in speeds.items())
    return [
        finding(
            f"{name}: speed of deploy / adb push",
            ratios(taken["adb push"], taken["farm"]),
            limit=None if rate is None else LIMITS[rate],
            at_least=True,
            detail=detail,
        ),
        finding(f"{name}: speed of deploy / adb push -Z", ratios(taken["adb push -Z"], taken["farm"])),
    ]


def program(chosen: argparse.Namespace) -> list[Finding]:
    """Deploy and push over each cable."""
    size = int(chosen.mb * MEGABYTE)
    findings: list[Finding] = []
    with tempfile.TemporaryDirectory(prefix="farm-bench-") as folder, lab("deploy", 1) as (own, info):
        artifact = make_file(Path(folder) / "model.gguf", size)
        phone = info.phones[0]
        rivals = Rivals(phone, artifact)
        rivals.push()
        for rate in (*LIMITS, None):
            if chosen.rate and rate not in chosen.rate:
                continue
            own.link_rate(phone.id, rate * MEGABYTE if rate else None)
            findings += compare(rivals, rate, chosen.rounds, size)
        own.link_rate(phone.id, None)
        rivals.keep()
        again = [rivals.unchanged() for _ in range(chosen.rounds)]
        findings.append(finding("unchanged, 0 bytes pushed: time", again, "s", limit=UNCHANGED_S))
        rates = [size / MEGABYTE / rivals.hash_only() for _ in range(chosen.rounds)]
        findings.append(finding("sha256sum alone on the phone", rates, "MB/s"))
    return findings


def options(parser: argparse.ArgumentParser) -> None:
    """Options of this program."""
    parser.add_argument("--mb", type=float, default=300.0, help="size of the file in MB (10^6 bytes)  [default: 300]")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each comparison  [default: 5]")
    parser.add_argument("--rate", type=float, action="append", help="only this cable, in MB/s; may be repeated")


if __name__ == "__main__":
    main(program, sys.modules[__name__].__doc__ or "", options)
