"""What an iPhone shows after the app has died: the boot, and the report that names our process."""

from __future__ import annotations

import json
import time

from device_agents.ios import deaths
from device_agents.ios.jobs import RECORD
from device_agents.ios.phone import Phone
from device_agents.ios.watch import read_end
from harness.death import DeathSigns, KillEvidence
from harness.errors import FarmError

_RECORD_BYTES = 100_000
_SIGKILL = 9


class IosEvidence:
    """`device_agents.base.DeathEvidence` of an iPhone."""

    def __init__(self, phone: Phone) -> None:
        self._phone = phone

    def ask(self, folder: str, program: str, *, pid: int | None = None, limit_s: float) -> DeathSigns:
        """What the phone shows of the death of the job in `folder`, or of the process `pid`.

        Raises:
            Transient: the phone cannot be asked.
        """
        deadline = time.monotonic() + limit_s
        values = self._phone.ask("values", limit_s=limit_s, doing="asking its boot")
        boot = str(values.get("BootSessionID") or "")
        since, known = self._job(folder, deadline)
        pid = pid if pid is not None else known
        if not pid:
            return DeathSigns(boot_id=boot)
        end = read_end(self._phone.job_folder(folder.rpartition("/")[2])) or {}
        killed = end.get("signal") == _SIGKILL and end.get("by") == "exit"
        # An app that ended by itself has said why: nothing is waited for.
        patience_s = 0.0 if end.get("exit_code") is not None else deaths.PATIENCE_S
        try:
            report = deaths.ask(self._phone, pid, since, limit_s=_left(deadline), patience_s=patience_s)
        except FarmError as unread:
            return DeathSigns(pid=pid, boot_id=boot, unread={"crash reports": unread.message})
        return signs_of(report, pid, boot, killed=killed)

    def _job(self, folder: str, deadline: float) -> tuple[float, int | None]:
        """When the job began by the phone's clock, and its pid."""
        if not folder:
            return 0.0, None
        try:
            record = json.loads(self._phone.fetch(f"{folder}/{RECORD}", most=_RECORD_BYTES, limit_s=_left(deadline)))
            return float(record["started"]), int(record["pid"])
        except (ValueError, KeyError, TypeError):
            return 0.0, None


def signs_of(report: deaths.Report | None, pid: int, boot: str, *, killed: bool) -> DeathSigns:
    """The signs in what the phone reports.

    Args:
        killed: its end was seen, and was a SIGKILL that did not come from farm.
    """
    if report is None:
        # iOS writes a report for every app that it ends for memory or for a fault, and none when a user swipes it away.
        text = "SIGKILL, and no report of iOS names it: swiped away in the app switcher, or ended by another tool"
        kill = KillEvidence("user", pid, text) if killed else KillEvidence()
        return DeathSigns(pid=pid, boot_id=boot, kill=kill)
    if report.kind == "crash":
        return DeathSigns(pid=pid, boot_id=boot, tombstone=report.text)
    return DeathSigns(
        pid=pid, boot_id=boot, kill=KillEvidence(report.kind, pid, report.text), other_victims=report.others
    )


def _left(deadline: float) -> float:
    return max(deadline - time.monotonic(), 0.5)
