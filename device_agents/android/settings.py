"""Keeps a phone's settings as a run wants them, and puts back what they were.

What to undo is written to a file on the phone before it is done, so that whoever comes next can put it back when the
controller is gone. Every change is verified by its effect, because phones deny settings, or say yes and do nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Literal

from device_agents.android.facts import sections
from device_agents.android.undo import (
    KEYS,
    NAMES,
    Key,
    Phone,
    SettingChange,
    Undo,
    awake_of,
    lacks_command,
    note_json,
    note_of_json,
    note_text,
    noted,
    phone_of,
    power_fields,
    same,
    toggle_advice,
    was_refused,
    wishes,
)
from device_agents.posix.link import Link, LinkShell, run_checked, shell_path
from harness.errors import ErrorClass, Permanent
from harness.model.inventory import PhoneSettings

NOTE = "settings.undo"
"""File in farm's folder on the phone that says what to undo."""

GUARD_S = 30
"""Over Wi-Fi, airplane mode ends by itself after so many seconds unless the phone could still be reached."""

_LOOK = """exec 2> /dev/null
echo '@@ note'; cat "$1"
echo '@@ maker'; getprop ro.product.manufacturer
echo '@@ stay_on'; settings get global stay_on_while_plugged_in
echo '@@ timeout'; settings get system screen_off_timeout
echo '@@ radios'; settings get global airplane_mode_radios
echo '@@ airplane'; settings get global airplane_mode_on
echo '@@ power'; dumpsys power
exit 0"""

# Complete or not there: a torn note would undo half of it. Phones do crash, so it goes through to storage where the
# phone has fsync; `sync` would wait for all of a pushed model.
_WRITE = """mkdir -p "${1%/*}" && cat > "$1.new" || exit 1
if [ -s "$1.new" ]; then
fsync "$1.new" 2> /dev/null; mv -f "$1.new" "$1" || exit 1
else rm -f "$1.new" "$1"; fi
exit 0"""

# KEY VALUE: sets it, waits for the value to show, prints the value and the state of power. On standard error:
# the phone's own words.
_CHANGE = """put() { if [ "$3" = null ]; then settings delete "$1" "$2"; else settings put "$1" "$2" "$3"; fi; }
now() {
  case $key in
    stay_on) settings get global stay_on_while_plugged_in ;;
    screen_off_timeout) settings get system screen_off_timeout ;;
    airplane_radios) settings get global airplane_mode_radios ;;
    airplane_mode) settings get global airplane_mode_on ;;
    screen) case $(dumpsys power | grep -m 1 'mWakefulness=') in
      *=Awake*|*=Dreaming*) echo 1 ;; *=[A-Z]*) echo 0 ;; esac ;;
  esac
} 2> /dev/null
key=$1 value=$2
{ case $key in
  stay_on)
    case $value in 0|null) svc power stayon false ;; 7|15) svc power stayon true ;; esac
    case $value/$(now) in "$value/$value"|7/15|15/7) ;; *) put global stay_on_while_plugged_in "$value" ;; esac ;;
  screen_off_timeout) put system screen_off_timeout "$value" ;;
  airplane_radios) put global airplane_mode_radios "$value" ;;
  airplane_mode)
    case $value in 1) cmd connectivity airplane-mode enable ;; *) cmd connectivity airplane-mode disable ;; esac ;;
  screen) case $value in 1) input keyevent KEYCODE_WAKEUP ;; *) input keyevent KEYCODE_SLEEP ;; esac ;;
esac; } >&2 && tries=0 || tries=15
while [ "$tries" -lt 20 ]; do
  seen=$(now)
  case $seen/$value in "$value/$value"|7/15|15/7|0/null|null/0) break ;; esac
  sleep 0.1; tries=$((tries + 1))
done
echo '@@ value'; echo "$seen"
echo '@@ power'; dumpsys power 2> /dev/null
[ "$key" != airplane_mode ] || { echo '@@ airplane'; cmd connectivity airplane-mode 2> /dev/null; }
exit 0"""

# FLAG SECONDS: ends airplane mode by itself unless FLAG appears; detached, because it is there for a link that is cut.
_GUARD = """rm -f "$1"
setsid sh -c 'sleep "$2"; [ -e "$1" ] || cmd connectivity airplane-mode disable' farm "$1" "$2" \\
  < /dev/null > /dev/null 2>&1 &
exit 0"""


