"""The settings of a phone for the time of a run: set before its first measurement, put back after its last."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from device_agents.base import DeviceAgent
from harness.errors import FarmError
from harness.model import PhoneSettings
from harness.phone_memory import PhoneMemory

SETTINGS_S = 120.0
"""Limit for all settings of a phone; a busy one takes seconds for each."""

Event = Callable[[str, str], None]
"""Gets a kind and words for the record of the run."""


@contextmanager
def settings_kept(
    agent: DeviceAgent, wanted: PhoneSettings, *, wifi: bool, memory: PhoneMemory | None, event: Event
) -> Iterator[tuple[str, ...]]:
    """Keep `wanted` on a phone; yields the marks of what it denied. What to undo is on the phone and in the store.

    Args:
        wifi: the phone is reached over Wi-Fi, which has to stay.
    """

    def note(undo: str) -> None:
        if memory is not None:
            memory.remember("settings_undo", "", {"undo": undo})

    try:
        changes = agent.settings.apply(wanted, wifi=wifi, limit_s=SETTINGS_S, on_undo=note)
        for change in changes:
            if change.outcome not in ("already", "left"):
                event("setting", f"{change.name}: {change.outcome} {change.detail} {change.advice}".strip())
        yield tuple(f"setting_{each.outcome}: {each.name}; {each.advice}" for each in changes if each.failed)
    finally:
        _put_back(agent, memory, event)


def _put_back(agent: DeviceAgent, memory: PhoneMemory | None, event: Event) -> None:
    stored = memory.recall("settings_undo") if memory is not None else None
    try:
        changes = agent.settings.restore(limit_s=SETTINGS_S, undo=str(stored["undo"]) if stored else "")
    except FarmError as error:
        event("setting", f"not put back, the next run on this phone does it: {error.message}")
        return
    for change in changes:
        if change.failed:
            event("setting", f"{change.name} could not be put back: {change.detail} {change.advice}")
    if memory is not None and stored and stored["undo"]:
        memory.remember("settings_undo", "", {"undo": ""})
