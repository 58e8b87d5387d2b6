"""Taking a phone off its power and giving it back, verified by what the phone itself says.

That a hub says "off" proves nothing: some only pretend, and the inventory may name another phone's port. Over USB the
link goes with the power, so the phone keeps a record meanwhile and tells afterwards.
"""

from __future__ import annotations

import math
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from device_agents import power
from device_agents.base import DeviceAgent, JobHandle, JobSpec, Sampling
from harness.errors import ErrorClass, FarmError, Permanent, Transient
from harness.model import Measured, Platform, Reading, Trace, Unavailable, UsbPort

ReadPower = Callable[[float], Reading]
"""Asks the phone within a limit in seconds whether external power is attached: 1 or 0, or unavailable.

Raises FarmError when the phone cannot be reached.
"""

NOTICE_S = 15.0
"""A phone reports a change of power within some seconds; its battery service may be slow under load."""

BACK_S = 60.0
"""A phone whose cable comes back is listed by adb again within some seconds, on a slow hub within half a minute."""

RECORD_S = 8.0
"""How long the phone stays off its power while it keeps a record: it looks once a second."""

AWAY_S = 7200.0
"""How long a phone stays off its power where nobody says: the idle baseline and the run of a battery workload."""

_AFTER_S = 8
"""How long the record goes on after the power is back, so that it shows that, too."""

_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class PowerCut:
    """How it is known that a phone is off its power.

    Args:
        by: "phone" (its own reading says so) or "record" (the link went with the power; the samples of the run have to
            show it).
        text: in words.
    """

    by: Literal["phone", "record"]
    text: str


class ChargingControl(Protocol):
    def impossible(self) -> str:
        """Why this phone cannot be taken off its power from here, or ""."""

    def off(self, *, limit_s: float, away_s: float = AWAY_S) -> PowerCut:
        """Take the phone off external power, for `away_s` seconds at most.

        Raises FarmError when it still is on it; then the power is on again.
        """

    def on(self, *, limit_s: float) -> None:
        """Give the power back; fine when it is on. Raises FarmError when it did not come back."""


class HubCharging:
    """`ChargingControl` by a hub port.

    Args:
        port: the port that the inventory names for the phone.
        read_power: asks the phone.
        run: runs uhubctl; None: the one that is installed.
        notice_s: how long the phone may take to notice.
        gone_s: a link that was lost for so long has gone with the power; None: as long as `notice_s`.
        held_pct: the port is switched off to hold the charge of its phone, which stands at so many percent.
    """

    def __init__(
        self,
        port: UsbPort,
        read_power: ReadPower,
        *,
        run: power.Run | None = None,
        notice_s: float = NOTICE_S,
        gone_s: float | None = None,
        held_pct: float | None = None,
    ) -> None:
        self._port = port
        self._read = read_power
        self._run = run
        self._notice_s = notice_s
        self._gone_s = notice_s if gone_s is None else gone_s
        self._held_pct = held_pct

    def impossible(self) -> str:
        return power.switchable(self._port, self._run)

    def off(self, *, limit_s: float, away_s: float = AWAY_S) -> PowerCut:
        deadline = time.monotonic() + limit_s
        try:
            power.switch(self._port, False, limit_s=limit_s, off_s=away_s, held_pct=self._held_pct, run=self._run)
            return self._await_off(min(deadline, time.monotonic() + self._notice_s))
        except BaseException:
            # Also after an interrupt: a phone without power is found empty in the morning.
            power.switch(self._port, True, limit_s=limit_s, run=self._run)
            raise

    def on(self, *, limit_s: float) -> None:
        deadline = time.monotonic() + limit_s
        power.switch(self._port, True, limit_s=limit_s, run=self._run)
        seen = "it gave no answer"
        while True:
            try:
                reading = self._read(max(0.1, min(_EVERY_S * 10, deadline - time.monotonic())))
                if isinstance(reading, Measured) and reading.value:
                    return
                seen = reading.reason if isinstance(reading, Unavailable) else "it reports no external power"
            except FarmError as error:
                seen = error.message
            if time.monotonic() >= deadline:
                raise Transient(
                    f"{_name(self._port)} is on again, but the phone did not notice within {limit_s:g} s: {seen}",
                    error_class=ErrorClass.DEVICE_LOST,
                    advice="look at the cable and the hub",
                )
            threading.Event().wait(_EVERY_S)

    def _await_off(self, deadline: float) -> PowerCut:
        lost, seen = "", ""
        lost_at = math.inf
        while True:
            try:
                reading = self._read(max(0.1, min(_EVERY_S * 10, deadline - time.monotonic())))
                lost, lost_at = "", math.inf
                if isinstance(reading, Measured) and not reading.value:
                    return PowerCut("phone", f"{_name(self._port)} is off and the phone reports no external power")
                seen = reading.reason if isinstance(reading, Unavailable) else "it still reports external power"
            except FarmError as error:
                lost, lost_at = error.message, min(lost_at, time.monotonic())
            if time.monotonic() >= min(deadline, lost_at + self._gone_s):
                break
            threading.Event().wait(_EVERY_S)
        if lost:
            return PowerCut("record", f"{_name(self._port)} is off and the phone's link went with it ({lost})")
        raise Permanent(
            f"{_name(self._port)} says that it is off, but the phone does not agree: {seen}",
            error_class=ErrorClass.SETTING_DENIED,
            advice="the hub only pretends, the phone has another source of power, or `usb` names another phone's port; "
            "see farm doctor --prove-power",
        )


