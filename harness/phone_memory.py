"""What earlier measurements have taught about a phone: its idle temperature, what it has loaded, its gauge, its best
setting. Kept in the store by the phone's identity, so that it outlives runs and follows the phone to another port."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from harness.store import DeviceRecord

IDLE_LOOKS = 20
"""Newest looks at a quiet phone among which the coolest tells its idle."""

IDLE_LEAST = 3
"""Looks before the idle is believed; until then the absolute limit of the gates holds."""

IDLE_FLOOR_C = 32.0
"""A cold night must not make the gate refuse a warm day: in a room of 25 °C no phone idles above it for long."""

QUALIFICATION = "qualification"
"""Kind of the record of a self-test."""

USB_PORT = "usb_port"
"""Kind of the record that holds the proof of a hub port; its key is "HUB:PORT", `proven` of its value true or false."""

REST_S = 600.0
"""Without work a phone is near its idle after ten minutes."""

IDLE_AGE_S = 30 * 86_400.0
"""Older looks are of another season."""


class RecordStore(Protocol):
    """The part of the store that is needed here."""

    def add_device_record(self, identity: str, kind: str, key: str, at: float, value: Mapping[str, Any]) -> None: ...

    def device_records(self, identity: str | None = None, kind: str | None = None) -> tuple[DeviceRecord, ...]: ...

    def latest_device_record(self, identity: str, kind: str, key: str = "") -> DeviceRecord | None: ...


class PhoneMemory:
    """The memory of one phone."""

    def __init__(self, store: RecordStore, identity: str, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._identity = identity
        self._clock = clock

    def idle_cpu_c(self) -> float | None:
        """Hottest true CPU zone of the phone at rest, °C; None until it was seen at rest a few times."""
        recent = [
            float(record.value["cpu_temperature_c"])
            for record in self._store.device_records(self._identity, "idle")
            if self._clock() - record.at < IDLE_AGE_S
        ][-IDLE_LOOKS:]
        return max(min(recent), IDLE_FLOOR_C) if len(recent) >= IDLE_LEAST else None

    def saw_idle(self, cpu_temperature_c: float) -> None:
        """Remember a look at the phone while nothing ran on it."""
        self._add("idle", "", {"cpu_temperature_c": cpu_temperature_c})

    def rested(self) -> bool:
        """Whether nothing of farm has run on the phone for a while."""
        found = self._store.latest_device_record(self._identity, "worked")
        return found is None or self._clock() - found.at > REST_S

    def saw_work(self) -> None:
        """Remember that the phone worked until now."""
        self._add("worked", "", {})

    def loaded_in_boot_of(self, model_sha256: str) -> float | None:
        """When the phone booted, in Unix seconds, in which the model was loaded last; None when it never was."""
        found = self._store.latest_device_record(self._identity, "loaded", model_sha256)
        return float(found.value["booted_at"]) if found else None

    def saw_load(self, model_sha256: str, booted_at: float) -> None:
        """Remember that the model was loaded after this boot."""
        if self.loaded_in_boot_of(model_sha256) != booted_at:
            self._add("loaded", model_sha256, {"booted_at": booted_at})

    def qualification(self) -> str:
        """When the phone last passed or failed `farm selftest`, in words."""
        found = self._store.latest_device_record(self._identity, QUALIFICATION)
        if found is None:
            return "never qualified (farm selftest)"
        said = "passed" if found.value.get("ok") else "failed"
        return f"{said} {datetime.fromtimestamp(found.at, UTC):%Y-%m-%d} ({found.value.get('held')} checks held)"

    def recall(self, kind: str, key: str = "") -> Mapping[str, Any] | None:
        """Newest value of a kind ("gauge", "tuned", "qualification"), or None."""
        found = self._store.latest_device_record(self._identity, kind, key)
        return found.value if found else None

    def remember(self, kind: str, key: str, value: Mapping[str, Any]) -> None:
        """Add a value of a kind."""
        self._add(kind, key, value)

    def _add(self, kind: str, key: str, value: Mapping[str, Any]) -> None:
        self._store.add_device_record(self._identity, kind, key, self._clock(), value)
