"""What a lab writes down about itself, so that whoever comes next can tell whether it lives and clean up after it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from device_agents.virtual.errors import LabError

NAME = "lab.json"
_END_LIMIT_S = 5.0


class Record:
    """The file `lab.json` of a lab's folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME

    def write(self, content: dict[str, Any]) -> None:
        temporary = self._path.with_suffix(".new")
        try:
            temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
            temporary.replace(self._path)
        except FileNotFoundError:
            # The folder is gone: somebody took the lab down already.
            return

    def read(self) -> dict[str, Any] | None:
        """Its content; None when there is no lab here."""
        try:
            content: dict[str, Any] = json.loads(self._path.read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        return content


def identity(pid: int) -> list[float] | None:
    """[pid, start time] of a process, which together name it for good; None when it is gone."""
    try:
        return [pid, psutil.Process(pid).create_time()]
    except psutil.NoSuchProcess:
        return None


def is_alive(who: Sequence[float] | None) -> bool:
    """Whether exactly that process still runs."""
    if not who:
        return False
    try:
        process = psutil.Process(int(who[0]))
        return abs(process.create_time() - who[1]) < 0.05 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def end(processes: Sequence[Sequence[float]]) -> None:
    """Kill those of the recorded processes that still run, and wait until they are gone."""
    living = [psutil.Process(int(who[0])) for who in processes if is_alive(who)]
    for process in living:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(living, timeout=_END_LIMIT_S)


def end_adb_servers(home: Path) -> None:
    """Kill every adb server that runs on this lab's keys, whoever started it."""
    ours = []
    for process in psutil.process_iter(["name"]):
        try:
            if process.info["name"] == "adb" and process.environ().get("ANDROID_USER_HOME") == str(home):
                process.kill()
                ours.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    psutil.wait_procs(ours, timeout=_END_LIMIT_S)


def remove(folder: Path, state: Path | None) -> None:
    """Delete a lab's files."""
    for leftover in (state, folder):
        if leftover is not None:
            shutil.rmtree(leftover, ignore_errors=True)


def clean_stale(folder: Path) -> bool:
    """Clean up after a lab whose supervisor is gone; True when there was something to clean.

    Raises:
        LabError: the lab is alive.
    """
    content = Record(folder).read()
    if content is None:
        if folder.exists():
            end_adb_servers(folder / "adb")
            remove(folder, None)
            return True
        return False
    if is_alive(content["supervisor"]):
        raise LabError(
            f"the lab {content['name']!r} is up (process {int(content['supervisor'][0])})",
            advice=f"take it down first: farm lab down --name {content['name']}",
        )
    end(content["processes"])
    end_adb_servers(folder / "adb")
    state = Path(content["state"])
    remove(folder, state if state.name.startswith(f"farm-{os.getuid()}-") or state.is_relative_to(folder) else None)
    return True
