"""Cases through `farm run` and the same command line by plain adb: what case_overhead.py, makespan.py and iphones.py
share."""

from __future__ import annotations

import json
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from adbutils import adb_path
from common import adb_process, say

from device_agents.virtual.iphone.lab import IphoneLabInfo
from device_agents.virtual.lab import LabPhone
from harness.errors import ErrorClass, Permanent
from harness.model import CaseStatus, Measured, StepRecord
from harness.store import MeasurementRow, Store
from harness.supply import debian_tools, models, virtual_ipa

TIERS = ("flagship", "mid-range", "budget")
LIMIT_S = 1800.0
FIRST = {"kind": "throughput", "prompt_tokens": 64, "gen_tokens": 64, "threads": 1}
"""A short case: it deploys the files, and tells how fast the machine is."""

MOST_TOKENS = 4096
"""llama-bench sizes its context by the tokens; half of what the model was made for keeps memory small."""


@dataclass(frozen=True, slots=True)
class Ran:
    """A measurement of `farm run`.

    Args:
        case_s: from its first step to the end of its last one, which stores it. runner_s: of the process on the phone.
        began, ended: Unix seconds of those ends. device: id of the phone.
        command: the plain commands that repeat it, as `farm show --command` prints them.
        steps: seconds of each step.
    """

    device: str
    began: float
    ended: float
    runner_s: float
    command: str
    steps: Mapping[str, float]
    row: MeasurementRow

    @property
    def case_s(self) -> float:
        return self.ended - self.began


Watch = Callable[[subprocess.Popen[bytes]], None]
"""Looks at a process while it runs; returns when it has ended."""

Entry = Mapping[str, object]
"""An entry of an inventory."""


class Bench:
    """An inventory of its own for some virtual phones, in a folder that goes away.

    Args:
        devices, runner: entries of the inventory. lab: its section of that name.
    """

    def __init__(self, folder: Path, devices: Sequence[Entry], runner: Entry, lab: Entry) -> None:
        self._folder = folder
        self._devices = list(devices)
        self._runner = dict(runner)
        self._lab = dict(lab)
        self._model = models.make("SmolLM2-135M", "Q4_K_M").path
        self._db = f"sqlite:///{folder / 'farm.db'}"

    def run(
        self, workload: Mapping[str, object], repeats: int = 1, watch: Watch | None = None
    ) -> tuple[float, tuple[Ran, ...]]:
        """Seconds of the whole command `farm run`, and what it measured.

        Args:
            watch: called with the running command.

        Raises:
            Permanent: a case was not measured.
        """
        inventory = self._folder / "inventory.yaml"
        # JSON is YAML.
        inventory.write_text(json.dumps(self._inventory(workload)), encoding="utf-8")
        words = [sys.executable, "-m", "harness", "--inventory", str(inventory), "--db", self._db, "-q", "run"]
        words += ["--suite", "bench", "--repeats", str(repeats), "--report", str(self._folder / "report")]
        begun = time.perf_counter()
        with (self._folder / "words").open("w+b") as said:
            command = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said)
            try:
                if watch is not None:
                    watch(command)
                code = command.wait(LIMIT_S)
            finally:
                command.kill()
                command.wait()
            taken = time.perf_counter() - begun
            if code != 0:
                said.seek(0)
                last = said.read().decode("utf-8", "replace").strip()[-500:]
                raise Permanent(f"farm run ended with {code}: {last}", error_class=ErrorClass.RUNNER_FAILED)
        with Store.open(self._db) as store:
            newest = max(store.runs(), key=lambda run: run.started_at)
            return taken, tuple(_ran(store, row) for row in store.measurements(newest.id))

    def sized(self, seconds: float) -> dict[str, object]:
        """A workload that should take so long; deploys on the way.

        A prompt of 512 tokens, as in the suites; llama-bench reads it twice, for it warms up. The rest of the time is
        for generated tokens.
        """
        _, rans = self.run(FIRST)
        prefill = statistics.median(_value(ran, "prefill_tps") for ran in rans)
        decode = statistics.median(_value(ran, "decode_tps") for ran in rans)
        # A long context slows decode; 0.7 was seen between a few and some thousand tokens.
        gen = int(max(32, (seconds - 2 * 512 / prefill) * decode * 0.7))
        chosen = {**FIRST, "prompt_tokens": 512, "gen_tokens": min(gen, MOST_TOKENS)}
        say(f"workload: {chosen['prompt_tokens']} prompt tokens, {chosen['gen_tokens']} generated ones")
        return chosen

    def _inventory(self, workload: Mapping[str, object]) -> dict[str, object]:
        target = {"ms_per_token_max": 1000, "peak_memory_mb_max": 1000, "quality_retention_min": 0.5}
        return {
            "version": 1,
            "lab": {"name": "bench", **self._lab},
            "tiers": {tier: {"title": tier, "targets": target} for tier in TIERS},
            "devices": self._devices,
            "models": [
                {
                    "id": "model",
                    "family": "SmolLM2-135M",
                    "quant": "Q4_K_M",
                    "format": "gguf",
                    "path": str(self._model),
                }
            ],
            "runners": [self._runner],
            "workloads": {"bench": dict(workload)},
            "suites": {"bench": {"workloads": ["bench"], "repeats": 1}},
            "gates": {"mode": "off"},
        }


