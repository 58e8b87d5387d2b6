"""One iPhone as the parts of its agent share it: its worker, its app, and where this host keeps what belongs to it."""

from __future__ import annotations

import base64
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from device_agents.base import Progress
from device_agents.ios.muxer import VARIABLE, muxer_address
from device_agents.ios.supervised import COMMAND, Supervised
from harness.cache import cache_dir
from harness.model import Lab

BUNDLE = "org.farmbench.runner"
"""The app of docs/ios.md, for as long as no runner of the inventory names another one."""

EXECUTABLES = ("FarmRunner", "farm-runner")
"""Programs of apps that are taken for farm's own when a phone is cleaned."""

ROOT = "farm"
"""Folder in the app's Documents below which everything of farm lies."""

MODELS, JOBS = f"{ROOT}/models", f"{ROOT}/jobs"


def is_ours(app: Mapping[str, str]) -> bool:
    """Whether an installed app is taken for farm's."""
    return app.get("executable") in EXECUTABLES


class Phone:
    """Args: udid: as the muxer gives it. lab: for the addresses of muxer and tunneld. command: starts the worker."""

    def __init__(self, udid: str, lab: Lab, *, command: tuple[str, ...] = COMMAND) -> None:
        self.udid = udid
        self.bundle = BUNDLE
        self.muxer = muxer_address(lab.usbmux)
        self.here = cache_dir() / "ios" / re.sub(r"[^A-Za-z0-9-]", "_", udid)
        records = cache_dir() / "ios" / "pairing"
        records.mkdir(parents=True, exist_ok=True)
        settings = {"udid": udid, "tunneld": lab.tunneld or "", "records": str(records)}
        self.worker = Supervised(udid, settings, environment={VARIABLE: self.muxer}, command=command)

    def ask(
        self,
        name: str,
        *,
        limit_s: float,
        doing: str = "",
        progress: Progress | None = None,
        watch: Callable[[], None] | None = None,
        **arguments: Any,
    ) -> Any:
        """A call of the worker, see `Supervised.call`."""
        return self.worker.call(name, limit_s=limit_s, doing=doing, progress=progress, watch=watch, **arguments)

    def apps(self, *, limit_s: float) -> Mapping[str, Mapping[str, str]]:
        """Installed apps of the user: bundle → executable, version, build, path."""
        found: Mapping[str, Mapping[str, str]] = self.ask("apps", limit_s=limit_s, doing="listing its apps")
        return found

    def bundles(self, *, limit_s: float) -> tuple[str, ...]:
        """Installed apps of farm, the one that is used first."""
        apps = self.apps(limit_s=limit_s)
        ours = [name for name, app in apps.items() if name == self.bundle or is_ours(app)]
        return tuple(sorted(ours, key=lambda name: name != self.bundle))

    def stat(self, path: str, *, limit_s: float, bundle: str = "") -> Mapping[str, Any] | None:
        """size, mtime and folder of a path in the app's Documents; None where there is nothing."""
        found: Mapping[str, Any] | None = self.ask(
            "stat", area=bundle or self.bundle, path=path, limit_s=limit_s, doing=f"looking at {path}"
        )
        return found

    def listing(self, path: str, *, limit_s: float, bundle: str = "") -> Mapping[str, Mapping[str, Any]]:
        found: Mapping[str, Mapping[str, Any]] = self.ask(
            "listing", area=bundle or self.bundle, path=path, limit_s=limit_s, doing=f"listing {path}"
        )
        return found

    def remove(self, path: str, *, limit_s: float, bundle: str = "") -> None:
        self.ask("remove", area=bundle or self.bundle, path=path, limit_s=limit_s, doing=f"removing {path}")

    def write(self, path: str, content: bytes, *, limit_s: float, bundle: str = "") -> None:
        """Write a small file into a folder that exists."""
        text = base64.b64encode(content).decode()
        self.ask("write", area=bundle or self.bundle, path=path, content=text, limit_s=limit_s, doing=f"writing {path}")

    def fetch(self, path: str, *, most: int, limit_s: float, bundle: str = "") -> bytes:
        """The content of a file, up to `most` bytes; b"" where there is none."""
        if self.stat(path, limit_s=limit_s, bundle=bundle) is None:
            return b""
        with tempfile.TemporaryDirectory() as folder:
            into = Path(folder, "fetched")
            self.fetch_to(path, into, most=most, limit_s=limit_s, bundle=bundle)
            return into.read_bytes()

    def fetch_to(self, path: str, into: Path, *, most: int, limit_s: float, bundle: str = "") -> None:
        self.ask(
            "pull",
            area=bundle or self.bundle,
            path=path,
            into=str(into.absolute()),
            most=most,
            limit_s=limit_s,
            doing=f"fetching {path}",
        )

    def launch(
        self,
        key: str,
        arguments: Sequence[str],
        *,
        run_s: float,
        sampled: bool,
        limit_s: float,
        bundle: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> int:
        """Start the app for a job, which is ended after `run_s` seconds; returns its pid."""
        pid = self.ask(
            "launch",
            key=key,
            bundle=bundle or self.bundle,
            arguments=list(arguments),
            environment=dict(environment or {}),
            folder=str(self.job_folder(key)),
            run_s=run_s,
            sampled=sampled,
            limit_s=limit_s,
            doing="launching the app",
        )
        return int(pid)

    def job(
        self,
        key: str,
        pid: int,
        *,
        run_s: float,
        sampled: bool,
        wait_s: float,
        limit_s: float,
        bundle: str = "",
        watch: Callable[[], None] | None = None,
    ) -> Mapping[str, Any]:
        """How a launched job stands, see `PhoneService.job`."""
        found: Mapping[str, Any] = self.ask(
            "job",
            key=key,
            bundle=bundle or self.bundle,
            pid=pid,
            folder=str(self.job_folder(key)),
            run_s=run_s,
            wait_s=wait_s,
            sampled=sampled,
            limit_s=limit_s,
            watch=watch,
            doing="following the app",
        )
        return found

    def job_folder(self, key: str) -> Path:
        """Folder of this host with what is kept of a job."""
        return self.here / "jobs" / key

    def forget_jobs(self) -> None:
        """Remove what this host has kept of jobs."""
        shutil.rmtree(self.here / "jobs", ignore_errors=True)

    def close(self) -> None:
        self.worker.close()
