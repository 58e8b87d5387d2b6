"""Jobs on an iPhone: the app, launched with a request in its Documents. It runs on without cable and controller.

farm/jobs/KEY holds the request, what the app tells (`events.jsonl`) and `job.json` for whoever comes later. A command
`sleep N` launches nothing: the phone is only looked at for so long; `true` is a sleep of no time.
"""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from device_agents.base import EndedBy, JobHandle, JobOutput, JobSpec, JobState
from device_agents.ios import deaths
from device_agents.ios.check import EVENTS, REQUEST
from device_agents.ios.events import Told, seconds, told_by
from device_agents.ios.phone import JOBS, MODELS, Phone
from device_agents.ios.samples import lines_of_events
from device_agents.ios.watch import LOG, SAMPLES, read_end, write_end
from device_agents.posix.spec import Tools, check
from harness.errors import ErrorClass, FarmError, Permanent, Transient
from harness.model import Unavailable

OUTPUT_BYTES_MAX = 64 * 1024 * 1024
"""Most that is fetched of the events; what a job leaves beyond it is the end of a runaway log."""

RECORD = "job.json"
"""File of a job that says which process it is."""

_RECORD_BYTES = 100_000
_SIGKILL = 9
_NEVER_SLEPT = Unavailable("iOS does not tell how long it slept")


@dataclass(frozen=True, slots=True)
class _Record:
    """What has to be known of a started job.

    Args:
        bundle, pid: of the app's process; pid 0: nothing was launched.
        boot: id of the boot, "" where iOS does not tell it.
        started: Unix seconds by the phone's clock. run_s: after which it is ended.
        sampled: whether the phone is looked at beside it.
    """

    bundle: str
    pid: int
    boot: str
    started: float
    run_s: float
    sampled: bool

    @classmethod
    def read(cls, data: bytes) -> _Record | None:
        try:
            found = json.loads(data)
            return cls(
                str(found["bundle"]),
                int(found["pid"]),
                str(found["boot"]),
                float(found["started"]),
                float(found["run_s"]),
                bool(found["sampled"]),
            )
        except (ValueError, KeyError, TypeError):
            return None


