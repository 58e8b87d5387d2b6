"""The health of a phone: what one look at it shows, and what is known of it over the nights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from harness.model.figures import Measured, Reading, Unavailable, reading_from_json, reading_json
from harness.model.nightly import Quarantine
from harness.model.nights import PhoneDrift
from harness.model.words import DeviceKind

HEALTH_READINGS = (
    "battery_health",
    "cycle_count",
    "charge_full_mah",
    "charge_full_design_mah",
    "capacity_pct",
    "battery_level_pct",
    "power_state_external",
    "temperature_rest_c",
    "storage_free_mb",
)
"""What a look shows. capacity_pct: charge of the full battery against that of the new one. temperature_rest_c: of the
battery, on a phone that did nothing for some minutes. The others as in `device_agents.base.Telemetry`."""

BATTERY_WORDS: Mapping[int, str] = {
    1: "unknown",
    2: "good",
    3: "overheat",
    4: "dead",
    5: "over voltage",
    6: "unspecified failure",
    7: "cold",
}
"""BatteryManager.BATTERY_HEALTH_* → its word."""

NOT_ATTACHED = "not attached"
NEVER_SEEN = "never seen"
OFF_ITS_POWER = "off its power"
"""States of a phone that is not listed, beside the words of DeviceState for those that are."""


def battery_word(reading: Reading) -> str:
    """The word for a reading of battery_health, "" where there is none."""
    return BATTERY_WORDS.get(int(reading.value), "") if isinstance(reading, Measured) else ""


@dataclass(frozen=True, slots=True)
class HealthRecord:
    """One look at a phone, kept with it.

    Args:
        identity: the phone's own serial. device_id: its id then. entry: id of its entry in the inventory, "" without.
        serials: under which it was attached.
        at: Unix seconds. night: ISO date of the night that the look belongs to, "" for one by hand.
        readings: every name of HEALTH_READINGS.
    """

    identity: str
    device_id: str
    entry: str
    tier: str
    kind: DeviceKind
    model: str
    serials: tuple[str, ...]
    at: float
    night: str
    readings: Mapping[str, Reading]

    def reading(self, name: str) -> Reading:
        return self.readings.get(name, Unavailable("it was not looked at"))

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            **{
                name: getattr(self, name) for name in ("identity", "device_id", "entry", "tier", "model", "at", "night")
            },
            "kind": self.kind.value,
            "serials": list(self.serials),
            "readings": {name: reading_json(reading) for name, reading in self.readings.items()},
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> HealthRecord:
        """What `to_json` gave. Raises AttributeError, KeyError, TypeError or ValueError for anything else."""
        return cls(
            **{
                **stored,
                "kind": DeviceKind(stored["kind"]),
                "serials": tuple(stored["serials"]),
                "readings": {name: reading_from_json(reading) for name, reading in stored["readings"].items()},
            }
        )


@dataclass(frozen=True, slots=True)
class NightFailures:
    """What became of a phone's repetitions in one night.

    Args:
        night: ISO date. at: when its measuring began, Unix seconds.
        measured: repetitions. failed: class of error → repetitions that failed or were refused for it.
    """

    night: str
    at: float
    measured: int
    failed: Mapping[str, int] = field(default_factory=dict)

    @property
    def ended(self) -> int:
        """Repetitions that came to an end."""
        return self.measured + sum(self.failed.values())


@dataclass(frozen=True, slots=True)
class Qualification:
    """A phone's last self-test. Args: at: Unix seconds. ok: whether every check held. held, ran: of its checks."""

    at: float
    ok: bool
    held: int
    ran: int


@dataclass(frozen=True, slots=True)
class HealthProblem:
    """Something wrong with a phone. Args: hands: only a person can cure it, at the phone."""

    text: str
    advice: str
    hands: bool = True


@dataclass(frozen=True, slots=True)
class PhoneHealth:
    """What is known of a phone of the lab.

    Args:
        identity: its own serial, "" for one that was never asked.
        kind: None where it was never asked.
        state: a value of DeviceState for one that is listed, else NOT_ATTACHED, OFF_ITS_POWER or NEVER_SEEN.
        last_seen: Unix seconds, None: never. looked_at: of `readings`, None without a look.
        readings: of the newest look, every name of HEALTH_READINGS.
        failures: of the last nights, oldest first.
        drift: of its own reference build, None where too little is known.
        problems: the worst first.
    """

    device_id: str
    identity: str
    kind: DeviceKind | None
    model: str
    tier: str
    state: str
    last_seen: float | None
    looked_at: float | None
    readings: Mapping[str, Reading]
    failures: tuple[NightFailures, ...] = ()
    drift: PhoneDrift | None = None
    qualification: Qualification | None = None
    quarantine: Quarantine | None = None
    problems: tuple[HealthProblem, ...] = ()

    @property
    def needs_hands(self) -> bool:
        return any(problem.hands for problem in self.problems)

    def reading(self, name: str) -> Reading:
        return self.readings.get(name, Unavailable("it was not looked at"))

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        plain = {name: getattr(self, name) for name in ("device_id", "identity", "model", "tier", "state")}
        return {
            **plain,
            "kind": self.kind.value if self.kind else None,
            "last_seen": self.last_seen,
            "looked_at": self.looked_at,
            "readings": {name: reading_json(self.reading(name)) for name in HEALTH_READINGS},
            "battery": battery_word(self.reading("battery_health")) or None,
            "failures": [asdict(night) for night in self.failures],
            "drift": asdict(self.drift) if self.drift else None,
            "qualification": asdict(self.qualification) if self.qualification else None,
            "quarantine": asdict(self.quarantine) if self.quarantine else None,
            "problems": [asdict(problem) for problem in self.problems],
        }
