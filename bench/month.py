"""Thirty nights of a lab in minutes: a real regression is found, dated and bisected, and nothing else alarms.

Every night is a whole `farm nightly` on virtual phones, with real llama.cpp and cases of a second or two, and has a new
build of the runner. On the way one phone gets an update of its system, one is missing for two nights, one night is hot,
and from one night on the builds have lost their fast kernels: llama.cpp picks the code for this processor among what a
build brings along, and these bring slow ones only. Nobody tells farm any of it.

Asked (the project's own limits): the regression is confirmed within seven nights, its first bad night is told to within
a night, every search names its first bad build, and nothing else is ever told as confirmed worse.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from common import Finding, finding, lab, main, say

from device_agents.virtual.lab import Lab, LabInfo, LabPhone
from harness.errors import ErrorClass, Permanent
from harness.supply import debian_tools, models

BEGIN = date(2026, 10, 1)
RUNNER = "llama.cpp-x86_64"
MODEL, QUANT = "SmolLM2-135M", "Q4_0"
UPDATE, HOT, AWAY = 8, 12, (15, 16)
"""Nights (from 1) of the update, the heat, and the missing phone."""
STEP = 20
"""First night whose build is slow."""
FAST, SLOW = ("haswell",), ("ivybridge",)
"""Kernels of a good build and of a bad one."""
PHONES = 4

_MODEL = {"id": "smollm2-135m-q4_0", "family": MODEL, "quant": QUANT, "format": "gguf", "owner": "kernel team"}
_RUNNER = {"id": RUNNER, "runtime": "llama.cpp", "platform": "android", "abi": "x86_64"}
_INVENTORY: dict[str, object] = {
    "version": 1,
    "tiers": {"flagship": {"title": "Flagship", "targets": {"ms_per_token_max": 50, "peak_memory_mb_max": 1000}}},
    "workloads": {"bench": {"kind": "throughput", "prompt_tokens": 64, "gen_tokens": 24, "threads": 1}},
    "gates": {"mode": "record", "max_wait_s": 5},
    "nightly": {
        "suite": "night",
        "metrics": ["decode_tps", "prefill_tps", "peak_memory_mb"],
        "builds": [{"folder": "builds", "runner": RUNNER}],
        # Four phones share the processors of one machine: their own values wander with what the others do.
        "drift_limit_pct": 60,
    },
}


@dataclass(frozen=True, slots=True)
class Night:
    """What a night said. Args: number: from 1. code: exit code. told: its JSON. seconds: that it took."""

    number: int
    code: int
    told: Mapping[str, Any]
    seconds: float


def night_name(number: int) -> str:
    return (BEGIN + timedelta(days=number - 1)).isoformat()


def build_name(number: int) -> str:
    return f"b{9000 + number}"


def make_build(source: Path, folder: Path, number: int) -> None:
    """The build of a night: the tools, one set of kernels, and a name behind the program that makes it differ from all
    others and changes nothing that runs."""
    kernels = SLOW if number >= STEP else FAST
    target = folder / build_name(number)
    target.mkdir(parents=True)
    for file in source.iterdir():
        kind = file.name.removeprefix("libggml-cpu-").removesuffix(".so")
        if file.name.startswith("libggml-cpu-") and kind not in kernels:
            continue
        if file.name == "llama-bench" or ".so" in file.name:
            shutil.copy2(file, target / file.name)
    with (target / "llama-bench").open("ab") as program:
        program.write(build_name(number).encode())


class Month:
    """The folder of the lab, with an inventory of its own. Args: info: of the virtual phones."""

    def __init__(self, folder: Path, own: Lab, info: LabInfo, repeats: int) -> None:
        self.folder = folder
        self._lab = own
        self.phones = [phone.id for phone in info.phones]
        self._source = debian_tools.runner_folder()
        make_build(self._source, folder / "first", 0)
        (folder / "builds").mkdir()
        inventory = {**_INVENTORY, "devices": [_device(phone) for phone in info.phones]}
        inventory["lab"] = {"name": "a month", "adb": {"port": info.adb_port}}
        inventory["models"] = [{**_MODEL, "path": str(models.make(MODEL, QUANT).path)}]
        inventory["runners"] = [{**_RUNNER, "path": f"first/{build_name(0)}"}]
        inventory["suites"] = {"night": {"workloads": ["bench"], "repeats": repeats}}
        # JSON is YAML.
        (folder / "inventory.yaml").write_text(json.dumps(inventory, indent=1), encoding="utf-8")

    def night(self, number: int) -> Night:
        """What happens to the lab before a night, and then the night."""
        make_build(self._source, self.folder / "builds", number)
        _age(self.folder / "builds" / build_name(number), days_ago=60 - number)
        with self._happening(number):
            begun = time.monotonic()
            done = self.farm("nightly", "--night", night_name(number))
            return Night(number, done.returncode, json.loads(done.stdout), time.monotonic() - begun)

    def farm(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "harness", "--inventory", str(self.folder / "inventory.yaml"), "--json", "-q"]
        done = subprocess.run(
            [*command, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=3600, check=False
        )
        if not done.stdout.strip():
            raise Permanent(f"farm {' '.join(words)} said nothing: {done.stderr}", error_class=ErrorClass.INTERNAL)
        return done

    @contextmanager
    def _happening(self, number: int) -> Iterator[None]:
        if number == UPDATE:
            self._lab.update_os(self.phones[0], "UP1A.261101.001")
        if number in AWAY:
            self._lab.unplug(self.phones[-1])
        heat = {"ambient_c": 52.0, "temperature_c": 66.0} if number == HOT else None
        for phone in self.phones if heat else ():
            self._lab.set(phone, **heat)
        self._await_phones(len(self.phones) - (number in AWAY))
        try:
            yield
        finally:
            for phone in self.phones if heat else ():
                self._lab.set(phone, ambient_c=24.0, temperature_c=27.0)
            if number in AWAY:
                self._lab.replug(self.phones[-1])

    def _await_phones(self, count: int) -> None:
        """A phone that boots, or whose cable was touched, takes a moment until adb lists it."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            listed = json.loads(self.farm("devices").stdout)["devices"]
            if sum(one["state"] == "ready" for one in listed) == count:
                return
            threading.Event().wait(0.5)
        raise Permanent("the phones did not come back", error_class=ErrorClass.DEVICE_LOST)


