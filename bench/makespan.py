"""How long eight phones take through `farm run`, against the same commands as eight plain `adb shell` at once.

Eight virtual phones, one llama-bench case each, with one thread, so that the phones share the cores of this machine
evenly. farm's time is that of the whole command `farm run`, from the start of Python to the end of the report, and also
that from the first step of the first case to the last step of the last one. Plain time is from the start of eight
processes `adb shell` with the same command lines to the end of the last one. The two alternate; the value is the median
over the rounds of the ratio of two neighbours.

Asked (the project's own limit): at most 1.05 for the cases.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys

from cases import Ran, bench, plain
from common import Finding, alternate, finding, lab, main, ratios

LIMIT = 1.05


def program(chosen: argparse.Namespace) -> list[Finding]:
    """Run the cases both ways in turn."""
    with lab("makespan", chosen.phones) as (_, info), bench(info.phones) as own:
        # The short case before ran on all phones at once, so its rates are those of a shared core already.
        workload = own.sized(chosen.seconds)
        whole: list[float] = []
        runs: list[tuple[Ran, ...]] = []

        def through_farm() -> float:
            taken, rans = own.run(workload)
            whole.append(taken)
            runs.append(rans)
            return max(ran.ended for ran in rans) - min(ran.began for ran in rans)

        taken = alternate(
            chosen.rounds, {"farm": through_farm, "plain adb shell": lambda: plain([ran.command for ran in runs[-1]])}
        )
    plain_s = taken["plain adb shell"]
    longest = statistics.median(max(ran.runner_s for ran in rans) for rans in runs)
    return [
        finding(
            f"{chosen.phones} phones: makespan through farm / plain adb shell",
            ratios(taken["farm"], plain_s),
            limit=LIMIT,
            detail=f"farm {statistics.median(taken['farm']):.2f} s (its slowest runner {longest:.2f} s), "
            f"plain {statistics.median(plain_s):.2f} s, {os.cpu_count()} cores",
        ),
        finding("command farm run, wall clock", whole, "s"),
        finding("command farm run / plain adb shell", ratios(whole, plain_s)),
    ]


def options(parser: argparse.ArgumentParser) -> None:
    """Options of this program."""
    parser.add_argument("--phones", type=int, default=8, help="[default: 8]")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of one side of a round  [default: 60]")
    parser.add_argument("--rounds", type=int, default=2, help="rounds of the comparison  [default: 2]")


if __name__ == "__main__":
    main(program, sys.modules[__name__].__doc__ or "", options)
