"""Eight iPhones at once through `farm run`: how long, and how much memory the process of each phone takes on this host.

Eight virtual iPhones of every shipped profile, with iOS 16 (instruments over lockdown) and with iOS 18 and 26 (over a
tunnel of farm's own), one case each with one thread. The app and the model are on the phones already. Total time is
from the first step of the first case to the last step of the last one; it is compared with the longest of the eight
cases. One controller and one worker process for each phone do all of farm's own work: what they do one after the other,
in place of at once, would show here.

Memory is PSS: each shared page counts for an equal part with all who share it. Of each worker the largest value is
taken, read twice a second while the command runs.

Asked (the project's own limits): total time at most 1.05 of the longest case; at most 60 MB for a worker.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
from cases import bench_iphones
from common import Finding, finding, iphones, main, ratios

from device_agents.ios import nursery
from harness.model import MEGABYTE

LIMIT = 1.05
WORKER_MB = 60.0
LOOK_S = 0.5
PROFILES = ("iphone-15-pro", "iphone-14@16", "iphone-se-3", "iphone-15-pro@26", "iphone-14", "iphone-se-3@16")
_PSS = re.compile(r"^Pss:\s+([0-9]+) kB$", re.MULTILINE)


class Memory:
    """Largest PSS of a command's processes, in MB: `workers` by process id, `controller`, `nursery` that forks them."""

    def __init__(self) -> None:
        self.workers: dict[int, float] = {}
        self.controller = 0.0
        self.nursery = 0.0

    def watch(self, command: subprocess.Popen[bytes]) -> None:
        """Look until the command has ended."""
        while command.poll() is None:
            with suppress(psutil.Error):
                self._look(psutil.Process(command.pid))
            time.sleep(LOOK_S)

    def _look(self, command: psutil.Process) -> None:
        self.controller = max(self.controller, _pss(command.pid))
        for process in command.children(recursive=True):
            with suppress(psutil.Error):
                if process.name() == nursery.NAME:
                    self.workers[process.pid] = max(self.workers.get(process.pid, 0.0), _pss(process.pid))
                elif nursery.COMMAND[-1] in process.cmdline():
                    self.nursery = max(self.nursery, _pss(process.pid))

    def largest(self, count: int) -> list[float]:
        """Of the workers that measured: `count` of them; others only looked at a phone first."""
        return sorted(self.workers.values(), reverse=True)[:count]


def _pss(pid: int) -> float:
    """0 for a process that has just ended."""
    try:
        found = _PSS.search(Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii"))
    except OSError:
        return 0.0
    return int(found[1]) * 1024 / MEGABYTE if found else 0.0


def program(chosen: argparse.Namespace) -> list[Finding]:
    """Run the cases at once, in several rounds."""
    wished = [PROFILES[number % len(PROFILES)] for number in range(chosen.phones)]
    whole: list[float] = []
    total: list[float] = []
    longest: list[float] = []
    workers: list[float] = []
    nurseries: list[float] = []
    controller: list[float] = []
    with iphones(wished) as (_, info), bench_iphones(info) as own:
        workload = own.sized(chosen.seconds)
        for _round in range(chosen.rounds):
            memory = Memory()
            taken, rans = own.run(workload, watch=memory.watch)
            whole.append(taken)
            total.append(max(ran.ended for ran in rans) - min(ran.began for ran in rans))
            longest.append(max(ran.case_s for ran in rans))
            workers += memory.largest(len(rans))
            nurseries.append(memory.nursery)
            controller.append(memory.controller)
    return [
        finding(
            f"{chosen.phones} iPhones: total time / longest case",
            ratios(total, longest),
            limit=LIMIT,
            detail=f"total {statistics.median(total):.2f} s, longest {statistics.median(longest):.2f} s",
        ),
        finding("command farm run, wall clock", whole, "s"),
        finding("worker process of an iPhone: PSS", workers, "MB", limit=WORKER_MB),
        finding("process that forks them: PSS", nurseries, "MB"),
        finding("controller: PSS", controller, "MB"),
    ]


def options(parser: argparse.ArgumentParser) -> None:
    """Options of this program."""
    parser.add_argument("--phones", type=int, default=8, help="how many  [default: 8]")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the cases of a round  [default: 60]")
    parser.add_argument("--rounds", type=int, default=2, help="rounds  [default: 2]")


if __name__ == "__main__":
    main(program, sys.modules[__name__].__doc__ or "", options)
