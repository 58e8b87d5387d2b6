"""What a run tells while it goes on; the command line turns it into a live table or log lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from harness.model import ErrorInfo, PlannedCase, Step


@dataclass(frozen=True, slots=True)
class Activity:
    """What one device does now.

    Args:
        device_id: inventory id.
        case: the measurement at work, or None between two.
        step: its step.
        note: a few words ("retry 2: cable cut", "waiting for the phone").
        done, total: bytes pushed and to push, 0 outside a push.
        temperature_c: newest temperature the device reported, or None.
    """

    device_id: str
    case: PlannedCase | None = None
    step: Step | None = None
    note: str = ""
    done: int = 0
    total: int = 0
    temperature_c: float | None = None


class Reporter(Protocol):
    """Receives what happens; called from several threads."""

    def activity(self, activity: Activity) -> None: ...

    def finished(self, case: PlannedCase, error: ErrorInfo | None, headline: str) -> None:
        """A measurement ended: `headline` is its main figure in words ("41.2 tok/s decode") or the error class."""

    def note(self, device_id: str, text: str) -> None:
        """Something an operator should know that belongs to no measurement."""


class Silent:
    """A Reporter that says nothing."""

    def activity(self, activity: Activity) -> None:
        del activity

    def finished(self, case: PlannedCase, error: ErrorInfo | None, headline: str) -> None:
        del case, error, headline

    def note(self, device_id: str, text: str) -> None:
        del device_id, text
