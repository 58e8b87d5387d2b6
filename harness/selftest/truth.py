"""The truth file of a virtual phone. Only the self-test reads it, and only when the measuring is done."""

from __future__ import annotations

import bisect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LARGEST_GAP_S = 2.0
"""Between two lines; over a longer one nothing is interpolated."""


class TruthMissing(Exception):
    """The truth does not cover what was asked; the text says why."""


@dataclass(frozen=True, slots=True)
class Truth:
    """The lines of one boot, in order of time."""

    lines: Sequence[Mapping[str, Any]]

    def at(self, name: str, uptime_s: float) -> float:
        """A quantity at a moment of the phone's uptime, interpolated between two lines.

        Raises:
            TruthMissing: no lines stand close on both sides.
        """
        points = [(float(line["uptime_s"]), float(line[name])) for line in self.lines if name in line]
        times = [moment for moment, _ in points]
        after = bisect.bisect_left(times, uptime_s)
        if after == 0 or after == len(times):
            raise TruthMissing(f"the truth file has nothing on both sides of {uptime_s:.2f} s")
        before = after - 1
        gap = times[after] - times[before]
        if gap > LARGEST_GAP_S:
            raise TruthMissing(f"the truth file has a gap of {gap:.1f} s at {uptime_s:.2f} s")
        low, high = points[before][1], points[after][1]
        return low + (high - low) * (uptime_s - times[before]) / gap if gap else high

    def growth(self, name: str, start_s: float, end_s: float) -> float:
        """How much a counter grew between two moments."""
        return self.at(name, end_s) - self.at(name, start_s)

    def cap_fell_at(self, start_s: float, end_s: float, held_s: float = 0.0) -> float | None:
        """Uptime in seconds at which the frequency cap first came to stand below what it was at `start_s`, for at least
        `held_s` or to the end; None: never."""
        points = [(float(line["uptime_s"]), float(line["cap"])) for line in self.lines if "cap" in line]
        first = [cap for moment, cap in points if moment <= start_s]
        if not first:
            raise TruthMissing("the truth file begins after the run")
        fell: float | None = None
        for moment, cap in points:
            if not start_s < moment <= end_s:
                continue
            if cap < first[-1] - 1e-9:
                fell = moment if fell is None else fell
            elif fell is not None and moment - fell >= held_s:
                break
            else:
                fell = None
        return fell


def read_truth(path: Path, boot_id: str = "") -> Truth:
    """The truth file of a phone; lines of another boot than `boot_id` (unless "") and torn lines are left out.

    Raises:
        TruthMissing: it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as wrong:
        raise TruthMissing(f"the truth file cannot be read: {wrong.strerror}") from wrong
    lines: list[Mapping[str, Any]] = []
    for line in text.splitlines():
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if not isinstance(found, dict) or "uptime_s" not in found:
            continue
        if not boot_id or found.get("boot_id", boot_id) == boot_id:
            lines.append(found)
    return Truth(tuple(sorted(lines, key=lambda line: float(line["uptime_s"]))))