class PhoneSettingsKeeper:
    """Settings of the phone behind `link`. Only the holder of the phone's lease may use it.

    Args:
        root: farm's folder on the phone.
        guard_s: see GUARD_S.
    """

    def __init__(self, link: Link, root: str, *, guard_s: int = GUARD_S) -> None:
        self._link = link
        self._note = shell_path(root, NOTE)
        self._kept = shell_path(root, "airplane.kept")
        self._guard_s = guard_s

    def apply(
        self,
        wanted: PhoneSettings,
        *,
        wifi: bool,
        limit_s: float,
        on_undo: Callable[[str], None] | None = None,
        loses_power: bool = False,
    ) -> tuple[SettingChange, ...]:
        """Set what is wanted; what an earlier run set and this one does not want is put back first.

        Args:
            wifi: the phone is reached over Wi-Fi, which airplane mode then spares.
            on_undo: gets the note as JSON before anything is changed.
            loses_power: the phone is about to be unplugged, and has to stay awake then, too.

        Returns: one entry per setting; look at `failed`.

        Raises:
            Transient: the link is lost, or the limit is reached; the note on the phone says what to undo.
        """
        deadline = time.monotonic() + limit_s
        phone = self._look(deadline)
        target = wishes(wanted, phone, wifi=wifi, loses_power=loses_power)
        leftover = [undo for undo in phone.note if undo.key not in target]
        done = self._undo(leftover, phone, deadline) if leftover else []
        note = tuple(undo for undo in noted(phone, target) if undo.key in target or _keeps(done, undo.key))
        if on_undo is not None and note:
            on_undo(note_json(note))
        if note != phone.note:
            self._write(note, deadline)
        for key in KEYS:
            if key == "airplane_mode" and _keeps(done, "airplane_radios"):
                done.append(_would_cut(phone.values[key]))
            elif key in target:
                done.append(self._set(key, target[key], phone, wifi=wifi, deadline=deadline))
        if wanted.stay_awake and wanted.screen == "off":
            done.append(_ASLEEP)
        return tuple(done)

    def restore(self, *, limit_s: float, undo: str = "") -> tuple[SettingChange, ...]:
        """Put back what the note on the phone says; fine when there is none.

        A value that is no longer the one farm set was changed by somebody, and stays.

        Args:
            undo: the note as JSON, for a phone whose own is gone.
        """
        deadline = time.monotonic() + limit_s
        phone = self._look(deadline)
        note = phone.note or note_of_json(undo)
        if not note:
            return ()
        done = self._undo(note, phone, deadline)
        self._write(tuple(each for each in note if _keeps(done, each.key)), deadline)
        return tuple(done)

    # --- one phone ---

    def _look(self, deadline: float) -> Phone:
        output = run_checked(
            self._link, _LOOK, self._note, limit_s=_left(deadline), doing="reading the phone's settings"
        )
        return phone_of(sections(output))

    def _write(self, note: tuple[Undo, ...], deadline: float) -> None:
        run_checked(
            self._link,
            _WRITE,
            self._note,
            limit_s=_left(deadline),
            stdin=note_text(note).encode(),
            doing="writing down what to undo",
        )

    def _set(self, key: Key, value: str, phone: Phone, *, wifi: bool, deadline: float) -> SettingChange:
        before = phone.values[key]
        if not before:
            return SettingChange(key, NAMES[key], "", value, "", "impossible", _UNTOLD)
        if same(key, before, value):
            return SettingChange(key, NAMES[key], before, value, before, "already")
        guarded = wifi and key == "airplane_mode"
        if guarded:
            words = (self._kept, str(self._guard_s))
            run_checked(self._link, _GUARD, *words, limit_s=_left(deadline), doing="guarding the link")
        change = self._change(key, value, before, phone.maker, deadline)
        if guarded:
            # That this arrives is the proof that the link outlived airplane mode.
            run_checked(self._link, ': > "$1"', self._kept, limit_s=_left(deadline), doing="keeping airplane mode")
        return change

    def _undo(self, note: Sequence[Undo], phone: Phone, deadline: float) -> list[SettingChange]:
        done: list[SettingChange] = []
        for undo in sorted(note, key=lambda each: KEYS.index(each.key), reverse=True):
            key, now = undo.key, phone.values[undo.key]
            if same(key, now, undo.before):
                done.append(SettingChange(key, NAMES[key], now, undo.before, now, "already"))
            elif not same(key, now, undo.set_to):
                said = f"farm had set {undo.set_to}, somebody changed it to {now or 'something that is not told'}"
                done.append(SettingChange(key, NAMES[key], now, undo.before, now, "left", said))
            else:
                change = self._change(key, undo.before, now, phone.maker, deadline)
                if change.outcome == "set":
                    change = SettingChange(key, change.name, now, undo.before, change.after, "restored")
                done.append(change)
        return done

    def _change(self, key: Key, value: str, before: str, maker: str, deadline: float) -> SettingChange:
        """Set one setting and look for its effect."""
        result = LinkShell(self._link).script(_CHANGE, key, value, limit_s=_left(deadline))
        parts = sections(result.stdout)
        said = " ".join(result.stderr.decode("utf-8", "replace").split())[:300]
        after = parts.get("value", b"").decode("utf-8", "replace").strip()
        problem = _effect_missing(key, value, after, parts)
        if not problem:
            return SettingChange(key, NAMES[key], before, value, after, "set")
        if lacks_command(said):
            advice = f"set the {NAMES[key]} by hand, and leave it to the phone in the inventory's phone_settings"
            return SettingChange(key, NAMES[key], before, value, after, "impossible", _NO_COMMAND, advice)
        outcome: Literal["denied", "ignored"] = "denied" if was_refused(said) else "ignored"
        detail = f"{problem}; the phone said: {said}" if said else problem
        return SettingChange(key, NAMES[key], before, value, after, outcome, detail, toggle_advice(maker, key))


