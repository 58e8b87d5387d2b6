"""States, kinds and steps: the closed lists of words."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

MEGABYTE = 1_000_000
"""Bytes in one MB: decimal everywhere, in targets, code, database and report."""

MEASURING_CONTRACT_VERSION = 1
"""Raised when the way a figure is measured changes, so that series before and after are not compared."""


class Platform(StrEnum):
    ANDROID = "android"
    IOS = "ios"
    LOCAL = "local"

    @property
    def system(self) -> str:
        """Name of its operating system."""
        return {"android": "Android", "ios": "iOS", "local": "Linux"}[self.value]


class DeviceKind(StrEnum):
    """What a figure was measured on; everything but PHONE is marked in every table, plot and export."""

    PHONE = "phone"
    VIRTUAL = "virtual"
    HOST = "host"


NOT_A_PHONE: Mapping[DeviceKind, str] = {
    DeviceKind.VIRTUAL: "virtual phone",
    DeviceKind.HOST: "not a phone",
}
"""The mark shown beside a device of that kind."""


class DeviceState(StrEnum):
    """What a device can be used for right now. Only READY can run a case."""

    READY = "ready"
    UNAUTHORIZED = "unauthorized"
    OFFLINE = "offline"
    NO_PERMISSIONS = "no_permissions"
    RECOVERY = "recovery"
    LOCKED_SINCE_BOOT = "locked_since_boot"
    NOT_PREPARED = "not_prepared"
    UNRESPONSIVE = "unresponsive"
    UNKNOWN = "unknown"


class CaseStatus(StrEnum):
    """PLANNED and RUNNING exist only while a run is unfinished; the other four are final."""

    PLANNED = "planned"
    RUNNING = "running"
    MEASURED = "measured"
    FAILED = "failed"
    REFUSED = "refused"
    SKIPPED = "skipped"


class RunStatus(StrEnum):
    RUNNING = "running"
    INTERRUPTED = "interrupted"
    FINISHED = "finished"


class Step(StrEnum):
    """The steps of one case, in order."""

    SELECT = "select"
    CHECK = "check"
    STORAGE = "storage"
    DEPLOY = "deploy"
    GATE = "gate"
    BASELINE = "baseline"
    WARM_UP = "warm_up"
    RUN = "run"
    COLLECT = "collect"
    CLEAN_UP = "clean_up"
    STORE = "store"


class TargetVerdict(StrEnum):
    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    NOT_MEASURED = "not_measured"


class PowerState(StrEnum):
    """What the battery does, and whether a cable feeds the phone. Energy is measured only while UNPLUGGED."""

    CHARGING = "charging"
    PLUGGED_IDLE = "plugged_idle"
    PLUGGED_DRAINING = "plugged_draining"
    UNPLUGGED = "unplugged"
    UNKNOWN = "unknown"


class WorkloadKind(StrEnum):
    """throughput: prefill and decode rates of a fixed amount of work. stream: one request, token by token. sustained:
    requests one after the other for some minutes, for the curve. battery: the same, for the energy."""

    THROUGHPUT = "throughput"
    STREAM = "stream"
    SUSTAINED = "sustained"
    BATTERY = "battery"
