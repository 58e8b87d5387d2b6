"""Exit codes of the command line (documented in the README)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.model import NightSummary

MEASURED = 0
INCOMPLETE = 1
USAGE = 2
NO_DEVICE = 3
TARGET_MISSED = 4
REGRESSION = 5
INTERRUPTED = 130


def of_night(summary: NightSummary) -> int:
    """Of a night that came to its end: 3 before 5 before 1 before 0. What did not fit into it is no failure."""
    if not summary.phones:
        return NO_DEVICE
    if summary.regressions:
        return REGRESSION
    if summary.failed or summary.refused or not summary.measured:
        return INCOMPLETE
    return MEASURED
