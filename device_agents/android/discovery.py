"""Every attached phone, usable or not, with what to do about it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from device_agents.android.adb import AdbServer, DeviceLine, endpoint_from, is_tcp_serial
from device_agents.android.explain import ADVICE
from device_agents.android.facts import FACTS_SCRIPT, facts_of, is_locked_since_boot
from device_agents.android.link import AdbLink
from device_agents.posix.link import LinkShell
from harness.errors import FarmError
from harness.model import AdbEndpoint, Attached, DeviceFacts, DeviceState, Platform

PROBE_S = 10.0
"""Limit of the one question to each phone; a loaded phone answers within 2 s."""

_MOST_AT_ONCE = 32

_STATES = {
    "device": DeviceState.READY,
    "unauthorized": DeviceState.UNAUTHORIZED,
    "offline": DeviceState.OFFLINE,
    "authorizing": DeviceState.OFFLINE,
    "connecting": DeviceState.OFFLINE,
    "recovery": DeviceState.RECOVERY,
    "sideload": DeviceState.RECOVERY,
    "rescue": DeviceState.RECOVERY,
    "bootloader": DeviceState.RECOVERY,
}
_ADVICE = {
    DeviceState.UNAUTHORIZED: ADVICE["unauthorized"],
    DeviceState.OFFLINE: ADVICE["offline"],
    DeviceState.NO_PERMISSIONS: ADVICE["no permissions"],
    DeviceState.RECOVERY: ADVICE["recovery"],
    DeviceState.UNRESPONSIVE: ADVICE["unresponsive"],
    DeviceState.LOCKED_SINCE_BOOT: ADVICE["locked_since_boot"],
}
_MDNS = re.compile(r"adb-(?P<serial>.+?)-[A-Za-z0-9]{6}(?: \(\d+\))?\._adb(?:-tls-connect)?\._tcp\.?")


@dataclass(frozen=True, slots=True)
class _Seen:
    line: DeviceLine
    state: DeviceState
    facts: DeviceFacts | None

    @property
    def over_network(self) -> bool:
        return is_tcp_serial(self.line.serial) or _MDNS.fullmatch(self.line.serial) is not None

    @property
    def identity(self) -> str:
        """The phone's own serial, as far as it can be known without asking it."""
        if self.facts is not None:
            return self.facts.identity
        match = _MDNS.fullmatch(self.line.serial)
        return match["serial"] if match else self.line.serial


def discover(endpoint: AdbEndpoint, *, probe_s: float = PROBE_S) -> tuple[Attached, ...]:
    """Every phone that the adb server at `endpoint` (or where adb's environment points) has attached.

    Args:
        endpoint: of the inventory. probe_s: limit in seconds for each phone's answer; all are asked at once.

    Raises:
        FarmError: there is no usable adb server.
    """
    return discover_at(AdbServer(endpoint_from(endpoint)), probe_s=probe_s)


def discover_at(server: AdbServer, *, probe_s: float = PROBE_S) -> tuple[Attached, ...]:
    """As `discover`, for a server that is known already."""
    server.ready()
    lines = server.devices()
    if not lines:
        return ()
    with ThreadPoolExecutor(max_workers=min(len(lines), _MOST_AT_ONCE)) as pool:
        seen = list(pool.map(lambda line: _probe(server, line, probe_s), lines))
    return merge(seen)


def merge(seen: Iterable[_Seen]) -> tuple[Attached, ...]:
    """One entry per phone: its transports joined by identity, the best one first."""
    groups: dict[str, list[_Seen]] = {}
    for each in seen:
        groups.setdefault(each.identity, []).append(each)
    return tuple(_attached(sorted(group, key=_preference)) for group in groups.values())


def ask_facts(link: AdbLink, *, limit_s: float) -> tuple[DeviceFacts, bool]:
    """Facts of a phone, and whether it is locked since it started; one round trip."""
    output = LinkShell(link).script(FACTS_SCRIPT, limit_s=limit_s).stdout
    return facts_of(output, link.name), is_locked_since_boot(output)


def ask_identity(link: AdbLink, *, limit_s: float) -> tuple[str, str]:
    """Serial number and build fingerprint, each "" where the phone hides it."""
    script = "getprop ro.serialno; getprop ro.build.fingerprint"
    answer = LinkShell(link).script(script, limit_s=limit_s).stdout.decode("utf-8", "replace").splitlines()
    serial, fingerprint, *_ = [*answer, "", ""]
    return serial.strip(), fingerprint.strip()


def _probe(server: AdbServer, line: DeviceLine, probe_s: float) -> _Seen:
    state = DeviceState.NO_PERMISSIONS if line.state.startswith("no perm") else _STATES.get(line.state)
    if state is not DeviceState.READY:
        return _Seen(line, state or DeviceState.UNKNOWN, None)
    try:
        facts, locked = ask_facts(AdbLink(server, line.serial), limit_s=probe_s)
    except FarmError:
        now = server.state(line.serial)
        return _Seen(line, DeviceState.UNRESPONSIVE if now == "device" else _STATES.get(now, DeviceState.OFFLINE), None)
    return _Seen(line, DeviceState.LOCKED_SINCE_BOOT if locked else DeviceState.READY, facts)


def _preference(seen: _Seen) -> tuple[bool, bool, bool]:
    """USB before Wi-Fi among those that work: it is faster and stays when the access point does not."""
    return (seen.facts is None, seen.state is not DeviceState.READY, seen.over_network)


def _attached(group: Sequence[_Seen]) -> Attached:
    best = group[0]
    advice = "" if best.state is DeviceState.READY else _ADVICE.get(best.state, _unknown(best.line.state))
    return Attached(
        platform=Platform.ANDROID,
        serial=best.line.serial,
        transports=tuple(each.line.serial for each in group),
        state=best.state,
        advice=advice,
        facts=best.facts,
        over_network=best.over_network,
    )


def _unknown(state: str) -> str:
    return f"adb shows it as {state!r}: unplug it and plug it in again"