def refused(changes: Sequence[SettingChange], device: str) -> Permanent | None:
    """The error of a run that cannot do without the settings that the phone did not take, or None."""
    failed = [change for change in changes if change.failed]
    if not failed:
        return None
    text = "; ".join(f"{change.name} was {change.outcome} ({change.detail})" for change in failed)
    return Permanent(f"{device}: {text}", error_class=ErrorClass.SETTING_DENIED, advice=failed[0].advice, device=device)


_ASLEEP = SettingChange(
    key="stay_on",
    name=NAMES["stay_on"],
    before="",
    wanted="awake",
    after="",
    outcome="left",
    detail="with its screen off a phone may suspend, and the shell can set nothing against it",
    advice="set screen: on, or keep; a measurement during which the phone slept is found out and not used",
)


_UNTOLD = "the phone does not tell what it is now, so it could not be put back"
_NO_COMMAND = "this Android has no command for it (11 and later have)"


def _would_cut(now: str) -> SettingChange:
    detail = "Wi-Fi could not be taken out of airplane mode, which would cut the link"
    advice = "switch airplane mode on and Wi-Fi on again by hand, and set airplane_mode: keep"
    return SettingChange("airplane_mode", NAMES["airplane_mode"], now, "1", now, "impossible", detail, advice)


def _effect_missing(key: Key, value: str, after: str, parts: dict[str, bytes]) -> str:
    """What shows that the change did not take effect, or ""."""
    if not same(key, after, value):
        return f"wanted {value}, found {after or 'nothing'}"
    fields = power_fields(parts.get("power", b""))
    if key == "stay_on" and value == "7" and fields.get("mIsPowered") == "true" and fields.get("mStayOn") == "false":
        return "the setting is stored, and dumpsys power still says mStayOn=false"
    timeout = fields.get("mScreenOffTimeoutSetting")
    if key == "screen_off_timeout" and timeout is not None and value not in ("null", timeout):
        return f"the setting is stored, and dumpsys power still says mScreenOffTimeoutSetting={timeout}"
    switched = parts.get("airplane", b"").decode("utf-8", "replace").strip()
    if key == "airplane_mode" and switched in ("enabled", "disabled") and (switched == "enabled") != (value == "1"):
        return f"the setting is stored, and the phone says that airplane mode is {switched}"
    if key == "screen" and awake_of(parts.get("power", b"")) not in ("", value):
        return "the screen did not stay as it was set"
    return ""


def _keeps(done: Sequence[SettingChange], key: Key) -> bool:
    """Whether the note of a setting stays, because it could not be put back."""
    return any(change.key == key and change.failed for change in done)


def _left(deadline: float) -> float:
    return max(deadline - time.monotonic(), 0.1)
