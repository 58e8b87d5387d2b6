"""What the sampler takes from the runner that it watches: its rate with the sampler over its rate without it.

One process on a virtual phone does the same piece of work again and again, a token each, started as farm starts a job;
its sampler is held and let go every half second, so that both sides of a pair see the same heat and the same moment of
a busy machine: two runs of one command differ by more than the limit. The sampler reads the memory of the process and
every cheap channel of the phone ten times a second (clocks and caps, thermal zones, battery, CPU time, free memory; at
least 20 of them, or nothing is measured), and the services every 5 s, as in a run. The value is the median over all
pairs; `farm selftest` judges a phone by the same code.

Asked (the project's own limit): at least 0.99.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from threading import Event

from common import Finding, finding, lab, main
from deploy import open_agent

from device_agents.android.telemetry import parse_samples
from harness.errors import ErrorClass, Permanent
from harness.selftest.observer import PAIRS, SLICE_S, Slices, slices
from harness.supply import calibration

LIMIT = 0.99
CHANNELS = 20


def sampled(samples: bytes) -> tuple[int, float]:
    """How many channels were sampled, and how often each in Hz: a sampler that did not work costs nothing."""
    traces = [trace for trace in parse_samples(samples) if len(trace.values) > 1]
    fast = [trace for trace in traces if not trace.channel.source.startswith("dumpsys")]
    if len(fast) < CHANNELS:
        raise Permanent(f"only {len(fast)} channels were sampled", error_class=ErrorClass.INTERNAL)
    # Half of the time the sampler was held.
    working = 0.5 * (fast[0].uptime_s[-1] - fast[0].uptime_s[0])
    return len(fast), statistics.median((len(trace.values) - 1) / working for trace in fast)


def program(chosen: argparse.Namespace) -> list[Finding]:
    """Hold the sampler in turn, in several runs."""
    found: list[Slices] = []
    with lab("observer", 1) as (_, info), tempfile.TemporaryDirectory(prefix="farm-observer-") as folder:
        agent = open_agent(info.phones[0])
        runner = calibration.build(agent.facts(limit_s=20).abis[0]).artifact
        pairs = round(chosen.seconds / (2 * SLICE_S))
        for number in range(chosen.rounds):
            found.append(slices(agent, runner, Path(folder) / str(number), pairs=pairs, cancel=Event()))
    channels, rate = sampled(found[-1].samples)
    rounds = [statistics.median(a / b for a, b in each.pairs) for each in found]
    every = [with_it / without for each in found for with_it, without in each.pairs]
    quarters = statistics.quantiles(every)
    return [
        finding(
            "tokens/s with sampler / without, median of all pairs",
            [statistics.median(every)],
            limit=LIMIT,
            at_least=True,
            detail=f"{len(every)} pairs, half of them {quarters[0]:.3f} to {quarters[2]:.3f}; "
            f"{channels} channels at {rate:.1f} Hz",
        ),
        finding("the same, run by run", rounds),
    ]


def options(parser: argparse.ArgumentParser) -> None:
    """Options of this program."""
    parser.add_argument("--seconds", type=float, default=2.0 * PAIRS * SLICE_S, help="length of a run  [default: 24]")
    parser.add_argument("--rounds", type=int, default=5, help="runs  [default: 5]")


if __name__ == "__main__":
    main(program, sys.modules[__name__].__doc__ or "", options)
