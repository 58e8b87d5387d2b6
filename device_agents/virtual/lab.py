"""`Lab`: start virtual phones, look at them, harm them on purpose, and take them down."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import device_agents
from device_agents.virtual import adbserver, debian, profiles, record
from device_agents.virtual.errors import LabError, LabUnsupported
from device_agents.virtual.faults import Faults
from device_agents.virtual.iphone import trust
from device_agents.virtual.iphone.lab import IphoneLab, IphoneLabInfo, IphoneWish
from device_agents.virtual.lab_info import LabInfo, LabPhone
from device_agents.virtual.preflight import preflight
from device_agents.virtual.rootfs import ensure_rootfs
from device_agents.virtual.wishes import BEHAVIOURS, PhoneWish, Wish, named, parse_wish, wishes
from harness.cache import cache_dir

__all__ = [
    "BEHAVIOURS",
    "Lab",
    "LabInfo",
    "LabPhone",
    "PhoneWish",
    "Wish",
    "all_labs",
    "parse_wish",
    "wishes",
]

CLAIMED = "claimed"
"""Phase of a lab whose caller has its name and whose supervisor has not written yet."""

UP_LIMIT_S = 90.0
DOWN_LIMIT_S = 20.0
LABS = "labs"
IPHONE_LABS = "iphone-labs"
"""Folders of running labs in the cache folder; on disk, because the phones' storage lives there. The iPhones of a lab
have a process and a folder of their own: they need nothing of what the other phones need."""

ORDER_LIMIT_S = 10.0


class Lab(Faults):
    """A lab by its name; it lives in processes of its own, so that any process of this user may use it.

    Faults of its Android phones are methods of the lab itself, of iPhones: `iphones.order(NAME, PHONE)`.
    """

    def __init__(self, name: str = "default", *, folder: Path | None = None) -> None:
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,40}", name):
            raise LabError(f"{name!r} cannot be the name of a lab", advice="use letters, digits, '.', '_' and '-'")
        super().__init__(self._hand_over)
        self.name = name
        self.folder = folder or cache_dir() / LABS / name
        self._iphone_folder = cache_dir() / IPHONE_LABS / name
        self.iphones = IphoneLab(self._iphone_folder)

    # --- up, status, down ---------------------------------------------------------------------------------------------

    def up(self, phones: Sequence[Wish], *, die_with: int | None = None) -> LabInfo:
        """Start the lab; returns when every phone answers a shell, and every iPhone trusts this host.

        Args:
            phones: what to start.
            die_with: pid of a process with which the lab goes down by itself.

        Raises:
            LabUnsupported: this machine cannot run virtual phones.
            LabError: the lab is up already, or did not come up.
        """
        if not phones:
            raise LabError("a lab needs at least one phone", advice="ask for --phones 1 or more")
        androids = [wish for wish in phones if isinstance(wish, PhoneWish)]
        iphones = [wish for wish in phones if isinstance(wish, IphoneWish)]
        if self.iphones.is_up() or (not androids and self._living() is not None):
            raise LabError(
                f"the lab {self.name!r} is up", advice=f"take it down first: farm lab down --name {self.name}"
            )
        owner = die_with
        if androids:
            owner = self._up_androids(androids, die_with).pid
        try:
            if iphones:
                self._up_iphones(iphones, owner)
            return self.info()
        except BaseException:
            self.down()
            raise

    def _up_iphones(self, phones: Sequence[IphoneWish], owner: int | None) -> None:
        with debian.locked(self._iphone_folder.with_name(f".{self.name}.lock")):
            trust.up(self.iphones, self._iphone_folder / "client-records", phones, die_with=owner)

    def _up_androids(self, phones: Sequence[PhoneWish], die_with: int | None) -> LabInfo:
        reason = preflight()
        if reason:
            raise LabUnsupported(reason, advice="use this machine itself as a device (platform: local)")
        root = ensure_rootfs()
        with debian.locked(cache_dir() / "labs.lock"):
            record.clean_stale(self.folder)
            self.folder.mkdir(parents=True)
            state = self._claim()
        config = {
            "name": self.name,
            "state": str(state),
            "root": str(root),
            "owner": record.identity(die_with) if die_with else None,
            "phones": named(phones, self.name),
        }
        (self.folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
        try:
            return self._launch()
        except BaseException:
            self._down_androids()
            raise

    def _claim(self) -> Path:
        """Make the lab's name ours until its supervisor takes over; returns the folder for its state."""
        state = _state_folder(self.folder)
        record.Record(self.folder).write(
            {
                "phase": CLAIMED,
                "name": self.name,
                "state": str(state),
                "supervisor": record.identity(os.getpid()),
                "processes": [],
            }
        )
        return state

    def _launch(self) -> LabInfo:
        parent = str(Path(device_agents.__file__).parent.parent)
        path = os.pathsep.join([parent, *filter(None, [os.environ.get("PYTHONPATH")])])
        with (self.folder / "lab.log").open("ab") as log:
            started = subprocess.Popen(
                [sys.executable, "-m", "device_agents.virtual.supervisor", str(self.folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
                env={**os.environ, "PYTHONPATH": path},
            )
        # Reaped when it ends, so that it does not stay as a zombie of a long-lived caller.
        threading.Thread(target=started.wait, daemon=True).start()
        try:
            return self._await_ready(started)
        except BaseException:
            # Asked nicely, it takes its phones down by itself; killed, it takes them along.
            started.terminate()
            if not _ends_within(started, DOWN_LIMIT_S):
                started.kill()
            raise

    def _await_ready(self, started: subprocess.Popen[bytes]) -> LabInfo:
        deadline, tick = time.monotonic() + UP_LIMIT_S, threading.Event()
        while time.monotonic() < deadline:
            content = record.Record(self.folder).read()
            if content is not None and content["phase"] == "ready":
                return self._info(content)
            if started.poll() is not None:
                break
            tick.wait(0.02)
        content = record.Record(self.folder).read() or {}
        reason = content.get("reason") or self._last_words() or "the supervisor ended without a word"
        raise LabError(f"the lab did not come up: {reason}")

    def _last_words(self) -> str:
        try:
            lines = (self.folder / "lab.log").read_text(encoding="utf-8", errors="replace").split("\n")
        except OSError:
            return ""
        return next((line for line in reversed(lines) if line.strip()), "")

    def status(self) -> LabInfo | None:
        """The running lab with what its phones are doing, or None."""
        content, iphones = self._living(), self.iphones.status() if self.iphones.is_up() else None
        if content is None:
            return self._info_of_iphones(iphones) if iphones is not None else None
        try:
            answer = self._order(op="status")
        except LabError:
            # A lab that is ending right now still has a process for a moment.
            threading.Event().wait(0.3)
            if self._living() is None:
                return None
            raise
        return self._info({**content, "phones": answer["phones"]}, iphones)

    def info(self) -> LabInfo:
        """The running lab, without asking it.

        Raises:
            LabError: it is not up.
        """
        content, iphones = self._living(), self.iphones.info() if self.iphones.is_up() else None
        if content is not None:
            return self._info(content, iphones)
        if iphones is not None:
            return self._info_of_iphones(iphones)
        raise LabError(f"the lab {self.name!r} is not up", advice="farm lab up")

    def down(self) -> bool:
        """Take it down, or clean up after one that was killed; False when there was nothing."""
        there = self._iphone_folder.is_dir()
        self.iphones.down()
        return self._down_androids() or there

    def _down_androids(self) -> bool:
        content = record.Record(self.folder).read()
        if content is not None and content["phase"] == CLAIMED and record.is_alive(content["supervisor"]):
            if content["supervisor"][0] != os.getpid():
                raise LabError(f"the lab {self.name!r} is just being started", advice="try again in some seconds")
            record.remove(self.folder, Path(content["state"]))
            return True
        if content is not None and record.is_alive(content["supervisor"]):
            who = content["supervisor"]
            try:
                self._order(op="down")
            except LabError:
                record.end([who])
            deadline, tick = time.monotonic() + DOWN_LIMIT_S, threading.Event()
            while record.is_alive(who) and time.monotonic() < deadline:
                tick.wait(0.02)
            record.end([who])
            # Only now is the port surely this lab's: later another lab may have it.
            adbserver.end(int(content["adb_port"]))
            record.clean_stale(self.folder)
            return True
        return record.clean_stale(self.folder)

    def _living(self) -> dict[str, Any] | None:
        content = record.Record(self.folder).read()
        if content is None or content["phase"] != "ready" or not record.is_alive(content["supervisor"]):
            return None
        return content

    def _hand_over(self, **order: Any) -> Any:
        content = self._living()
        if content is None:
            raise LabError(f"the lab {self.name!r} is not up", advice="farm lab up")
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
                link.settimeout(ORDER_LIMIT_S)
                link.connect(str(Path(content["state"]) / "control"))
                link.sendall(json.dumps(order).encode() + b"\n")
                with link.makefile("rb") as answers:
                    answer = json.loads(answers.readline() or b"{}")
        except (OSError, json.JSONDecodeError) as wrong:
            raise LabError(
                f"the lab {self.name!r} does not answer: {wrong}", advice="farm lab down, then up"
            ) from wrong
        if not answer.get("ok"):
            raise LabError(answer.get("message", "the lab ended"), device=answer.get("device", ""))
        return answer["result"]

    def _info(self, content: Mapping[str, Any], iphones: IphoneLabInfo | None = None) -> LabInfo:
        port = int(content["adb_port"])
        env = adbserver.environment(port, self.folder / "adb")
        return LabInfo(
            name=self.name,
            folder=self.folder,
            pid=int(content["supervisor"][0]),
            adb_port=port,
            phones=tuple(self._phone(entry) for entry in content["phones"]),
            env={**env, **iphones.env} if iphones is not None else env,
            iphones=iphones.phones if iphones is not None else (),
            usbmux=iphones.usbmux if iphones is not None else "",
            tunneld=iphones.tunneld if iphones is not None else "",
        )

    def _info_of_iphones(self, info: IphoneLabInfo) -> LabInfo:
        """A lab that has no other phones."""
        return LabInfo(
            self.name, self._iphone_folder, info.pid, 0, (), info.env, info.phones, info.usbmux, info.tunneld
        )

    def _phone(self, entry: Mapping[str, Any]) -> LabPhone:
        profile = profiles.load(entry["profile"])
        serials = tuple(f"127.0.0.1:{port}" for port in entry["ports"])
        readings = ("battery_level", "temperature_c", "skin_c", "cap", "load", "charger")
        return LabPhone(
            id=entry["id"],
            serial=entry["serial"],
            adb_serial=serials[0],
            adb_serials=serials,
            profile=profile.id,
            title=profile.title,
            model=profile.model,
            tier=profile.tier,
            behaviours=frozenset(entry["behaviours"]),
            pid=entry["pid"],
            truth=self.folder / "phones" / entry["id"] / "truth.jsonl",
            plugged=entry["plugged"],
            running=entry["running"],
            readings={key: entry[key] for key in readings if key in entry},
        )


def _ends_within(process: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _state_folder(folder: Path) -> Path:
    """Where the simulator writes ten times a second: memory where there is some, else the lab's folder."""
    memory = Path("/dev/shm")
    if memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 32 << 20:
        return memory / f"farm-{os.getuid()}-{secrets.token_hex(4)}"
    return folder / "state"


def all_labs() -> list[Lab]:
    """Every lab of this user that has a folder, running or left behind."""
    parents = [parent for name in (LABS, IPHONE_LABS) if (parent := cache_dir() / name).is_dir()]
    return [
        Lab(name) for name in sorted({entry.name for each in parents for entry in each.iterdir() if entry.is_dir()})
    ]
