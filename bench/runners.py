"""The runner of our own against the stock tools: the same model, the same work, one process after the other.

`farm-runner` with llama.cpp's library and llama.cpp's own programs, all from one package, on one virtual phone. Decode
and prefill rate against llama-bench, time to first token against llama-server. A shared machine changes its speed by
half from one second to another: so many processes of about a second alternate, each is compared with its neighbour, and
the value is the median of these ratios with the interval of that median. The runner's own cost per token is what passes
between a token and the next besides the library's work and choosing the token over the vocabulary.

Asked (the project's own limits): rates and time within 2 %, own cost at most 20 µs per token.
"""

from __future__ import annotations

import argparse
import json
import random
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from adbutils import adb_path
from common import Finding, adb, finding, lab, main, say

from android_runner.prompt import token_ids
from device_agents.virtual.lab import LabPhone
from harness.errors import ErrorClass, Permanent
from harness.supply import debian_tools, models, native_build

SHARE = 0.02
OWN_COST_US = 20.0
LIMIT_S = 600.0
PORT = 21_987
VOCABULARY = 49_152
RUNTIME = "llama.cpp"
EVENTS = "/data/local/tmp/bench/events.jsonl"
RESAMPLES = 2000

Figures = dict[str, float]
"""Of one process, by name."""


def pushed(serial: str, what: Path) -> str:
    """Where a file or folder of this machine lies on the phone now."""
    to = f"/data/local/tmp/bench/{what.name}"
    adb(serial, "shell", "mkdir -p /data/local/tmp/bench")
    adb(serial, "push", str(what), to)
    return to


