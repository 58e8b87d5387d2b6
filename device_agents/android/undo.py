"""What farm changes on a phone, and the note of how to undo it. Pure functions of texts.

The note is kept on the phone, one line "KEY BEFORE SET" per setting, and written before anything is changed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from device_agents.android.conditions import wakefulness_of
from device_agents.android.telemetry.text import lines
from harness.model.inventory import PhoneSettings

Key = Literal["stay_on", "screen_off_timeout", "airplane_radios", "airplane_mode", "screen"]

KEYS: tuple[Key, ...] = ("airplane_radios", "airplane_mode", "stay_on", "screen_off_timeout", "screen")
"""In the order in which they are changed; they are undone the other way round. `svc power stayon` wakes the phone, so
the screen comes after it; which radios airplane mode switches off is read when it begins."""

NAMES: Mapping[Key, str] = {
    "stay_on": "stay awake while plugged in",
    "screen_off_timeout": "screen time-out",
    "airplane_radios": "radios of airplane mode",
    "airplane_mode": "airplane mode",
    "screen": "screen",
}

STAY_ON = "7"
"""AC, USB and wireless power (BatteryManager.BATTERY_PLUGGED_*, added up)."""
NEVER_MS = "2147483647"
"""The longest time-out that Android's setting can hold, 25 days."""

_SAME: Mapping[Key, tuple[frozenset[str], ...]] = {
    # `svc power stayon true` sets 7, and 15 where the phone knows docks; a setting that is not there counts as 0.
    "stay_on": (frozenset({"7", "15"}), frozenset({"0", "null"})),
    "airplane_mode": (frozenset({"0", "null"}),),
}
_LINE = re.compile(r"^([a-z_]{1,32}) ([\w,.:-]{1,128}) ([\w,.:-]{1,128})$", re.ASCII)
_VALUE = re.compile(r"^[\w,.:-]{1,128}$", re.ASCII)
_LISTED_FIELDS = re.compile(r"^\s*(mIsPowered|mStayOn|mScreenOffTimeoutSetting)=(\S{1,20})\s*$")


@dataclass(frozen=True, slots=True)
class Undo:
    """`key` was `before` and is set to `set_to` by farm; values are the phone's own words."""

    key: Key
    before: str
    set_to: str


