"""Why the virtual lab cannot do what it was asked."""

from __future__ import annotations

from harness.errors import ErrorClass, Permanent


class LabError(Permanent):
    """The lab, or one of its phones, cannot be started or changed.

    Args:
        message: one line: what happened, to what.
        advice: what to do about it.
        device: id of the phone concerned, "" for the whole lab.
    """

    def __init__(self, message: str, *, advice: str = "", device: str = "") -> None:
        super().__init__(message, error_class=ErrorClass.LAB_UNAVAILABLE, advice=advice, device=device)


class LabUnsupported(LabError):
    """This machine cannot run virtual phones; the caller may take the host itself as a device instead."""
