"""Settings of a phone: changed, verified, put back, also after the controller died between writing and doing."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import IO

import pytest

from device_agents.android.agent import AndroidAgent
from device_agents.android.settings import NOTE, PhoneSettingsKeeper, refused
from device_agents.android.undo import (
    NEVER_MS,
    Key,
    Phone,
    SettingChange,
    Undo,
    lacks_command,
    note_json,
    note_of_json,
    note_text,
    noted,
    parse_note,
    toggle_advice,
    was_refused,
    wishes,
)
from device_agents.posix.link import Link, Running
from harness.errors import ErrorClass, Transient
from harness.model.inventory import PhoneSettings
from tests.contract.conftest import agent_of
from tests.lab.conftest import RunningLab, StartLab, eventually, start

PHONE = "pixel-7a"
ROOT = "/data/local/tmp/farm it's $(x)"
ALL = PhoneSettings(stay_awake=True, screen="on", airplane_mode="on")
BEFORE: Mapping[str, str] = {
    "stay_on": "null",
    "timeout": "60000",
    "airplane": "null",
    "radios": "cell,bluetooth,wifi,nfc,wimax",
    "awake": "mWakefulness=Awake",
}


class CutLink:
    """A link that is lost at one of its calls, before the phone hears of it, and stays lost."""

    def __init__(self, inner: Link, at: int) -> None:
        self.name = inner.name
        self._inner = inner
        self._left = at

    def start(self, argv: Sequence[str], *, stdin: bytes | IO[bytes] | None = None) -> Running:
        if self._left == 0:
            raise Transient("the link is lost", error_class=ErrorClass.DEVICE_LOST, device=self.name)
        self._left -= 1
        return self._inner.start(argv, stdin=stdin)

    def lost_with_processes(self) -> ErrorClass:
        return self._inner.lost_with_processes()


@pytest.fixture(scope="module")
def lab() -> Iterator[RunningLab]:
    running = start([PHONE, "oneplus-12+deny_settings", "galaxy-a54+ignore_settings"])
    yield running
    running.lab.down()


@pytest.fixture
def agent(lab: RunningLab, monkeypatch: pytest.MonkeyPatch) -> AndroidAgent:
    """A phone that is plugged, awake, and has nothing set."""
    lab.says(PHONE, "cd /mnt/virtual/settings; rm -f global.* system.*; rm -rf /data/local/tmp/farm*")
    lab.says(PHONE, "input keyevent KEYCODE_WAKEUP")
    lab.lab.set(PHONE, charger="usb")
    eventually(lambda: "mIsPowered=true" in lab.says(PHONE, "dumpsys power"))
    return agent_of(lab, PHONE, monkeypatch)


def keeper(agent: AndroidAgent) -> PhoneSettingsKeeper:
    return PhoneSettingsKeeper(agent._link, ROOT)


def state(lab: RunningLab, phone: str = PHONE) -> dict[str, str]:
    script = (
        "settings get global stay_on_while_plugged_in; settings get system screen_off_timeout; "
        "settings get global airplane_mode_on; settings get global airplane_mode_radios; "
        "dumpsys power | grep -m 1 mWakefulness="
    )
    return dict(zip(BEFORE, (line.strip() for line in lab.says(phone, script).splitlines()), strict=True))


def meaning(values: Mapping[str, str]) -> dict[str, str]:
    """A setting that was never set counts as 0 for Android."""
    return {
        name: "0" if value == "null" and name in ("stay_on", "airplane") else value for name, value in values.items()
    }


def note_on(lab: RunningLab) -> str:
    return lab.says(PHONE, f"cat '{ROOT.replace(chr(39), chr(39) + chr(92) + chr(39) * 2)}/{NOTE}' 2> /dev/null; true")


def outcomes(changes: Sequence[SettingChange]) -> dict[str, str]:
    return {change.key: change.outcome for change in changes}


def test_a_plugged_phone_is_kept_awake_and_put_back(lab: RunningLab, agent: AndroidAgent) -> None:
    told: list[str] = []
    changes = keeper(agent).apply(PhoneSettings(), wifi=False, limit_s=30, on_undo=told.append)
    assert outcomes(changes) == {"stay_on": "set", "screen": "already"}
    assert "mStayOn=true" in lab.says(PHONE, "dumpsys power")
    assert note_on(lab) == "stay_on null 7"
    assert note_of_json(told[0]) == (Undo("stay_on", "null", "7"),)
    assert json.loads(json.dumps([change.to_json() for change in changes]))[0]["after"] in ("7", "15")
    assert outcomes(keeper(agent).restore(limit_s=30)) == {"stay_on": "restored"}
    assert state(lab) == BEFORE and note_on(lab) == ""
    assert "mStayOn=false" in lab.says(PHONE, "dumpsys power")
    assert keeper(agent).restore(limit_s=30) == ()


def test_an_unplugged_phone_gets_a_long_screen_time_out(lab: RunningLab, agent: AndroidAgent) -> None:
    lab.lab.set(PHONE, charger="none")
    eventually(lambda: "mIsPowered=false" in lab.says(PHONE, "dumpsys power"))
    changes = keeper(agent).apply(PhoneSettings(), wifi=False, limit_s=30)
    assert outcomes(changes) == {"screen_off_timeout": "set", "screen": "already"}
    assert f"mScreenOffTimeoutSetting={NEVER_MS}" in lab.says(PHONE, "dumpsys power")
    assert outcomes(keeper(agent).restore(limit_s=30)) == {"screen_off_timeout": "restored"}
    assert state(lab) == BEFORE


def test_a_sleeping_phone_is_woken_and_sleeps_again(lab: RunningLab, agent: AndroidAgent) -> None:
    lab.says(PHONE, "input keyevent KEYCODE_SLEEP")
    changes = keeper(agent).apply(PhoneSettings(), wifi=False, limit_s=30)
    assert outcomes(changes) == {"stay_on": "set", "screen": "set"}
    assert state(lab)["awake"] == "mWakefulness=Awake"
    assert outcomes(keeper(agent).restore(limit_s=30)) == {"screen": "restored", "stay_on": "restored"}
    assert state(lab) == {**BEFORE, "awake": "mWakefulness=Asleep"}


def test_the_screen_is_switched_off_and_on_again(lab: RunningLab, agent: AndroidAgent) -> None:
    changes = keeper(agent).apply(PhoneSettings(screen="off"), wifi=False, limit_s=30)
    assert outcomes(changes) == {"screen": "set", "stay_on": "left"}
    assert "suspend" in changes[-1].detail and refused(changes, PHONE) is None
    assert state(lab)["awake"] == "mWakefulness=Asleep"
    keeper(agent).restore(limit_s=30)
    assert state(lab) == BEFORE


def test_airplane_mode_over_usb_takes_wifi_along(lab: RunningLab, agent: AndroidAgent) -> None:
    changes = keeper(agent).apply(ALL, wifi=False, limit_s=30)
    assert outcomes(changes) == {"airplane_mode": "set", "stay_on": "set", "screen": "already"}
    assert lab.says(PHONE, "cmd connectivity airplane-mode; settings get global wifi_on") == "enabled\n3"
    assert outcomes(keeper(agent).restore(limit_s=30)) == {"airplane_mode": "restored", "stay_on": "restored"}
    assert meaning(state(lab)) == meaning(BEFORE)
    assert lab.says(PHONE, "settings get global wifi_on") == "1"


def test_airplane_mode_spares_wifi_when_the_phone_is_reached_over_it(lab: RunningLab, agent: AndroidAgent) -> None:
    changes = PhoneSettingsKeeper(agent._link, ROOT, guard_s=1).apply(ALL, wifi=True, limit_s=30)
    assert outcomes(changes)["airplane_radios"] == outcomes(changes)["airplane_mode"] == "set"
    assert state(lab)["radios"] == "cell,bluetooth,nfc,wimax"
    # The guard's second passes; it saw that the link lives and let airplane mode be.
    assert lab.says(PHONE, "sleep 1.5; cmd connectivity airplane-mode; settings get global wifi_on") == "enabled\n1"
    keeper(agent).restore(limit_s=30)
    assert meaning(state(lab)) == meaning(BEFORE)


def test_airplane_mode_that_cuts_the_link_ends_by_itself(lab: RunningLab, agent: AndroidAgent) -> None:
    # look, write, radios, guard, airplane mode: the link is gone with the next call.
    cut = PhoneSettingsKeeper(CutLink(agent._link, 5), ROOT, guard_s=2)
    with pytest.raises(Transient):
        cut.apply(PhoneSettings(stay_awake=False, airplane_mode="on"), wifi=True, limit_s=30)
    assert state(lab)["airplane"] == "1"
    eventually(lambda: state(lab)["airplane"] == "0")
    keeper(agent).restore(limit_s=30)
    assert meaning(state(lab)) == meaning(BEFORE)


@pytest.mark.parametrize("calls", range(9))
def test_wherever_the_controller_is_lost_the_next_one_puts_everything_back(
    lab: RunningLab, agent: AndroidAgent, calls: int
) -> None:
    lab.says(PHONE, "input keyevent KEYCODE_SLEEP")
    before = state(lab)
    told: list[str] = []
    # look, write, radios, guard, airplane mode, kept, stay on, screen: eight calls in all.
    cut = PhoneSettingsKeeper(CutLink(agent._link, calls), ROOT)
    try:
        cut.apply(ALL, wifi=True, limit_s=30, on_undo=told.append)
        assert calls == 8
    except Transient:
        assert calls < 8
    assert (note_on(lab) != "") == (calls >= 2) and bool(told) == (calls >= 1)
    changes = keeper(agent).restore(limit_s=30)
    assert not any(change.failed or change.outcome == "left" for change in changes)
    assert meaning(state(lab)) == meaning(before) and note_on(lab) == ""


@pytest.mark.parametrize("calls", [1, 2, 3, 4])
def test_a_restore_that_is_cut_is_finished_by_the_next(lab: RunningLab, agent: AndroidAgent, calls: int) -> None:
    keeper(agent).apply(ALL, wifi=False, limit_s=30)
    try:
        PhoneSettingsKeeper(CutLink(agent._link, calls), ROOT).restore(limit_s=30)
    except Transient:
        assert note_on(lab) != ""
    keeper(agent).restore(limit_s=30)
    assert meaning(state(lab)) == meaning(BEFORE) and note_on(lab) == ""


def test_a_killed_controller_leaves_what_the_next_apply_needs(lab: RunningLab, agent: AndroidAgent) -> None:
    killed = f"""