class WifiCharging:
    """`ChargingControl` of a phone reached over the network: nothing here can be switched, the operator unplugs it."""

    def __init__(self, read_power: ReadPower) -> None:
        self._read = read_power

    def impossible(self) -> str:
        return "its power is not in farm's hands: unplug it by hand, the link over Wi-Fi goes on"

    def off(self, *, limit_s: float, away_s: float = AWAY_S) -> PowerCut:
        reading = self._read(limit_s)
        if isinstance(reading, Measured) and not reading.value:
            return PowerCut("phone", "the phone reports no external power")
        seen = reading.reason if isinstance(reading, Unavailable) else "it reports external power"
        raise Permanent(
            f"the phone is not off external power: {seen}",
            error_class=ErrorClass.SETTING_DENIED,
            advice="unplug it; the link over Wi-Fi goes on",
        )

    def on(self, *, limit_s: float) -> None:
        """Nothing was switched."""


@contextmanager
def discharging(control: ChargingControl, *, limit_s: float) -> Iterator[PowerCut]:
    """Off its power for the time of the block, and on again whatever happens in it."""
    cut = control.off(limit_s=limit_s)
    try:
        yield cut
    finally:
        control.on(limit_s=limit_s)


def reader(agent: DeviceAgent) -> ReadPower:
    """Asks the phone of an agent."""

    def read(limit_s: float) -> Reading:
        found: Mapping[str, Reading] = agent.telemetry.snapshot(limit_s=limit_s)
        return found.get("power_state_external", Unavailable("the phone does not tell"))

    return read


def charging_control(
    agent: DeviceAgent, *, usb: UsbPort | None, run: power.Run | None = None
) -> ChargingControl | None:
    """How a phone comes off its power: its hub port, else by hand while Wi-Fi carries the link; None: not at all.

    Args:
        agent: of the phone.
        usb: the hub port that the inventory names for it; of no use for an iPhone, which keeps no record of its own
            while its link is away with the cable. run: runs uhubctl; None: the one that is installed.
    """
    if usb is not None and agent.attached.platform is not Platform.IOS:
        return HubCharging(usb, reader(agent), run=run)
    return WifiCharging(reader(agent)) if agent.attached.over_network else None


# --- proof ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PortProof:
    """Whether a port cuts the power of its phone: True, False, or None where it could not be told; `text` says why."""

    proven: bool | None
    text: str