class Rivals:
    """Each way to do the same work with one model on one phone."""

    def __init__(self, phone: LabPhone, model: Path, folder: Path, chosen: argparse.Namespace) -> None:
        self._serial = phone.adb_serial
        self._folder = folder
        self._chosen = chosen
        self._model = pushed(self._serial, model)
        self._own = pushed(self._serial, native_build.build("host", RUNTIME, say=say).folder)
        self._stock = pushed(self._serial, debian_tools.runner_folder())
        self.own_cost_us: list[float] = []

    def _shell(self, program: str, *words: str) -> list[str]:
        """The words of `adb shell` for a program of one of the folders."""
        home = program.rpartition("/")[0]
        line = shlex.join([program, *words])
        return [adb_path(), "-s", self._serial, "shell", f"cd {home} && LD_LIBRARY_PATH={home} {line}"]

    def _call(self, program: str, *words: str) -> str:
        done = subprocess.run(
            self._shell(program, *words),
            check=False,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode != 0:
            said = (done.stderr + done.stdout).strip()[-300:]
            raise Permanent(f"{program}: {said}", error_class=ErrorClass.RUNNER_FAILED)
        return done.stdout

    def own(self, workload: Mapping[str, object]) -> list[dict[str, Any]]:
        """Events of one run of our runner."""
        request = {
            "contract": "1.0",
            "model": {"path": self._model},
            "workload": {"prompt": token_ids(self._chosen.prompt, VOCABULARY), **workload},
            "threads": self._chosen.threads,
            # A file, as in a job of farm: a line through adb costs more than a token of a small model.
            "output": EVENTS,
        }
        path = self._folder / "request.json"
        path.write_text(json.dumps(request), encoding="utf-8")
        adb(self._serial, "shell", f"rm -f {EVENTS}")
        self._call(f"{self._own}/farm-runner", pushed(self._serial, path))
        return [json.loads(line) for line in adb(self._serial, "shell", f"cat {EVENTS}").stdout.splitlines()]

    def own_rates(self) -> Figures:
        """Prefill and decode in tokens per second."""
        gen = self._chosen.gen
        events = self.own({"kind": "throughput", "gen_tokens": gen, "repeats": self._chosen.repeats})
        prefill: list[float] = []
        decode: list[float] = []
        kind, begun = "", 0
        tokens: list[int] = []
        for event in events:
            if event["event"] == "turn":
                kind, tokens = event["what"], []
            elif event["event"] == "prefill_begin":
                begun = event["t"]
            elif event["event"] == "prefill_end" and kind == "prefill":
                prefill.append(event["tokens"] / (event["t"] - begun) * 1e9)
            elif event["event"] == "token":
                tokens.append(event["t"])
            elif event["event"] == "own_times" and kind == "decode":
                # From the first token's own decode on, as llama-bench counts.
                decode.append(gen / (tokens[-1] - begun) * 1e9)
                besides = tokens[-1] - begun - event["taking_ns"] - event["choosing_ns"]
                self.own_cost_us.append(besides / gen / 1e3)
        return {"prefill": statistics.median(prefill), "decode": statistics.median(decode)}

    def bench_rates(self) -> Figures:
        """The same by llama-bench."""
        words = ["-m", self._model, "-o", "jsonl"]
        words += ["-p", str(self._chosen.prompt), "-n", str(self._chosen.gen), "-r", str(self._chosen.repeats)]
        words += ["-t", str(self._chosen.threads)]
        rates = {}
        for line in self._call(f"{self._stock}/llama-bench", *words).splitlines():
            if line.startswith("{"):
                row = json.loads(line)
                name, count = ("decode", row["n_gen"]) if row["n_gen"] else ("prefill", row["n_prompt"])
                rates[name] = count / statistics.median(row["samples_ns"]) * 1e9
        return rates

    def own_ttft(self) -> Figures:
        """Milliseconds from a request to its first token."""
        found: list[float] = []
        begun = 0
        for event in self.own({"kind": "sustained", "gen_tokens": 2, "seconds": self._chosen.seconds}):
            if event["event"] == "prefill_begin":
                begun = event["t"]
            elif event["event"] == "token" and event["index"] == 0:
                found.append((event["t"] - begun) / 1e6)
        # The first request of a process touches memory that the others find there.
        return {"ttft": statistics.median(found[1:] or found)}

    def server_ttft(self) -> Figures:
        """The same by llama-server's own timings."""
        words = ["-m", self._model, "--host", "127.0.0.1", "--port", str(PORT), "-np", "1"]
        words += ["-t", str(self._chosen.threads), "-c", str(self._chosen.prompt + 256)]
        server = subprocess.Popen(
            self._shell(f"{self._stock}/llama-server", *words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        adb(self._serial, "forward", f"tcp:{PORT}", f"tcp:{PORT}")
        try:
            self._await(server)
            until = time.monotonic() + self._chosen.seconds
            self._request()
            found = [self._request()]
            while time.monotonic() < until:
                found.append(self._request())
            return {"ttft": statistics.median(found)}
        finally:
            adb(self._serial, "shell", "pkill -KILL llama-server")
            server.wait()

    def _await(self, server: subprocess.Popen[bytes]) -> None:
        until = time.monotonic() + LIMIT_S
        while time.monotonic() < until and server.poll() is None:
            with suppress(urllib.error.URLError, ConnectionError):
                if urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health", timeout=5).status == 200:
                    return
            time.sleep(0.05)
        raise Permanent("llama-server did not get ready", error_class=ErrorClass.RUNNER_FAILED)

    def _request(self) -> float:
        body = {
            "prompt": token_ids(self._chosen.prompt, VOCABULARY),
            "n_predict": 2,
            "stream": True,
            "timings_per_token": True,
            "cache_prompt": False,
            "ignore_eos": True,
            "temperature": 0,
        }
        request = urllib.request.Request(
            f"http://127.0.0.1:{PORT}/completion", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:
            for line in answer:
                if line.startswith(b"data:") and b'"timings"' in line:
                    timings = json.loads(line[5:])["timings"]
                    return float(timings["prompt_ms"]) + float(timings["predicted_ms"])
        raise Permanent("llama-server gave no timings", error_class=ErrorClass.OUTPUT_GARBAGE)


def neighbours(rounds: int, one: Callable[[], Figures], other: Callable[[], Figures]) -> list[tuple[Figures, Figures]]:
    """What both gave, round by round: A B, then B A."""
    found = []
    for number in range(rounds):
        if number % 2:
            second = other()
            found.append((one(), second))
        else:
            found.append((one(), other()))
        own, stock = found[-1]
        told = (f"{name} {own[name]:.4g} / {stock[name]:.4g}" for name in own)
        say(f"  round {number + 1} of {rounds}: {', '.join(told)}")
    return found


def compared(what: str, name: str, rounds: Sequence[tuple[Figures, Figures]]) -> list[Finding]:
    """Median of the ratios of neighbours with the interval (95 %) of that median, and its distance from 1."""
    ratios = [own[name] / stock[name] for own, stock in rounds]
    drawing = random.Random(1)
    drawn = sorted(statistics.median(drawing.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES))
    value = statistics.median(ratios)
    return [
        Finding(what, value, "×", drawn[int(RESAMPLES * 0.025)], drawn[int(RESAMPLES * 0.975)]),
        finding("  distance from 1", [abs(value - 1)], "", limit=SHARE),
    ]


def program(chosen: argparse.Namespace) -> list[Finding]:
    """All comparisons."""
    model = models.make(chosen.family, chosen.quant).path
    with lab("runners", 1) as (_, info), tempfile.TemporaryDirectory(prefix="farm-runners-") as folder:
        rivals = Rivals(info.phones[0], model, Path(folder), chosen)
        rates = neighbours(chosen.rounds, rivals.own_rates, rivals.bench_rates)
        ttft = neighbours(chosen.rounds, rivals.own_ttft, rivals.server_ttft)
    return [
        *compared("decode rate: own / llama-bench", "decode", rates),
        *compared("prefill rate: own / llama-bench", "prefill", rates),
        *compared("time to first token: own / llama-server", "ttft", ttft),
        finding("own cost per token", rivals.own_cost_us, "µs", limit=OWN_COST_US),
    ]


def options(parser: argparse.ArgumentParser) -> None:
    """Options of this program."""
    parser.add_argument("--family", default="SmolLM2-135M", help="[default: SmolLM2-135M]")
    parser.add_argument("--quant", default="Q4_K_M", help="[default: Q4_K_M]")
    parser.add_argument("--prompt", type=int, default=48, help="prompt tokens  [default: 48]")
    parser.add_argument("--gen", type=int, default=16, help="generated tokens  [default: 16]")
    parser.add_argument("--threads", type=int, default=1, help="[default: 1]")
    parser.add_argument("--repeats", type=int, default=1, help="repetitions in one process  [default: 1]")
    parser.add_argument("--seconds", type=float, default=0.6, help="of requests in one process  [default: 0.6]")
    parser.add_argument("--rounds", type=int, default=80, help="rounds of each comparison  [default: 80]")


if __name__ == "__main__":
    main(program, sys.modules[__name__].__doc__ or "", options)