import os, signal
from device_agents.android.adb import AdbServer, endpoint_from
from device_agents.android.link import AdbLink
from device_agents.android.settings import PhoneSettingsKeeper
from harness.model import AdbEndpoint
from harness.model.inventory import PhoneSettings
link = AdbLink(AdbServer(endpoint_from(AdbEndpoint())), {agent.attached.serial!r})
keeper = PhoneSettingsKeeper(link, {ROOT!r})
keeper.apply(PhoneSettings(airplane_mode="on"), wifi=False, limit_s=30)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", killed], env={**os.environ, **lab.info.env}, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert state(lab)["airplane"] == "1"
    # The next run wants less: airplane mode ends now, and what was before the first run is still known.
    changes = keeper(agent).apply(PhoneSettings(), wifi=False, limit_s=30)
    assert outcomes(changes) == {"airplane_mode": "restored", "stay_on": "already", "screen": "already"}
    assert note_on(lab) == "stay_on null 7"
    keeper(agent).restore(limit_s=30)
    assert meaning(state(lab)) == meaning(BEFORE)


def test_applying_twice_remembers_what_was_before_the_first(lab: RunningLab, agent: AndroidAgent) -> None:
    lab.says(PHONE, "settings put global stay_on_while_plugged_in 3")
    assert outcomes(keeper(agent).apply(PhoneSettings(), wifi=False, limit_s=30))["stay_on"] == "set"
    assert outcomes(keeper(agent).apply(PhoneSettings(), wifi=False, limit_s=30))["stay_on"] == "already"
    assert note_on(lab) == "stay_on 3 7"
    keeper(agent).restore(limit_s=30)
    assert state(lab)["stay_on"] == "3"


