"""What the programs in bench/ share: a lab of their own, plain adb, rounds that alternate, and a table of ratios."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from adbutils import adb_path

from device_agents.ios.discovery import can_prepare, discover, prepare
from device_agents.virtual.iphone.lab import IphoneLab, IphoneLabInfo, IphoneWish
from device_agents.virtual.lab import Lab, LabInfo, wishes
from harness import model
from harness.cache import cache_dir
from harness.errors import FarmError


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the table.

    Args:
        what: what was compared. value: median of the rounds. unit: of the value; "×" for a ratio.
        low, high: of the rounds.
        limit: what is asked, None when the value is only told. at_least: the limit is a lower one.
        detail: the figures behind the value.
    """

    what: str
    value: float
    unit: str
    low: float
    high: float
    limit: float | None = None
    at_least: bool = False
    detail: str = ""

    @property
    def passed(self) -> bool | None:
        """None where nothing is asked."""
        if self.limit is None:
            return None
        return self.value >= self.limit if self.at_least else self.value <= self.limit


def finding(
    what: str,
    values: Sequence[float],
    unit: str = "×",
    *,
    limit: float | None = None,
    at_least: bool = False,
    detail: str = "",
) -> Finding:
    """The finding of several rounds: their median."""
    return Finding(what, statistics.median(values), unit, min(values), max(values), limit, at_least, detail)


def main(
    program: Callable[[argparse.Namespace], list[Finding]],
    description: str,
    options: Callable[[argparse.ArgumentParser], None],
) -> None:
    """Run a program of bench/, print its table, and exit: 0 when all that is asked holds, 1 when not, 2 when it could
    not measure."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    options(parser)
    chosen = parser.parse_args()
    begun, load = datetime.now(UTC), os.getloadavg()[0]
    try:
        findings = program(chosen)
    except FarmError as error:
        print(f"not measured: {error.message}", file=sys.stderr)
        sys.exit(2)
    circumstances = {
        "begun": begun.isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "load_before": round(load, 1),
        "load_after": round(os.getloadavg()[0], 1),
    }
    if chosen.json:
        rows = [{**asdict(each), "passed": each.passed} for each in findings]
        print(json.dumps({**circumstances, "findings": rows}, indent=1))
    else:
        _print_table(circumstances, findings)
    sys.exit(1 if any(each.passed is False for each in findings) else 0)


def _print_table(circumstances: Mapping[str, object], findings: Sequence[Finding]) -> None:
    print(", ".join(f"{name} {value}" for name, value in circumstances.items()))
    words = {None: "", True: "PASS", False: "FAIL"}
    width = max(len(each.what) for each in findings)
    for each in findings:
        asked = "" if each.limit is None else f"{'≥' if each.at_least else '≤'} {each.limit:g}"
        spread = f"({each.low:.3f} to {each.high:.3f})"
        value = f"{each.value:.3f} {each.unit}"
        print(f"{each.what:<{width}}  {value:>11} {spread:>18}  {asked:>7}  {words[each.passed]:<4}  {each.detail}")


def say(text: str) -> None:
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def lab(program: str, phones: int) -> Iterator[tuple[Lab, LabInfo]]:
    """Virtual phones of this process alone, and the environment in which every adb client sees them only."""
    own = Lab(f"bench-{program}-{os.getpid()}")
    info = own.up(wishes(phones), die_with=os.getpid())
    before = dict(os.environ)
    try:
        os.environ.update(info.env)
        yield own, info
    finally:
        os.environ.clear()
        os.environ.update(before)
        own.down()


@contextlib.contextmanager
def iphones(wished: Sequence[str]) -> Iterator[tuple[IphoneLab, IphoneLabInfo]]:
    """Virtual iPhones of this process alone, and the environment in which every client of a muxer sees them only.

    Args:
        wished: a profile each, perhaps with a version of iOS: "iphone-14@16".
    """
    # Like those of every lab, their files are to lie on disk.
    cache_dir().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-iphones-", dir=cache_dir()) as folder:
        own = IphoneLab(Path(folder) / "lab")
        info = own.up([IphoneWish(profile) for profile in wished], die_with=os.getpid())
        before = dict(os.environ)
        try:
            os.environ.update(info.env)
            lab = model.Lab(usbmux=info.usbmux)
            for attached in discover(lab):
                if can_prepare(attached):
                    prepare(attached, lab)
            yield own, info
        finally:
            os.environ.clear()
            os.environ.update(before)
            own.down()


def adb(serial: str, *words: str, limit_s: float = 600.0) -> subprocess.CompletedProcess[str]:
    """Plain adb, which has to succeed."""
    return subprocess.run(
        [adb_path(), "-s", serial, *words],
        check=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=limit_s,
    )


def adb_process(words: Sequence[str]) -> subprocess.Popen[bytes]:
    """A process whose output nobody reads."""
    return subprocess.Popen(list(words), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def timed(action: Callable[[], object]) -> float:
    """Wall-clock seconds of an action."""
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def alternate(rounds: int, actions: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Seconds of each action in each round: A B, then B A, so that a machine that drifts favours none."""
    taken: dict[str, list[float]] = {name: [] for name in actions}
    for number in range(rounds):
        names = list(actions) if number % 2 == 0 else list(actions)[::-1]
        for name in names:
            taken[name].append(actions[name]())
            say(f"  round {number + 1} of {rounds}, {name}: {taken[name][-1]:.3f} s")
    return taken


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """Round by round."""
    return [above / below for above, below in zip(numerators, denominators, strict=True)]
