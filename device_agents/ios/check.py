"""Asking the app on the phone to check a file, which also makes it tell how the phone is."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from device_agents.ios.events import Told, told_by
from device_agents.ios.failures import typed
from device_agents.ios.phone import JOBS, ROOT, Phone
from harness.errors import ErrorClass, FarmError, Permanent

CONTRACT = "1.1"
"""Version of the runner contract that has the request `check` and the event `device`."""

EVENTS, REQUEST = "events.jsonl", "request.json"

_EVENT_BYTES_MAX = 1 << 20
START_S = 20.0
"""How long the app may take to tell that it has started; one that tells nothing is not farm's."""

_WAIT_S = 5.0
_PROBED, _PROBE = f"{ROOT}/probe", b"farm\n"


@dataclass(frozen=True, slots=True)
class Checked:
    """Whether the file is as it should be, the app's message when it is not, and all that the app told."""

    matches: bool
    message: str
    told: Told


def check_file(
    phone: Phone, path: str, size: int, sha256: str, *, limit_s: float, watch: Callable[[], None] | None = None
) -> Checked:
    """Let the app hash a file of its Documents.

    Raises:
        FarmError: the app cannot be launched, or ended too early. Permanent: RUNNER_INVALID: it is no runner of farm's
            contract; NOT_FRONTMOST.
    """
    told = _run(phone, {"path": path, "bytes": size, "sha256": sha256}, limit_s, watch)
    error, message = told.error
    if told.checked is not None and not error:
        return Checked(True, "", told)
    if error == "model_invalid":
        return Checked(False, message, told)
    if error == "not_frontmost":
        raise Permanent(
            f"{phone.udid}: the app was sent to the background while it checked a file",
            error_class=ErrorClass.NOT_FRONTMOST,
            advice="leave the phone alone and unlocked while farm works with it",
            device=phone.udid,
        )
    if told.start is not None and told.last is None:
        raise typed(phone.udid, "refused", "the app ended before it had checked the file", "checking a file")
    said = f"({error}: {message[:200]})" if error else "and tells nothing"
    raise Permanent(
        f"{phone.udid}: the app {phone.bundle} does not check files {said}",
        error_class=ErrorClass.RUNNER_INVALID,
        advice="build and install the app that belongs to this farm: docs/ios.md",
        device=phone.udid,
    )


def probe(phone: Phone, *, limit_s: float) -> Told:
    """Let the app tell how the phone is, by a check of a few bytes. Raises as `check_file`."""
    deadline = time.monotonic() + limit_s
    phone.ask("make_folder", area=phone.bundle, path=ROOT, limit_s=limit_s, doing="preparing a look")
    phone.write(_PROBED, _PROBE, limit_s=limit_s)
    digest = hashlib.sha256(_PROBE).hexdigest()
    return check_file(phone, _PROBED, len(_PROBE), digest, limit_s=max(deadline - time.monotonic(), 1.0)).told


def _run(phone: Phone, check: dict[str, object], limit_s: float, watch: Callable[[], None] | None) -> Told:
    deadline = time.monotonic() + limit_s
    key = f"check-{uuid.uuid4().hex[:12]}"
    folder = f"{JOBS}/{key}"

    def left() -> float:
        return max(deadline - time.monotonic(), 0.5)

    def told() -> Told:
        return told_by(phone.fetch(f"{folder}/{EVENTS}", most=_EVENT_BYTES_MAX, limit_s=left()))

    phone.ask("make_folder", area=phone.bundle, path=folder, limit_s=left(), doing="preparing a check")
    pid = 0
    try:
        request = {"contract": CONTRACT, "check": check, "output": f"{folder}/{EVENTS}"}
        phone.write(f"{folder}/{REQUEST}", json.dumps(request).encode(), limit_s=left())
        pid = phone.launch(key, (f"{folder}/{REQUEST}",), run_s=left(), sampled=False, limit_s=left())
        launched = time.monotonic()
        while True:
            wait_s = min(_WAIT_S, left() / 2)
            job = phone.job(key, pid, run_s=left(), sampled=False, wait_s=wait_s, limit_s=left(), watch=watch)
            if job["phase"] != "running":
                return told()
            if time.monotonic() - launched > START_S and (now := told()).start is None:
                return now
            if time.monotonic() >= deadline:
                raise typed(phone.udid, "limit", f"{limit_s:g} s were not enough", "checking a file")
    finally:
        shutil.rmtree(phone.job_folder(key), ignore_errors=True)
        # What cannot be cleaned now is reaped by the next holder of the lease.
        with contextlib.suppress(FarmError):
            phone.ask("end_job", key=key, bundle=phone.bundle, pid=pid, limit_s=left(), doing="ending a check")
            phone.remove(folder, limit_s=left())