def test_what_an_operator_changed_meanwhile_stays(lab: RunningLab, agent: AndroidAgent) -> None:
    keeper(agent).apply(ALL, wifi=False, limit_s=30)
    lab.says(PHONE, "settings put global stay_on_while_plugged_in 2")
    changes = keeper(agent).restore(limit_s=30)
    assert outcomes(changes) == {"stay_on": "left", "airplane_mode": "restored"}
    assert state(lab)["stay_on"] == "2" and note_on(lab) == ""


def test_a_phone_whose_note_is_gone_is_put_back_from_the_stored_one(lab: RunningLab, agent: AndroidAgent) -> None:
    told: list[str] = []
    keeper(agent).apply(ALL, wifi=False, limit_s=30, on_undo=told.append)
    # The note alone: the flag beside it holds the guard of an earlier test back.
    lab.says(PHONE, f"rm -f {shlex.quote(f'{ROOT}/settings.undo')}")
    assert keeper(agent).restore(limit_s=30) == ()
    changes = keeper(agent).restore(limit_s=30, undo=told[0])
    assert outcomes(changes) == {"stay_on": "restored", "airplane_mode": "restored"}
    assert meaning(state(lab)) == meaning(BEFORE)


def test_settings_survive_a_reboot_and_so_does_the_note(start_lab: StartLab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = start_lab(PHONE)
    agent = agent_of(lab, PHONE, monkeypatch)
    keeper(agent).apply(ALL, wifi=False, limit_s=30)
    before = lab.says(PHONE, "cat /proc/sys/kernel/random/boot_id")
    lab.lab.reboot(PHONE)

    def rebooted() -> bool:
        said = lab.shell(PHONE, "cat /proc/sys/kernel/random/boot_id")
        return said.returncode == 0 and said.stdout.decode().strip() not in ("", before)

    eventually(rebooted, limit_s=30)
    assert not any(change.failed for change in keeper(agent).restore(limit_s=30))
    assert meaning(state(lab)) == meaning(BEFORE)


def test_a_denial_names_the_toggle_on_the_phone(lab: RunningLab, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = agent_of(lab, "oneplus-12", monkeypatch)
    changes = keeper(agent).apply(ALL, wifi=False, limit_s=60)
    assert outcomes(changes) == {"airplane_mode": "denied", "stay_on": "denied", "screen": "already"}
    error = refused(changes, "oneplus-12")
    assert error is not None and error.error_class is ErrorClass.SETTING_DENIED
    assert "Disable permission monitoring" in error.advice and "SecurityException" in error.message
    assert not any(change.failed for change in keeper(agent).restore(limit_s=60))
    assert meaning(state(lab, "oneplus-12")) == meaning(BEFORE)


def test_a_phone_that_says_yes_and_does_nothing_is_found_out(lab: RunningLab, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = agent_of(lab, "galaxy-a54", monkeypatch)
    changes = keeper(agent).apply(PhoneSettings(screen="off"), wifi=False, limit_s=60)
    assert outcomes(changes) == {"screen": "ignored", "stay_on": "left"}
    changes = keeper(agent).apply(PhoneSettings(airplane_mode="on"), wifi=True, limit_s=60)
    assert outcomes(changes) == {
        "airplane_radios": "ignored",
        "airplane_mode": "impossible",
        "stay_on": "ignored",
        "screen": "already",
    }
    error = refused(changes, "galaxy-a54")
    assert error is not None and error.error_class is ErrorClass.SETTING_DENIED and error.advice


# --- pure parts -------------------------------------------------------------------------------------------------------


def phone_in(note: Sequence[Undo] = (), powered: bool | None = True, **values: str) -> Phone:
    plain: dict[Key, str] = {
        "stay_on": "0",
        "screen_off_timeout": "60000",
        "airplane_radios": "cell,wifi",
        "airplane_mode": "0",
        "screen": "1",
    }
    return Phone({**plain, **values}, powered, "Google", tuple(note))  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("wanted", "powered", "wifi", "expected"),
    [
        (PhoneSettings(stay_awake=False), True, True, {}),
        (PhoneSettings(), True, False, {"stay_on": "7", "screen": "1"}),
        (PhoneSettings(), False, False, {"screen_off_timeout": NEVER_MS, "screen": "1"}),
        (PhoneSettings(), None, False, {"stay_on": "7", "screen_off_timeout": NEVER_MS, "screen": "1"}),
        (PhoneSettings(screen="off"), True, False, {"screen": "0"}),
        (PhoneSettings(stay_awake=False, screen="on"), True, False, {"screen": "1"}),
        (PhoneSettings(stay_awake=False, airplane_mode="on"), True, False, {"airplane_mode": "1"}),
        (
            PhoneSettings(stay_awake=False, airplane_mode="on"),
            True,
            True,
            {"airplane_radios": "cell", "airplane_mode": "1"},
        ),
    ],
)
def test_what_is_set_follows_from_power_and_link(
    wanted: PhoneSettings, powered: bool | None, wifi: bool, expected: Mapping[str, str]
) -> None:
    assert wishes(wanted, phone_in(powered=powered), wifi=wifi) == expected


def test_a_phone_that_is_about_to_lose_its_power_is_kept_awake_for_both() -> None:
    assert wishes(PhoneSettings(), phone_in(powered=True), wifi=False, loses_power=True) == {
        "stay_on": "7",
        "screen_off_timeout": NEVER_MS,
        "screen": "1",
    }


def test_nothing_is_noted_that_is_already_so_or_not_told() -> None:
    assert noted(phone_in(stay_on="15", screen=""), {"stay_on": "7", "screen": "1"}) == ()
    assert noted(phone_in(), {"stay_on": "7"}) == (Undo("stay_on", "0", "7"),)


def test_an_old_note_counts_only_while_its_value_is_in_force() -> None:
    old = Undo("stay_on", "2", "7")
    assert noted(phone_in([old], stay_on="7"), {"stay_on": "7"}) == (old,)
    assert noted(phone_in([old], stay_on="0"), {"stay_on": "7"}) == (Undo("stay_on", "0", "7"),)
    assert noted(phone_in([old], stay_on="7"), {}) == (old,)


def test_a_note_is_read_back_and_a_damaged_one_never_raises() -> None:
    note = (Undo("airplane_radios", "cell,wifi", "cell"), Undo("screen_off_timeout", "-1", NEVER_MS))
    assert parse_note(note_text(note).encode()) == note and note_of_json(note_json(note)) == note
    assert parse_note(b"stay_on 0\nstay_on $(reboot) 7\nsomething 0 1\nstay_on 0 7\nstay_on 2 7\n\xff") == (
        Undo("stay_on", "0", "7"),
    )
    for text in ("", "{", "null", '{"key": 1}', '["x", {"key": "stay_on"}]', '[{"key": "stay_on\\nscreen 0 1"}]'):
        assert all(isinstance(undo, Undo) for undo in note_of_json(text))


@pytest.mark.parametrize(
    ("maker", "toggle"),
    [
        ("Xiaomi", "USB debugging (Security settings)"),
        ("OPPO", "Disable permission monitoring"),
        ("realme", "Disable permission monitoring"),
        ("Google", "USB debugging (Security settings)"),
    ],
)
def test_the_toggle_depends_on_the_maker(maker: str, toggle: str) -> None:
    assert toggle in toggle_advice(maker, "stay_on")


def test_the_words_of_a_phone_are_told_apart() -> None:
    denial = "java.lang.SecurityException: Permission denial: writing to settings requires:WRITE_SECURE_SETTINGS"
    assert was_refused(denial) and not lacks_command(denial)
    assert lacks_command("No shell command implementation.") and not was_refused("No shell command implementation.")
    assert not was_refused("") and not lacks_command("")