@dataclass(frozen=True, slots=True)
class SettingChange:
    """One setting after farm wanted to change it or to put it back.

    Args:
        name: in words, see NAMES; key: the setting.
        before, wanted, after: values; "" where the phone does not tell.
        outcome: set, already (nothing to do), restored, left (stays as it is; `detail` says why), denied (the phone
            refused), ignored (it said yes and did not), impossible (not on this phone).
        detail: the phone's own words, or what was found.
        advice: what an operator can do.
    """

    key: str
    name: str
    before: str
    wanted: str
    after: str
    outcome: Literal["set", "already", "restored", "left", "denied", "ignored", "impossible"]
    detail: str = ""
    advice: str = ""

    @property
    def failed(self) -> bool:
        return self.outcome in ("denied", "ignored", "impossible")

    def to_json(self) -> dict[str, Any]:
        """Plain values for the store."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Phone:
    """The settings as they are: `values` by key ("" where the phone does not tell), whether external power is there
    (None: not told), its maker, and the note that is on it."""

    values: Mapping[Key, str]
    powered: bool | None
    maker: str
    note: tuple[Undo, ...]


def phone_of(parts: Mapping[str, bytes]) -> Phone:
    """The state from the sections that the reading script prints."""

    def value(name: str) -> str:
        text = next((line.strip() for line in lines(parts.get(name, b"")) if line.strip()), "")
        return text if _VALUE.match(text) else ""

    power = parts.get("power", b"")
    powered = power_fields(power).get("mIsPowered")
    return Phone(
        values={
            "stay_on": value("stay_on"),
            "screen_off_timeout": value("timeout"),
            "airplane_radios": value("radios"),
            "airplane_mode": value("airplane"),
            "screen": awake_of(power),
        },
        powered=None if powered is None else powered == "true",
        maker=value("maker"),
        note=parse_note(parts.get("note", b"")),
    )


def awake_of(power: bytes) -> str:
    """ "1" when `dumpsys power` says that the phone is awake, "0" when not, "" when it does not say."""
    word = wakefulness_of(power)
    return "1" if word in ("Awake", "Dreaming") else "0" if word else ""


def power_fields(power: bytes) -> Mapping[str, str]:
    """mIsPowered, mStayOn and mScreenOffTimeoutSetting of `dumpsys power`, as far as they are there."""
    found: dict[str, str] = {}
    for line in lines(power):
        match = _LISTED_FIELDS.match(line)
        if match is not None:
            found.setdefault(match.group(1), match.group(2))
    return found


def wishes(wanted: PhoneSettings, phone: Phone, *, wifi: bool, loses_power: bool = False) -> Mapping[Key, str]:
    """What to set for `wanted` on a phone in this state.

    Args:
        wifi: the phone is reached over Wi-Fi, which airplane mode has to spare.
        loses_power: the phone is about to be unplugged.
    """
    found: dict[Key, str] = {}
    if wanted.airplane_mode == "on":
        radios = phone.values["airplane_radios"]
        if wifi and "wifi" in radios.split(","):
            found["airplane_radios"] = ",".join(each for each in radios.split(",") if each != "wifi") or "cell"
        found["airplane_mode"] = "1"
    # Nothing that the shell may set keeps a phone from suspending while its screen is off.
    if wanted.stay_awake and wanted.screen != "off":
        if phone.powered is not False:
            found["stay_on"] = STAY_ON
        if phone.powered is not True or loses_power:
            found["screen_off_timeout"] = NEVER_MS
        found["screen"] = "1"
    elif wanted.screen != "keep":
        found["screen"] = "1" if wanted.screen == "on" else "0"
    return found


def same(key: Key, one: str, other: str) -> bool:
    """Whether two values of a setting mean the same to the phone."""
    return one == other or any(one in group and other in group for group in _SAME.get(key, ()))


def noted(phone: Phone, wanted: Mapping[Key, str]) -> tuple[Undo, ...]:
    """The note to write before `wanted` is set.

    A line of an earlier run that was not undone stays while its value is still in force: the phone has to come back to
    what was before that run.
    """
    note: list[Undo] = []
    for key in KEYS:
        now, value = phone.values[key], wanted.get(key)
        old = next((undo for undo in phone.note if undo.key == key), None)
        in_force = old is not None and same(key, now, old.set_to)
        if value is None:
            if old is not None:
                note.append(old)
        elif old is not None and in_force:
            note.append(Undo(key, old.before, value))
        elif now and not same(key, now, value):
            note.append(Undo(key, now, value))
    return tuple(note)


def note_text(note: tuple[Undo, ...]) -> str:
    """The note as it is kept on the phone."""
    return "".join(f"{undo.key} {undo.before} {undo.set_to}\n" for undo in note)


def note_json(note: tuple[Undo, ...]) -> str:
    """The note for the store; `note_of_json` reads it."""
    return json.dumps([asdict(undo) for undo in note])


def note_of_json(text: str) -> tuple[Undo, ...]:
    """The note that `note_json` made `text` of; entries that make no sense are left out."""
    try:
        entries = json.loads(text)
    except ValueError:
        return ()
    found = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    rows = (f"{entry.get('key')} {entry.get('before')} {entry.get('set_to')}" for entry in found)
    return parse_note("\n".join(rows).encode("utf-8", "replace"))


def parse_note(data: bytes) -> tuple[Undo, ...]:
    """The note as it is on the phone; the first line of a key counts, torn lines are left out."""
    found: dict[Key, Undo] = {}
    for line in lines(data):
        match = _LINE.match(line)
        key = next((each for each in KEYS if match is not None and each == match.group(1)), None)
        if match is not None and key is not None:
            found.setdefault(key, Undo(key, match.group(2), match.group(3)))
    return tuple(found.values())


_REFUSALS = re.compile(r"SecurityException|Permission deni|INJECT_EVENTS|not allowed", re.IGNORECASE)
_NO_COMMAND = re.compile(r"No shell command implementation|Unknown command|Can't find service|not found", re.IGNORECASE)
_SETTINGS_TOGGLE = 'switch on "USB debugging (Security settings)" in the developer options'
_MONITOR_TOGGLE = 'switch on "Disable permission monitoring" in the developer options'
_TOGGLES: Mapping[str, str] = {
    "xiaomi": f"{_SETTINGS_TOGGLE} (asks for a Mi account and a SIM card)",
    "redmi": f"{_SETTINGS_TOGGLE} (asks for a Mi account and a SIM card)",
    "poco": f"{_SETTINGS_TOGGLE} (asks for a Mi account and a SIM card)",
    "oppo": _MONITOR_TOGGLE,
    "realme": _MONITOR_TOGGLE,
    "oneplus": _MONITOR_TOGGLE,
}


def was_refused(said: str) -> bool:
    """Whether the phone's words are those of a denial."""
    return _REFUSALS.search(said) is not None


def lacks_command(said: str) -> bool:
    """Whether the phone's words are those of a command that it does not have."""
    return not was_refused(said) and _NO_COMMAND.search(said) is not None


def toggle_advice(maker: str, key: Key) -> str:
    """What to switch on a phone of that maker (ro.product.manufacturer) so that the setting can be changed."""
    by_hand = f"or set the {NAMES[key]} by hand and leave it to the phone in the inventory's phone_settings"
    toggle = _TOGGLES.get(maker.lower(), f'{_SETTINGS_TOGGLE}, or "Disable permission monitoring", where there is one')
    return f"{toggle}; {by_hand}"
