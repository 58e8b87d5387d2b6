"""What the sampler takes from the runner that it watches: tok/s with it over tok/s without it.

One llama-bench case on a virtual phone, started as farm starts it (a detached job on the phone), in turn with the
sampler at 10 Hz and without it. The sampler reads the memory of the runner and every cheap channel of the phone at
that rate (clocks and caps, thermal zones, battery, CPU time, free memory; at least 20 of them, or nothing is measured),
and the services every 5 s, as in a run. The value is the median over the rounds of the ratio of two neighbours.

On a machine that others use, two runs of the same command differ by more than the limit: look at the spread.

Asked (the project's own limit): at least 0.99.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from cases import FIRST, LIMIT_S, MOST_TOKENS, bench
from common import Finding, alternate, finding, lab, main, ratios
from deploy import open_agent

from device_agents.android.agent import AndroidAgent
from device_agents.android.telemetry import parse_samples
from device_agents.base import JobSpec, Sampling
from harness.errors import ErrorClass, Permanent
from harness.model import Unavailable

LIMIT = 0.99
CHANNELS = 20
SAMPLING = Sampling(memory_s=0.1, files_s=0.1, services_s=5.0, memory_calm_s=0.1)
_CALL_S = 30.0


def spec_of(command: str) -> JobSpec:
    """The job behind a command that `farm show --command` prints: `adb -s SERIAL shell 'cd FOLDER && NAME=VALUE …'`."""
    words = shlex.split(shlex.split(command)[-1])
    if words[0] != "cd" or words[2] != "&&":
        raise Permanent(f"not a command of farm: {command}", error_class=ErrorClass.INTERNAL)
    rest = words[3:]
    env: dict[str, str] = {}
    while rest and "=" in rest[0] and not rest[0].startswith("/"):
        name, _, value = rest.pop(0).partition("=")
        env[name] = value
    return JobSpec("observer", tuple(rest), env, words[1], LIMIT_S)


def decode_s(stdout: str) -> float:
    """Seconds in which llama-bench generated its tokens."""
    for line in stdout.splitlines():
        if line.startswith("{"):
            row = json.loads(line)
            if row.get("n_gen"):
                return float(statistics.fmean(row["samples_ns"]) / 1e9)
    raise Permanent("llama-bench gave no decode time", error_class=ErrorClass.OUTPUT_GARBAGE)


class Watched:
    """One case on one phone, with and without the sampler."""

    def __init__(self, agent: AndroidAgent, spec: JobSpec) -> None:
        self._agent = agent
        self._spec = spec
        self.channels = 0
        self.rates: list[float] = []

    def decode_s(self, sampling: Sampling | None) -> float:
        """Seconds of decode in one process."""
        jobs = self._agent.jobs
        handle = jobs.start(replace(self._spec, sampling=sampling), limit_s=_CALL_S)
        try:
            while (state := jobs.poll(handle, limit_s=_CALL_S, wait_s=10)).phase == "running":
                pass
            if state.phase == "lost":
                raise Permanent(state.detail, error_class=ErrorClass.RUNNER_FAILED)
            with tempfile.TemporaryDirectory(prefix="farm-observer-") as folder:
                output = jobs.collect(handle, Path(folder), limit_s=_CALL_S)
                if sampling is not None:
                    self._count(output.files["samples"].read_bytes())
                return decode_s(output.files["stdout"].read_text(encoding="utf-8", errors="replace"))
        finally:
            jobs.end(handle, limit_s=_CALL_S)

    def _count(self, samples: bytes) -> None:
        """What was sampled, and how often: a sampler that did not work costs nothing."""
        traces = [trace for trace in parse_samples(samples) if len(trace.values) > 1]
        fast = [trace for trace in traces if not trace.channel.source.startswith("dumpsys")]
        self.channels = len(fast)
        if self.channels < CHANNELS:
            raise Permanent(f"only {self.channels} channels were sampled", error_class=ErrorClass.INTERNAL)
        spans = [(len(trace.values) - 1) / (trace.uptime_s[-1] - trace.uptime_s[0]) for trace in fast]
        self.rates.append(statistics.median(spans))


def program(chosen: argparse.Namespace) -> list[Finding]:
    """Run the case both ways in turn."""
    with lab("observer", 1) as (_, info), bench(info.phones) as own:
        _, (first,) = own.run({**FIRST, "threads": chosen.threads})
        rate = first.row.metrics["decode_tps"]
        if isinstance(rate, Unavailable):
            raise Permanent(rate.reason, error_class=ErrorClass.RUNNER_FAILED)
        tokens = int(min(max(32.0, 0.8 * chosen.seconds * rate.value), MOST_TOKENS))
        _, (ran,) = own.run({**FIRST, "threads": chosen.threads, "prompt_tokens": 16, "gen_tokens": tokens})
        watched = Watched(open_agent(info.phones[0]), spec_of(ran.command))
        taken = alternate(
            chosen.rounds,
            {"with sampler": lambda: watched.decode_s(SAMPLING), "without": lambda: watched.decode_s(None)},
        )
    return [
        finding(
            "tok/s with sampler / without",
            ratios(taken["without"], taken["with sampler"]),
            limit=LIMIT,
            at_least=True,
            detail=f"{watched.channels} channels at {statistics.median(watched.rates):.1f} Hz",
        ),
        finding("without, round by round / their median", _spread(taken["without"])),
    ]


def _spread(taken: list[float]) -> list[float]:
    middle = statistics.median(taken)
    return [each / middle for each in taken]


def options(parser: argparse.ArgumentParser) -> None:
    """Options of this program."""
    parser.add_argument("--seconds", type=float, default=30.0, help="length of the case  [default: 30]")
    parser.add_argument("--threads", type=int, default=1, help="threads of the runner  [default: 1]")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of the comparison  [default: 7]")


if __name__ == "__main__":
    main(program, sys.modules[__name__].__doc__ or "", options)