def prove_port(
    agent: DeviceAgent,
    port: UsbPort,
    parse: Callable[[bytes], tuple[Trace, ...]],
    *,
    run: power.Run | None = None,
    record_s: float = RECORD_S,
    back_s: float = BACK_S,
) -> PortProof:
    """Switch a port off and on while its phone keeps a record of its own power.

    Works over Wi-Fi and over USB alike: the record is made on the phone, and read when the link is there again.

    Args:
        agent: of the phone; whoever calls holds its lease.
        port: the port that the inventory names for it.
        parse: reads the samples file that the agent's jobs leave.
        run: runs uhubctl; None: the one that is installed.
        record_s: how long the power stays off. back_s: how long the phone may take to be back.

    Raises:
        FarmError: the port cannot be switched, or the phone did not come back.
    """
    reason = power.switchable(port, run)
    if reason:
        return PortProof(None, reason)
    seconds = round(record_s * 1.5) + _AFTER_S
    spec = JobSpec(
        key=f"prove-power-{uuid.uuid4().hex[:8]}",
        argv=("sleep", str(seconds)),
        env={},
        cwd="/",
        limit_s=seconds + back_s,
        sampling=Sampling(memory_s=1.0, files_s=1.0, services_s=1.0),
    )
    handle = agent.jobs.start(spec, limit_s=back_s)
    try:
        threading.Event().wait(record_s / 4)
        power.cycle(port, limit_s=back_s, off_s=record_s, run=run)
        return proof_of(_record(agent, handle, parse, seconds + back_s), port)
    finally:
        agent.jobs.end(handle, limit_s=back_s)


def proof_of(external: Trace | None, port: UsbPort) -> PortProof:
    """What a phone's record of battery.external says of a port that was switched off and on meanwhile."""
    name = _name(port)
    if external is None or not external.values:
        why = external.channel.absent if external is not None else "it was not sampled"
        return PortProof(None, f"the phone does not tell whether it has external power: {why}")
    plugged = [value > 0 for value in external.values]
    if not plugged[0]:
        return PortProof(None, f"the phone had no external power before {name} was switched: plug it in there first")
    if all(plugged):
        return PortProof(
            False,
            f"{name} was switched off, yet the phone had external power all the time: the hub only pretends, another "
            "source feeds the phone, or this is not its port",
        )
    if not plugged[-1]:
        return PortProof(None, f"the phone lost its power with {name} and did not report it again: look at the cable")
    pairs = zip(external.uptime_s, plugged, strict=True)
    off = [at for at, has_power in pairs if not has_power]
    return PortProof(True, f"{name} cuts this phone's power: its own record shows none for {off[-1] - off[0]:.0f} s")


def _record(
    agent: DeviceAgent, handle: JobHandle, parse: Callable[[bytes], tuple[Trace, ...]], limit_s: float
) -> Trace | None:
    """The phone's record of battery.external, once the job is over and the phone is back."""
    deadline = time.monotonic() + limit_s
    while True:
        try:
            state = agent.jobs.poll(handle, limit_s=10.0, wait_s=1.0)
            if state.phase == "done":
                break
            if state.phase == "lost":
                raise Permanent(f"the phone lost its record: {state.detail}", error_class=ErrorClass.DEVICE_LOST)
        except Transient as error:
            if time.monotonic() >= deadline:
                error.advice = error.advice or "the port is on again: look at the cable"
                raise
            threading.Event().wait(_EVERY_S)
    with tempfile.TemporaryDirectory(prefix="farm-power-") as folder:
        output = agent.jobs.collect(handle, Path(folder), limit_s=limit_s)
        samples = output.files.get("samples")
        traces = parse(samples.read_bytes()) if samples is not None else ()
    return next((trace for trace in traces if trace.channel.name == "battery.external"), None)


def _name(port: UsbPort) -> str:
    return f"USB port {port.port} of hub {port.hub}"
