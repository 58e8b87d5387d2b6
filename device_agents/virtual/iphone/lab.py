"""`IphoneLab`: start virtual iPhones, look at them, harm them on purpose, and take them down."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import device_agents
from device_agents.virtual import record
from device_agents.virtual.errors import LabError
from device_agents.virtual.iphone import profiles

BEHAVIOURS: Mapping[str, str] = {
    "not_paired": "trusts no host",
    "trust_pending": "its dialog about trust is not answered",
    "trust_refused": "its owner does not trust this host",
    "locked": "locked with a passcode",
    "locked_since_boot": "restarted and not unlocked since",
    "developer_mode_off": "developer mode is off",
    "no_image": "no developer image is mounted",
    "image_needs_network": "none is mounted, and it cannot be fetched",
    "no_tunnel": "no tunnel to its developer services (iOS 17.4 and later)",
    "dvt_refused": "its developer services refuse",
    "dvt_hang": "its developer services never answer",
    "sysmontap_empty": "its system monitor tells nothing",
    "afc_stall": "files do not get through",
    "storage_full": "no further byte fits in",
}
"""What a phone may be like from the start: orders of `control.py` that need no more words."""

UP_LIMIT_S = 60.0
ORDER_LIMIT_S = 20.0
_DOWN_LIMIT_S = 10.0
_LOOK_S = 0.02
_PACKAGES = str(Path(device_agents.__file__).parent.parent)


@dataclass(frozen=True, slots=True)
class IphoneWish:
    """An iPhone to start.

    Args:
        profile: id of a shipped profile, perhaps with a version of iOS: "iphone-14@16".
        faults: orders carried out before it is plugged in, such as "locked" or "developer_mode_off".
        apps: packages (.ipa) that are installed already.
        udid: made from the lab and the id when empty.
        id: name in the lab; made from the profile when empty.
    """

    profile: str
    faults: tuple[str, ...] = ()
    apps: tuple[Path, ...] = ()
    udid: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True)
class IphoneInfo:
    """A running iPhone.

    Args:
        folder: its storage and truth on this machine.
        plugged, behaviours, readings: as it was when the lab was asked for its status.
    """

    id: str
    udid: str
    profile: str
    title: str
    ios: str
    folder: Path
    plugged: bool = True
    behaviours: tuple[str, ...] = ()
    readings: Mapping[str, float | str] = field(default_factory=dict)

    @property
    def tier(self) -> str:
        return profiles.load(self.profile).tier

    @property
    def truth(self) -> Path:
        return self.folder / "truth.jsonl"


@dataclass(frozen=True, slots=True)
class IphoneLabInfo:
    """A lab that is up. Args: usbmux: host:port of its muxer; tunneld: of its tunneld, "" without one."""

    usbmux: str
    tunneld: str
    pid: int
    phones: tuple[IphoneInfo, ...]

    @property
    def env(self) -> dict[str, str]:
        """The environment in which every client of usbmuxd sees this lab and nothing else."""
        return {"USBMUXD_SOCKET_ADDRESS": self.usbmux}

    def phone(self, phone_id: str) -> IphoneInfo:
        """The phone of that id or UDID.

        Raises:
            LabError: there is none.
        """
        for known in self.phones:
            if phone_id in (known.id, known.udid):
                return known
        raise LabError(f"no iPhone {phone_id!r} in this lab", device=phone_id)


class IphoneLab:
    """The iPhones of one lab, kept in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def up(self, wishes: Sequence[IphoneWish], *, die_with: int | None = None) -> IphoneLabInfo:
        """Start the phones; returns when clients can connect.

        Args:
            die_with: process with which they end, None for none.

        Raises:
            LabError: they do not start.
        """
        self._clean_stale()
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        config = {"phones": _named(wishes, self._folder), "owner": record.identity(die_with) if die_with else None}
        (self._folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
        inherited = os.environ.get("PYTHONPATH", "")
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "device_agents.virtual.iphone.serve", str(self._folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(part for part in (_PACKAGES, inherited) if part)},
            )
        deadline = time.monotonic() + UP_LIMIT_S
        while self._ready() is None:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise LabError(f"the virtual iPhones did not start: {self._last_words()}", advice=str(self._folder))
            time.sleep(_LOOK_S)
        return self.info()

    def _ready(self) -> dict[str, Any] | None:
        try:
            content: dict[str, Any] = json.loads((self._folder / "ready.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return content if record.is_alive(content["process"]) else None

    def _last_words(self) -> str:
        try:
            return str(json.loads((self._folder / "failed.json").read_text(encoding="utf-8"))["reason"])
        except (OSError, ValueError, KeyError):
            lines = (self._folder / "server.log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
            return lines[-1] if lines else f"not ready within {UP_LIMIT_S:.0f} s"

    def info(self) -> IphoneLabInfo:
        """The running lab.

        Raises:
            LabError: it does not run.
        """
        content = self._living()
        fields = ("id", "udid", "profile", "title", "ios")
        phones = tuple(
            IphoneInfo(**{name: entry[name] for name in fields}, folder=Path(entry["folder"]))
            for entry in content["phones"]
        )
        return IphoneLabInfo(content["usbmux"], content["tunneld"] or "", content["pid"], phones)

    def is_up(self) -> bool:
        return self._ready() is not None

    def status(self) -> IphoneLabInfo:
        """The running lab with what its phones are doing.

        Raises:
            LabError: it does not run, or does not answer.
        """
        info = self.info()
        seen = {entry["udid"]: entry for entry in self.order("status")}
        return replace(info, phones=tuple(_as_seen(phone, seen[phone.udid]) for phone in info.phones))

    def _living(self) -> dict[str, Any]:
        content = self._ready()
        if content is None:
            raise LabError("the virtual iPhones are not up", advice=str(self._folder))
        return content

    def order(self, name: str, phone: str = "", *, limit_s: float = ORDER_LIMIT_S, **values: Any) -> Any:
        """Give an order (`control.py` has them) to a phone, named by its id or UDID; returns its result.

        Raises:
            LabError: it was not carried out.
        """
        content = self._living()
        udid = self.info().phone(phone).udid if phone else ""
        request = json.dumps({"order": name, "udid": udid, **values}).encode() + b"\n"
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
                link.settimeout(limit_s)
                link.connect(content["control"])
                link.sendall(request)
                with link.makefile("rb") as answers:
                    line = answers.readline()
            answer = json.loads(line)
        except (OSError, ValueError) as wrong:
            raise LabError(f"the order {name!r} was not answered: {wrong}", device=phone) from wrong
        if not answer["ok"]:
            raise LabError(answer["message"], advice=answer["advice"], device=answer["device"])
        return answer["result"]

    def down(self) -> bool:
        """End the phones and remove their folder; False when none ran."""
        content = self._ready()
        if content is not None:
            os.kill(content["pid"], signal.SIGTERM)
            deadline = time.monotonic() + _DOWN_LIMIT_S
            while record.is_alive(content["process"]) and time.monotonic() < deadline:
                if self._process is not None:
                    self._process.poll()
                time.sleep(_LOOK_S)
            record.end([content["process"]])
        if self._process is not None:
            self._process.wait()
            self._process = None
        shutil.rmtree(self._folder, ignore_errors=True)
        return content is not None

    def _clean_stale(self) -> None:
        """Raises:
        LabError: the lab is up.
        """
        if self._ready() is not None:
            raise LabError("the virtual iPhones of this folder are up already", advice="take them down first")
        shutil.rmtree(self._folder, ignore_errors=True)


def _as_seen(phone: IphoneInfo, seen: Mapping[str, Any]) -> IphoneInfo:
    readings = {name: seen[name] for name in ("battery_level", "skin_c", "thermal_state", "cap", "load", "charger")}
    return replace(phone, plugged=seen["plugged"], behaviours=tuple(seen["faults"]), readings=readings)


def _named(wishes: Sequence[IphoneWish], folder: Path) -> list[dict[str, Any]]:
    """The wishes with an id and a UDID each, as the server takes them."""
    taken: set[str] = set()
    named = []
    for wish in wishes:
        profile = profiles.load(wish.profile)
        base = wish.id or wish.profile.partition("@")[0]
        numbered = (base if number == 1 else f"{base}-{number}" for number in range(1, len(wishes) + 2))
        chosen = next(name for name in numbered if name not in taken)
        taken.add(chosen)
        named.append(
            {
                "id": chosen,
                "udid": wish.udid or make_udid(profile.chip_id, f"{folder.name}/{chosen}"),
                "profile": wish.profile,
                "faults": list(wish.faults),
                "apps": [str(package) for package in wish.apps],
            }
        )
    return named


def make_udid(chip_id: int, seed: str) -> str:
    """A UDID of today's form, the same for the same seed."""
    ecid = int.from_bytes(hashlib.sha256(seed.encode("utf-8", "replace")).digest()[:7], "big")
    return f"{chip_id:08X}-{ecid:016X}"