def _device(phone: LabPhone) -> dict[str, object]:
    return {"id": phone.id, "platform": "android", "tier": "flagship", "match": {"serial": phone.serial}}


def _age(build: Path, days_ago: int) -> None:
    """Make a build as old as it would be, so that it counts as complete and builds have an order."""
    at = time.time() - days_ago * 86_400
    for path in (*build.iterdir(), build):
        os.utime(path, (at, at))


def told(nights: Sequence[Night]) -> list[Finding]:
    """What the month asks of its nights."""
    wrong, confirmed, suspect, found = [], [], [], []
    for night in nights:
        for change in night.told["changes"]:
            since = str(change["since"])
            ours = since >= night_name(STEP - 1)
            if change["regressed"] and not ours:
                wrong.append(f"{night.number}: {change['series']} since {since}")
            if change["state"] == "suspect" and ours:
                suspect.append(night.number)
            if change["regressed"] and ours:
                confirmed.append((night.number, since, change))
        found += [one for one in night.told["bisections"] if one["first_bad"]]
    first = confirmed[0][0] if confirmed else math.inf
    dated = [abs((date.fromisoformat(since) - date.fromisoformat(night_name(STEP))).days) for _, since, _ in confirmed]
    named = [one["first_bad"] == build_name(STEP) for one in found]
    silent = [night.number for night in nights if night.number < STEP and night.code == 5]
    at_last = [change for night in nights[-1:] for change in night.told["changes"] if change["regressed"]]
    return [
        finding("false confirmed regressions", [len(set(wrong))], "", limit=0, detail="; ".join(wrong[:3])),
        finding("nights before the step that exit with 5", [len(silent)], "", limit=0),
        finding(
            "nights until the regression is confirmed",
            [first - STEP + 1 if confirmed else 1e9],
            "",
            limit=7,
            detail=f"suspect in nights {sorted(set(suspect))}, confirmed from night {first} on, step in night {STEP}",
        ),
        finding("its first bad night is off by", [max(dated, default=1e9)], "nights", limit=1),
        finding(
            "searches that name the first bad build",
            [sum(named) / len(named) if named else 0.0],
            "",
            limit=1,
            at_least=True,
            detail=f"{len(named)} searches: {sorted({one['first_bad'] for one in found})}",
        ),
        finding("regressions that are open in the last night", [len(at_last)], "", limit=1, at_least=True),
        finding("seconds of a night", [night.seconds for night in nights], "s"),
    ]


def program(chosen: argparse.Namespace) -> list[Finding]:
    """The nights one after the other."""
    folder = chosen.keep or Path(tempfile.mkdtemp(prefix="farm-month-"))
    folder.mkdir(parents=True, exist_ok=True)
    nights: list[Night] = []
    try:
        with lab("month", PHONES) as (own, info):
            month = Month(folder, own, info, chosen.repeats)
            for number in range(1, chosen.nights + 1):
                night = month.night(number)
                nights.append(night)
                say(f"night {number}: exit {night.code}, {night.seconds:.0f} s: {night.told['headline']}")
    finally:
        if chosen.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    return told(nights)


def options(parser: argparse.ArgumentParser) -> None:
    """Options of this program."""
    parser.add_argument("--nights", type=int, default=30, help="how many  [default: 30]")
    parser.add_argument("--repeats", type=int, default=3, help="repetitions of a case in a night  [default: 3]")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep database and report in this new folder")


if __name__ == "__main__":
    main(program, sys.modules[__name__].__doc__ or "", options)
