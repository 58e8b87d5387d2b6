"""The command `farm` as an operator runs it, in a folder of its own, with runners that do what a test wants."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from harness.model import METRICS
from harness.store import Store
from tests.lab.conftest import RunningLab
from tests.unit.artifacts import files

REPOSITORY = Path(__file__).resolve().parents[2]

SCRATCH = "/data/local/tmp/e2e"
"""Folder of the tests on a phone, beside farm's own."""

ANSWER = (
    """echo '{"n_prompt": 16, "n_gen": 0, "samples_ns": [160000000]}'\n"""
    """echo '{"n_prompt": 0, "n_gen": 8, "samples_ns": [160000000]}'\n"""
)
"""What llama-bench says of 16 tokens of prefill at 100 tok/s and 8 of decode at 50 tok/s, reduced to what is read."""

TIERS: Mapping[str, Any] = {
    "flagship": {"title": "Flagship", "targets": {"ms_per_token_max": 50, "peak_memory_mb_max": 1000}},
    "mid-range": {"title": "Mid-range", "targets": {"ms_per_token_max": 100, "peak_memory_mb_max": 500}},
    "budget": {"title": "Budget", "targets": {"ms_per_token_max": 200, "peak_memory_mb_max": 300}},
}
BENCH: Mapping[str, Any] = {"kind": "throughput", "prompt_tokens": 16, "gen_tokens": 8, "threads": 1}
CHAT: Mapping[str, Any] = {"kind": "stream", "prompt_tokens": 16, "gen_tokens": 8, "context": 256, "threads": 1}


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Standard output, which must be one JSON document and nothing else."""
        return json.loads(self.out)

    def expect(self, code: int, *parts: str) -> Done:
        """Assert the exit code, these texts on standard error, and that no traceback was shown."""
        assert self.code == code, f"exit {self.code}, expected {code}\n{self.out}\n{self.err}"
        assert "Traceback" not in self.err, self.err
        for part in parts:
            assert part in self.err, f"{part!r} is not in:\n{self.err}"
        return self


class Going:
    """A command at work; its standard error is read as it comes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._out: list[str] = []
        self._news = threading.Condition()
        self._ended = False
        self._threads = [threading.Thread(target=body, daemon=True) for body in (self._read_err, self._read_out)]
        for thread in self._threads:
            thread.start()

    def _read_err(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def _read_out(self) -> None:
        assert self.process.stdout is not None
        self._out.append(self.process.stdout.read())

    def until(self, pattern: str, *, limit_s: float = 60.0) -> str:
        """Wait for a line of standard error in which `pattern` is found; returns it."""
        found = re.compile(pattern)
        deadline = time.monotonic() + limit_s
        with self._news:
            while True:
                for line in self.lines:
                    if found.search(line):
                        return line
                left = deadline - time.monotonic()
                assert left > 0 and not self._ended, f"no line with {pattern!r} in:\n" + "\n".join(self.lines)
                self._news.wait(left)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        self.process.send_signal(number)

    def end(self, *, limit_s: float = 120.0) -> Done:
        """Wait for the end of the command."""
        code = self.process.wait(limit_s)
        for thread in self._threads:
            thread.join(limit_s)
        return Done(code, "".join(self._out), "\n".join(self.lines))


@dataclass
class Farm:
    """A folder with an inventory, and `farm` called in it."""

    folder: Path
    env: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    inventory: dict[str, Any] = field(default_factory=dict)
    program: list[str] = field(default_factory=lambda: ["-m", "harness"])
    going: list[Going] = field(default_factory=list)

    def __post_init__(self) -> None:
        path = self.env.get("PYTHONPATH", "")
        self.env = {
            **self.env,
            "PYTHONPATH": os.pathsep.join(filter(None, (str(REPOSITORY), path))),
            "COLUMNS": "200",
            "PYTHONUNBUFFERED": "1",
        }
        for name in ("FARM_INVENTORY", "FARM_DB", "FARM_OWNER"):
            self.env.pop(name, None)

    def write(self, **changes: Any) -> None:
        """Write inventory.yaml with these keys replaced."""
        self.inventory = {**self.inventory, **changes}
        text = yaml.safe_dump(self.inventory, sort_keys=False, allow_unicode=True)
        (self.folder / "inventory.yaml").write_text(text, encoding="utf-8")

    def command(self, argv: Sequence[str]) -> list[str]:
        return [sys.executable, *self.program, *argv]

    def environment(self) -> dict[str, str]:
        return self.env

    def start(self, *argv: str, env: Mapping[str, str] | None = None) -> Going:
        started = subprocess.Popen(
            self.command(argv),
            cwd=self.folder,
            env={**self.environment(), **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.going.append(Going(started))
        return self.going[-1]

    def end_all(self) -> None:
        """Kill what a failed test left behind."""
        for going in self.going:
            if going.process.poll() is None:
                going.kill()
                going.end()

    def __call__(self, *argv: str, env: Mapping[str, str] | None = None, limit_s: float = 180.0) -> Done:
        going = self.start(*argv, env=env)
        try:
            return going.end(limit_s=limit_s)
        except subprocess.TimeoutExpired:
            going.kill()
            raise

    def rows(self, *argv: str) -> list[dict[str, Any]]:
        """The rows of `farm export`, by start."""
        done = self("export", "--format", "jsonl", *argv).expect(0)
        return [json.loads(line) for line in done.out.splitlines()]

    def store(self) -> Store:
        return Store.open(f"sqlite:///{self.folder / '.farm' / 'farm.db'}")

    def model(self, name: str = "model.gguf", *, padding: int = 0) -> dict[str, Any]:
        """A valid model file of some KB and its entry; `padding` adds bytes of weights."""
        (self.folder / name).write_bytes(model_bytes(padding))
        return {"id": "tiny", "family": "Tiny", "quant": "F16", "format": "gguf", "path": name}

    def runner(self, body: str, *, id: str = "scripted", platform: str = "android", abi: str = "x86_64") -> Any:
        """A llama-bench that is a shell script, and its entry."""
        folder = self.folder / "runners" / re.sub(r"[^a-z0-9-]", "_", id)
        folder.mkdir(parents=True, exist_ok=True)
        program = folder / "llama-bench"
        program.write_text("#!/bin/sh\n" + body, encoding="utf-8")
        program.chmod(0o755)
        return {
            "id": id,
            "runtime": "llama.cpp",
            "platform": platform,
            "abi": abi,
            "path": str(folder.relative_to(self.folder)),
        }


def model_bytes(padding: int = 0) -> bytes:
    tensors = [("token_embd.weight", (64, 100)), ("output_norm.weight", (64,))]
    if padding:
        tensors.append(("blk.0.ffn_up.weight", (256, -(-padding // 512))))
    return files.gguf(tensors=tensors)


def base_inventory(devices: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Tiers, workloads and suites of these tests; models and runners are to be filled in."""
    return {
        "version": 1,
        "lab": {"name": "test lab"},
        "tiers": dict(TIERS),
        "devices": [dict(device) for device in devices],
        "models": [],
        "runners": [],
        "workloads": {"bench": dict(BENCH), "chat": dict(CHAT)},
        "suites": {"standard": {"workloads": ["bench"], "repeats": 1}},
        "gates": {"mode": "off"},
    }


def phones_of(lab: RunningLab, *ids: str) -> list[dict[str, Any]]:
    """Entries of these phones of a lab, or of all."""
    return [
        {"id": phone.id, "platform": "android", "tier": phone.tier, "match": {"serial": phone.serial}}
        for phone in lab.info.phones
        if not ids or phone.id in ids
    ]


HOST = {"id": "this-host", "platform": "local", "tier": "flagship"}


def every_metric_explains_itself(row: Mapping[str, Any]) -> None:
    """Each metric is a value with unit and source, or unavailable with a reason; 0 never stands for "not measured"."""
    assert set(row["metrics"]) == set(METRICS)
    may_be_zero = {"thermal_status_max", "other_load_pct", "battery_level_start_pct", "battery_level_end_pct"}
    for name, reading in row["metrics"].items():
        if "unavailable" in reading:
            assert set(reading) == {"unavailable"} and reading["unavailable"].strip(), (name, reading)
        else:
            assert set(reading) == {"value", "unit", "source"} and reading["source"], (name, reading)
            assert isinstance(reading["value"], int | float), (name, reading)
            assert reading["value"] > 0 or name in may_be_zero, (name, reading)


def left_on(lab: RunningLab, phone: str) -> str:
    """Processes and job folders of farm on a phone; "" when there is none."""
    return lab.says(
        phone,
        "grep -l -a FARM_JOB= /proc/[0-9]*/environ 2> /dev/null; ls /data/local/tmp/farm/jobs 2> /dev/null; true",
    )


def gate(lab: RunningLab, phone: str, name: str, *, open_: bool) -> None:
    """Let runners made by `gated` of that name end, or hold them."""
    path = f"{SCRATCH}/{name}"
    lab.says(phone, f"mkdir -p {SCRATCH}; " + (f": > {path}" if open_ else f"rm -f {path}"))


def gated(name: str) -> str:
    """Body of a runner that answers as soon as the gate is open."""
    return f"echo started >&2\nwhile ! [ -e {SCRATCH}/{name} ]; do sleep 0.05; done\n{ANSWER}"
