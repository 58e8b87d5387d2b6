"""The file of what a virtual phone really did, by which measurements of it are judged. Only tests and the self-test may
read it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from device_agents.virtual.physics import State

PERIOD_S = 0.5


def of_state(state: State) -> dict[str, Any]:
    """What a line says of the physics, whatever kind of phone it is."""
    return {
        "power_w": state.power_w,
        "energy_j": state.energy_j,
        "battery_out_j": state.battery_out_j,
        "battery_in_j": state.battery_in_j,
        "battery_a": state.battery_a,
        "battery_v": state.battery_v,
        "charge_mah": state.charge_mah,
        "cpu_c": state.cpu_c,
        "skin_c": state.skin_c,
        "battery_c": state.battery_c,
        "cap": state.cap,
        "load": state.load,
    }


class Truth:
    """Appends a line of JSON twice a second, and one at each event, named in `event`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._due = 0.0
        self._uptime = -1.0

    def note(self, now: float, uptime: float, facts: Callable[[], dict[str, Any]], *, event: str, **more: Any) -> None:
        """Write a line when one is due or something happened.

        Args:
            facts: called for a line only; event: "boot", "cap" (the frequency cap changed), "set", "suspend",
                "low_memory_kill", or empty; more: what belongs to the event.
        """
        if not event and now < self._due and uptime >= self._uptime:
            return
        self._due, self._uptime = now + PERIOD_S, uptime
        line = {**facts(), **({"event": event, **more} if event else {})}
        with self._path.open("a", encoding="utf-8") as truth:
            truth.write(json.dumps(line) + "\n")