@contextmanager
def bench(phones: Sequence[LabPhone]) -> Iterator[Bench]:
    """A `Bench` of Android phones in a folder of its own."""
    devices = [
        {"id": phone.id, "platform": "android", "tier": phone.tier, "match": {"serial": phone.adb_serial}}
        for phone in phones
    ]
    runner = {
        "id": "runner",
        "runtime": "llama.cpp",
        "platform": "android",
        "abi": debian_tools.machine().abi,
        "path": str(debian_tools.runner_folder()),
    }
    with tempfile.TemporaryDirectory(prefix="farm-bench-") as folder:
        yield Bench(Path(folder), devices, runner, {})


@contextmanager
def bench_iphones(info: IphoneLabInfo) -> Iterator[Bench]:
    """A `Bench` of iPhones in a folder of its own."""
    app = virtual_ipa.build(say=say)
    devices = [
        {"id": phone.id, "platform": "ios", "tier": TIERS[0], "match": {"serial": phone.udid}} for phone in info.phones
    ]
    runner = {
        "id": app.id,
        "runtime": app.runtime,
        "platform": "ios",
        "abi": app.abi,
        "path": str(app.file),
    }
    with tempfile.TemporaryDirectory(prefix="farm-bench-") as folder:
        yield Bench(Path(folder), devices, runner, {"usbmux": info.usbmux})


def plain_words(command: str) -> list[str]:
    """The words of a command that repeats a case by hand, with farm's adb in place of the one on PATH."""
    words = shlex.split(command)
    return [adb_path(), *words[1:]]


def plain(commands: Sequence[str]) -> float:
    """Seconds of all these commands at once, each in one plain `adb shell`."""
    begun = time.perf_counter()
    running = [adb_process(plain_words(command)) for command in commands]
    try:
        codes = [process.wait(LIMIT_S) for process in running]
    finally:
        for process in running:
            process.kill()
    if any(codes):
        raise Permanent(f"plain adb shell ended with {codes}", error_class=ErrorClass.RUNNER_FAILED)
    return time.perf_counter() - begun


def _ran(store: Store, row: MeasurementRow) -> Ran:
    if row.status is not CaseStatus.MEASURED:
        raise Permanent(f"{row.planned.key}: {row.error or row.status}", error_class=ErrorClass.RUNNER_FAILED)
    steps = store.steps(row.planned.key)
    _, commands = store.output(row.planned.key)
    # The last attempt only: one that was tried again took no time of this one.
    steps = tuple(step for step in steps if step.attempt == row.attempt)
    stamps = row.provenance["stamps"]
    return Ran(
        device=row.planned.device_id,
        began=min(step.started_at for step in steps),
        ended=max(step.started_at + step.duration_s for step in steps),
        runner_s=stamps["ended"] - stamps["started"],
        command=commands[0],
        steps=_durations(steps),
        row=row,
    )


def _durations(steps: Sequence[StepRecord]) -> dict[str, float]:
    return {step.step.value: step.duration_s for step in steps}


def _value(ran: Ran, metric: str) -> float:
    reading = ran.row.metrics[metric]
    if not isinstance(reading, Measured):
        raise Permanent(f"{metric} was not measured: {reading.reason}", error_class=ErrorClass.RUNNER_FAILED)
    return reading.value