class IosJobs:
    """`device_agents.base.Jobs` of an iPhone. One job runs at a time: launching the app ends the one before."""

    def __init__(self, phone: Phone) -> None:
        self._phone = phone
        self._records: dict[str, _Record] = {}

    def start(self, spec: JobSpec, *, limit_s: float) -> JobHandle:
        deadline = time.monotonic() + limit_s
        check(spec, Tools(taskset=()))
        self._refuse(spec)
        idle_s = _idle(spec)
        bundle, _, _ = spec.argv[0].partition("/")
        if idle_s is None:
            self._phone.bundle = bundle
        folder = _folder(spec.key)
        if self._there(folder, deadline):
            raise Permanent(
                f"{self._phone.udid}: a job {spec.key} is there already",
                error_class=ErrorClass.INTERNAL,
                advice="find or end it first",
                device=self._phone.udid,
            )
        here = self._phone.job_folder(spec.key)
        shutil.rmtree(here, ignore_errors=True)
        values = self._phone.ask("values", limit_s=_left(deadline), doing="asking what it is")
        boot, started = str(values.get("BootSessionID") or ""), values.get("TimeIntervalSince1970")
        self._ask("make_folder", deadline, "making the job's folder", path=folder)
        pid = 0
        if idle_s is None:
            self._lay(spec, folder, deadline)
            pid = self._phone.launch(
                spec.key,
                [f"{folder}/{word}" if word in spec.files else word for word in spec.argv[1:]],
                environment={name: value for name, value in spec.env.items() if name != "LD_LIBRARY_PATH"},
                run_s=spec.limit_s,
                sampled=spec.sampling is not None,
                limit_s=_left(deadline),
            )
        else:
            self._phone.ask(
                "idle",
                key=spec.key,
                folder=str(here),
                seconds=idle_s,
                limit_s=_left(deadline),
                doing="beginning to look",
            )
        began = float(started) if isinstance(started, int | float) else time.time()
        record = _Record(self._phone.bundle, pid, boot, began, spec.limit_s, spec.sampling is not None)
        self._records[spec.key] = record
        self._phone.write(f"{folder}/{RECORD}", json.dumps(asdict(record)).encode(), limit_s=_left(deadline))
        return JobHandle(spec.key, folder, boot)

    def poll(
        self, handle: JobHandle, *, limit_s: float, wait_s: float = 0.0, watch: Callable[[], None] | None = None
    ) -> JobState:
        record = self._record(handle, limit_s)
        if record is None:
            return JobState("lost", "its folder is gone", error_class=ErrorClass.INTERNAL)
        if not record.pid:
            return self._poll_idle(handle, record, wait_s, watch)
        job = self._phone.job(
            handle.key,
            record.pid,
            bundle=record.bundle,
            run_s=record.run_s,
            sampled=record.sampled,
            wait_s=min(wait_s, limit_s / 2),
            limit_s=limit_s,
            watch=watch,
        )
        if job["phase"] == "running":
            return JobState("running", live=job["live"])
        if job["phase"] == "ended":
            return JobState("done")
        return self._find_out(handle, record, limit_s)

    def collect(self, handle: JobHandle, into: Path, *, limit_s: float) -> JobOutput:
        deadline = time.monotonic() + limit_s
        record = self._record(handle, limit_s)
        here = self._phone.job_folder(handle.key)
        end = read_end(here)
        if record is None or end is None:
            raise Transient(
                f"{self._phone.udid}: job {handle.key} has no result yet",
                error_class=ErrorClass.INTERNAL,
                device=self._phone.udid,
            )
        into.mkdir(parents=True, exist_ok=True)
        files = {name: into / name for name in ("stdout", "stderr", "samples")}
        events = self._events(handle, record, deadline)
        told = told_by(events)
        files["stdout"].write_bytes(events)
        files["stderr"].write_bytes(_content(here / LOG))
        files["samples"].write_bytes(_content(here / SAMPLES) + lines_of_events(told))
        exit_code, signal = end.get("exit_code"), end.get("signal")
        signal = deaths.DARWIN_SIGNALS.get(signal, signal) if signal is not None else None
        if exit_code is None and signal is None and told.last is not None:
            exit_code = 0 if told.last["event"] == "end" else 1
        return JobOutput(
            exit_code=exit_code,
            signal=signal,
            ended_by=cast(EndedBy, end.get("by", "exit")),
            stamps=_stamps(told),
            files=files,
            boot_id=handle.boot_id,
            suspended_s=_NEVER_SLEPT,
        )

    def end(self, handle: JobHandle, *, limit_s: float) -> None:
        deadline = time.monotonic() + limit_s
        record = self._record(handle, limit_s)
        if record is not None and record.pid and read_end(self._phone.job_folder(handle.key)) is None:
            self._phone.ask(
                "end_job",
                key=handle.key,
                bundle=record.bundle,
                pid=record.pid,
                limit_s=_left(deadline),
                doing="ending the app",
            )
        bundle = record.bundle if record is not None else self._phone.bundle
        self._phone.remove(handle.folder, limit_s=_left(deadline), bundle=bundle)
        shutil.rmtree(self._phone.job_folder(handle.key), ignore_errors=True)
        self._records.pop(handle.key, None)

    def reap(self, *, limit_s: float) -> tuple[str, ...]:
        deadline = time.monotonic() + limit_s
        keys: set[str] = set()
        for bundle in self._phone.bundles(limit_s=_left(deadline)):
            found = self._phone.listing(JOBS, limit_s=_left(deadline), bundle=bundle)
            if found:
                doing = "ending left-over jobs"
                pid = self._phone.ask("pid_of", bundle=bundle, limit_s=_left(deadline), doing=doing)
                self._phone.ask("end_job", key="", bundle=bundle, pid=pid, limit_s=_left(deadline), doing=doing)
            for key in found:
                self._phone.remove(f"{JOBS}/{key}", limit_s=_left(deadline), bundle=bundle)
            keys |= set(found)
        self._phone.forget_jobs()
        self._records.clear()
        return tuple(sorted(keys))

    def find(self, key: str, *, limit_s: float) -> JobHandle | None:
        deadline = time.monotonic() + limit_s
        known = self._records.get(key)
        if known is not None:
            return JobHandle(key, _folder(key), known.boot)
        for bundle in self._phone.bundles(limit_s=_left(deadline)):
            if self._phone.stat(_folder(key), limit_s=_left(deadline), bundle=bundle) is None:
                continue
            data = self._phone.fetch(
                f"{_folder(key)}/{RECORD}", most=_RECORD_BYTES, limit_s=_left(deadline), bundle=bundle
            )
            record = _Record.read(data)
            if record is not None:
                self._records[key] = record
            return JobHandle(key, _folder(key), record.boot if record is not None else "")
        return None

    # --- beginning ----------------------------------------------------------------------------------------------------

    def _refuse(self, spec: JobSpec) -> None:
        """What an iPhone cannot do at all."""
        problem = ""
        if spec.http is not None:
            problem = "no server can be driven on an iPhone"
        elif spec.unplugged_within_s:
            problem = "an iPhone cannot wait for the loss of its power: the cable is also its link"
        elif _idle(spec) is None and ("/" not in spec.argv[0] or spec.argv[0].startswith("/")):
            problem = f"an iPhone runs farm's app only, not {spec.argv[0][:100]!r}"
        if problem:
            raise Permanent(
                f"{self._phone.udid}: {problem}",
                error_class=ErrorClass.NOT_APPLICABLE,
                advice="take a workload that runs in the app",
                device=self._phone.udid,
            )

    def _lay(self, spec: JobSpec, folder: str, deadline: float) -> None:
        """What the app reads; a request is told where to put its events and when to end."""
        for name, content in spec.files.items():
            request = _request(content) if name == REQUEST else None
            if request is None:
                self._phone.write(f"{folder}/{name}", content, limit_s=_left(deadline))
                continue
            limits = request.get("limits")
            request["output"] = f"{folder}/{EVENTS}"
            request["limits"] = {"seconds": math.ceil(spec.limit_s), **(limits if isinstance(limits, dict) else {})}
            self._mark_used(request, deadline)
            written = json.dumps(request, separators=(",", ":")).encode()
            self._phone.write(f"{folder}/{name}", written, limit_s=_left(deadline))

    def _mark_used(self, request: Mapping[str, Any], deadline: float) -> None:
        model = request.get("model")
        path = model.get("path") if isinstance(model, dict) else None
        if isinstance(path, str) and path.startswith(f"{MODELS}/"):
            with contextlib.suppress(FarmError):
                self._ask("touch", deadline, "marking the model as used", path=path)

    def _there(self, folder: str, deadline: float) -> bool:
        found = self._phone.listing(folder, limit_s=_left(deadline))
        return REQUEST in found or RECORD in found

    # --- the end ------------------------------------------------------------------------------------------------------

    def _poll_idle(
        self, handle: JobHandle, record: _Record, wait_s: float, watch: Callable[[], None] | None
    ) -> JobState:
        """Nothing runs on the phone; the worker writes the end down when the time is over."""
        here, until = self._phone.job_folder(handle.key), time.monotonic() + wait_s
        while read_end(here) is None:
            if time.monotonic() >= until:
                if self._phone.worker.pid is None:
                    return JobState("lost", "nobody looked any more", ErrorClass.CLIENT_LOST)
                return JobState("running")
            if watch is not None:
                watch()
            time.sleep(0.05)
        return JobState("done")

    def _find_out(self, handle: JobHandle, record: _Record, limit_s: float) -> JobState:
        """How a job ended whose end nobody saw: by its own last word, or by what the phone reports of it."""
        deadline = time.monotonic() + limit_s
        here = self._phone.job_folder(handle.key)
        boot = str(
            self._phone.ask("values", limit_s=_left(deadline), doing="asking its boot").get("BootSessionID") or ""
        )
        told = told_by(self._events(handle, record, deadline))
        if told.last is not None:
            here.mkdir(parents=True, exist_ok=True)
            write_end(here, 0 if told.last["event"] == "end" else 1, None, "exit")
            return JobState("done")
        if boot and handle.boot_id and boot != handle.boot_id:
            return JobState("lost", "the phone restarted", error_class=ErrorClass.DEVICE_REBOOTED)
        report = deaths.ask(self._phone, record.pid, record.started, limit_s=_left(deadline))
        if report is not None:
            here.mkdir(parents=True, exist_ok=True)
            write_end(here, None, _darwin(report.signal or _SIGKILL), "exit")
            return JobState("done")
        return JobState("lost", "the app is gone, and no report of the phone says why", error_class=ErrorClass.KILLED)

    def _events(self, handle: JobHandle, record: _Record, deadline: float) -> bytes:
        return self._phone.fetch(
            f"{handle.folder}/{EVENTS}", most=OUTPUT_BYTES_MAX, limit_s=_left(deadline), bundle=record.bundle
        )

    def _record(self, handle: JobHandle, limit_s: float) -> _Record | None:
        """Known here, or as the phone has it; None when the job is not there any more."""
        known = self._records.get(handle.key)
        if known is not None:
            return known
        data = self._phone.fetch(f"{handle.folder}/{RECORD}", most=_RECORD_BYTES, limit_s=limit_s)
        record = _Record.read(data)
        if record is not None:
            self._records[handle.key] = record
        return record

    def _ask(self, name: str, deadline: float, doing: str, **arguments: Any) -> None:
        self._phone.ask(name, area=self._phone.bundle, limit_s=_left(deadline), doing=doing, **arguments)


def _idle(spec: JobSpec) -> float | None:
    """Seconds for which the phone is only to be looked at; None for a job that launches the app."""
    if spec.argv == ("true",):
        return 0.0
    if len(spec.argv) == 2 and spec.argv[0] == "sleep" and spec.argv[1].replace(".", "", 1).isdigit():
        return float(spec.argv[1])
    return None


def _request(content: bytes) -> dict[str, Any] | None:
    """The content as a request of the runner contract, None when it is none."""
    try:
        found = json.loads(content)
    except ValueError:
        return None
    return found if isinstance(found, dict) and "contract" in found else None


def _stamps(told: Told) -> dict[str, float]:
    stamps = {}
    if (started := seconds(told.start)) is not None:
        stamps["started"] = started
    if told.last_t is not None and "started" in stamps:
        stamps["ended"] = told.last_t / 1e9
    return stamps


def _darwin(signal: int) -> int:
    """What is kept of an end is as the phone tells it."""
    return next((darwin for darwin, linux in deaths.DARWIN_SIGNALS.items() if linux == signal), signal)


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def _folder(key: str) -> str:
    return f"{JOBS}/{key}"


def _left(deadline: float) -> float:
    return max(deadline - time.monotonic(), 0.5)
