"""Power of USB ports by uhubctl: the only way to plug a phone out and in without a hand."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from device_agents import ports_off
from harness.errors import ErrorClass, FarmError, Permanent, Transient
from harness.model import UsbPort

Run = Callable[[Sequence[str], float], tuple[int, str]]
"""Runs a command line within a limit in seconds: exit code, and what it printed on both streams."""

OFF_S = 3.0
"""A phone needs about two seconds without VBUS to see that it was unplugged."""

ON_S = 20.0
"""Limit for switching a port on again after somebody else's end."""

_ON_TRIES = 3
_LATE_S = 120.0
"""How much later than planned a port may be on again."""

_HUB = re.compile(r"(?P<when>Current|New) status for hub (?P<hub>\S+) \[(?P<about>[^\]]*)\]")
_PORT = re.compile(r"\s+Port (?P<port>\d+): (?P<bits>[0-9a-f]{4})(?P<words>[^\[]*)(?:\[(?P<device>[^\]]*)\])?")


@dataclass(frozen=True, slots=True)
class PortStatus:
    """One port as uhubctl shows it: `words` such as "power", "off", "connect"; `device` is what is plugged in."""

    hub: str
    port: int
    words: frozenset[str]
    device: str
    after: bool

    @property
    def powered(self) -> bool:
        return "power" in self.words and "off" not in self.words


def parse_uhubctl(text: str) -> tuple[PortStatus, ...]:
    """The ports in the output of uhubctl; `after` marks those under "New status"."""
    found = []
    hub, after = "", False
    for line in text.splitlines():
        if match := _HUB.match(line):
            hub, after = match["hub"], match["when"] == "New"
        elif hub and (match := _PORT.match(line)):
            words = frozenset(match["words"].split())
            found.append(PortStatus(hub, int(match["port"]), words, (match["device"] or "").strip(), after))
    return tuple(found)


def switchable(port: UsbPort, run: Run | None = None) -> str:
    """Why the port cannot be switched, or ""."""
    if run is None and shutil.which("uhubctl") is None:
        return "uhubctl is not installed"
    code, text = (run or _run)(("uhubctl", "-l", port.hub, "-p", str(port.port)), 10.0)
    if not any(status.hub == port.hub and status.port == port.port for status in parse_uhubctl(text)):
        return f"uhubctl shows no port {port.port} on hub {port.hub} (exit code {code}): {_short(text)}"
    return ""


def switch(
    port: UsbPort,
    on: bool,
    *,
    limit_s: float,
    off_s: float = OFF_S,
    held_pct: float | None = None,
    run: Run | None = None,
) -> None:
    """Switch the power of a port, and verify it by what the hub then says.

    That the hub says "off" does not prove that VBUS is off (some hubs only pretend): whether the phone noticed shows
    on the phone. What is off is written down (`ports_off`) until it is on again.

    Args:
        off_s: how long it is meant to stay off. held_pct: it is off to hold its phone's charge, see PortOff.

    Raises:
        Permanent: uhubctl is absent or may not open the hub. Transient: the port did not change.
    """
    if not on:
        ports_off.note(port, off_s=off_s + _LATE_S, held_pct=held_pct)
        _switch(port, False, limit_s, run)
        return
    for left in reversed(range(_ON_TRIES)):
        try:
            _switch(port, True, limit_s, run)
            break
        except Transient:
            # A hub that is busy with another port; nobody else will give this phone its power.
            if not left:
                raise
    ports_off.forget(port)


def switch_on_left(run: Run | None = None) -> tuple[tuple[UsbPort, str], ...]:
    """Switch on every port that a farm which was killed has left off.

    Returns: each of them, with "" or the reason why it could not be done.
    """
    done = []
    for entry in ports_off.left_off():
        try:
            switch(entry.port, True, limit_s=ON_S, run=run)
            done.append((entry.port, ""))
        except FarmError as error:
            done.append((entry.port, error.message))
    return tuple(done)


def _switch(port: UsbPort, on: bool, limit_s: float, run: Run | None) -> None:
    action = "on" if on else "off"
    code, text = (run or _run)(("uhubctl", "-l", port.hub, "-p", str(port.port), "-a", action), limit_s)
    states = [status for status in parse_uhubctl(text) if status.hub == port.hub and status.port == port.port]
    now = [status for status in states if status.after] or states
    if not now:
        raise Permanent(
            f"USB port {port.port} of hub {port.hub} cannot be switched (uhubctl ended with {code}): {_short(text)}",
            error_class=ErrorClass.SETTING_DENIED,
            advice="check `usb` of the device in the inventory against `uhubctl`, and the udev rule for the hub",
        )
    if now[-1].powered is not on:
        raise Transient(
            f"USB port {port.port} of hub {port.hub} did not switch {action}: {' '.join(sorted(now[-1].words))}",
            error_class=ErrorClass.SETTING_DENIED,
            advice="use a hub whose ports can be switched one by one",
        )


def cycle(port: UsbPort, *, limit_s: float, off_s: float = OFF_S, run: Run | None = None) -> None:
    """Switch a port off and on again; it is on afterwards also when the wait is interrupted."""
    try:
        switch(port, False, limit_s=limit_s, off_s=off_s, run=run)
        threading.Event().wait(off_s)
    finally:
        switch(port, True, limit_s=limit_s, run=run)


def environment_tools() -> Mapping[str, str | None]:
    """Where the tools for USB power are, None where absent."""
    return {"uhubctl": shutil.which("uhubctl")}


def _run(argv: Sequence[str], limit_s: float) -> tuple[int, str]:
    try:
        done = subprocess.run(
            list(argv), stdin=subprocess.DEVNULL, capture_output=True, timeout=limit_s, check=False, text=True
        )
    except FileNotFoundError:
        return 127, "uhubctl is not installed"
    except subprocess.TimeoutExpired:
        return 124, f"no end within {limit_s:g} s"
    return done.returncode, done.stdout + done.stderr


def _short(text: str) -> str:
    return " ".join(text.split())[-200:] or "no message"
