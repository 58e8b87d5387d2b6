"""What a case costs through farm, against plain `adb shell` of the very same command line.

A llama-bench case of about 60 s on one virtual phone. farm's time is that of the whole measurement as `farm run` does
it, from its first step (is it the planned phone, does it fit) over the deploy of files that are there already, warm-up,
the run with its sampler, collecting and cleaning up, to its last one, which stores the result. Plain time is that of
the command that `farm show --command` prints for that case. The two alternate; the value is the median over the rounds
of the ratio of two neighbours. The time of the whole command `farm run` (start of Python, discovery, plan, report) is
told, too.

On a machine that others use, two runs of a minute differ by more than the limit for reasons that are not farm's. So a
second ratio is told: farm's time over that of the runner's process inside it. It does not see what sampling takes from
the runner; the first one does.

Asked (the project's own limit): at most 1.03.
"""

from __future__ import annotations

import argparse
import statistics
import sys

from cases import Ran, bench, plain
from common import Finding, alternate, finding, lab, main, ratios

LIMIT = 1.03


def program(chosen: argparse.Namespace) -> list[Finding]:
    """Run the case both ways in turn."""
    with lab("overhead", 1) as (_, info), bench(info.phones) as own:
        workload = own.sized(chosen.seconds)
        whole: list[float] = []
        rans: list[Ran] = []

        def through_farm() -> float:
            taken, (ran,) = own.run(workload)
            whole.append(taken)
            rans.append(ran)
            return ran.case_s

        # The command line is known once farm has run it; the same in every round.
        taken = alternate(chosen.rounds, {"farm": through_farm, "plain adb shell": lambda: plain([rans[-1].command])})
    steps = {name: statistics.median(ran.steps[name] for ran in rans) for name in rans[0].steps}
    plain_s = taken["plain adb shell"]
    return [
        finding(
            "case through farm / plain adb shell",
            ratios(taken["farm"], plain_s),
            limit=LIMIT,
            detail=f"farm {statistics.median(taken['farm']):.2f} s, plain {statistics.median(plain_s):.2f} s",
        ),
        finding(
            "case through farm / its own runner process",
            [ran.case_s / ran.runner_s for ran in rans],
            detail="steps: " + ", ".join(f"{name} {seconds:.2f}" for name, seconds in steps.items()),
        ),
        finding("command farm run, wall clock", whole, "s"),
        finding("command farm run / plain adb shell", ratios(whole, plain_s)),
    ]


def options(parser: argparse.ArgumentParser) -> None:
    """Options of this program."""
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the case  [default: 60]")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of the comparison  [default: 3]")


if __name__ == "__main__":
    main(program, sys.modules[__name__].__doc__ or "", options)
