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


def identity(pid: int) -> list[int] | None:
    """[pid, start time in ticks since boot] of a process, which together name it for good; None when it is gone.

    Read from the kernel itself: a start time in wall-clock seconds moves when the clock is set.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == b"Z" else [pid, int(fields[19])]


def is_alive(who: Sequence[int] | None) -> bool:
    """Whether exactly that process still runs."""
    return who is not None and identity(who[0]) == list(who)


def end(processes: Sequence[Sequence[int]]) -> None:
    """Kill those of the recorded processes that still run, and wait until they are gone."""
    living = []
    for who in processes:
        try:
            process = psutil.Process(who[0])
            # Checked after psutil took hold of the process, which itself guards against a recycled pid.
            if is_alive(who):
                process.kill()
                living.append(process)
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
            f"the lab {content['name']!r} is up (process {content['supervisor'][0]})",
            advice=f"take it down first: farm lab down --name {content['name']}",
        )
    end(content["processes"])
    end_adb_servers(folder / "adb")
    state = Path(content["state"])
    remove(folder, state if state.name.startswith(f"farm-{os.getuid()}-") or state.is_relative_to(folder) else None)
    return True
