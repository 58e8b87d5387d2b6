"""Ports that are off are written down, so that whoever comes after a killed farm switches them on."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from device_agents import ports_off, power
from harness.cli import compose
from harness.errors import FarmError
from harness.leases import identity_of_this_process
from harness.model import UsbPort
from tests.unit.power.test_charging import Hub

PORT = UsbPort("1-1", 2)


def dead(_host: str, _pid: int, _started: float) -> bool:
    return False


def test_a_port_is_noted_while_it_is_off_and_left_to_its_living_process() -> None:
    hub = Hub()
    power.switch(PORT, False, limit_s=5, run=hub)
    assert ports_off.left_off() == (), "this process lives"
    (entry,) = ports_off.left_off(alive=dead)
    assert entry.port == PORT and entry.until > time.time()
    power.switch(PORT, True, limit_s=5, run=hub)
    assert ports_off.left_off(alive=dead) == ()


def test_it_is_noted_before_it_is_switched() -> None:
    seen: list[int] = []
    hub = Hub(lambda _on: seen.append(len(ports_off.left_off(alive=dead))))
    power.switch(PORT, False, limit_s=5, run=hub)
    power.switch(PORT, True, limit_s=5, run=hub)
    assert seen == [1, 1]


def noted_by(
    monkeypatch: pytest.MonkeyPatch, *, off_s: float = 3600, held_pct: float | None = None, **who: Any
) -> None:
    """A note as another process would have left it."""
    other = replace(identity_of_this_process(), **who)
    with monkeypatch.context() as patch:
        patch.setattr(ports_off, "identity_of_this_process", lambda: other)
        ports_off.note(PORT, off_s=off_s, held_pct=held_pct)


def left_by_a_killed_process(monkeypatch: pytest.MonkeyPatch, held_pct: float | None = None) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    noted_by(monkeypatch, pid=gone.pid, pid_started=1.0, held_pct=held_pct)


def test_what_a_killed_process_left_is_switched_on_once(monkeypatch: pytest.MonkeyPatch) -> None:
    left_by_a_killed_process(monkeypatch)
    hub = Hub()
    hub.on = False
    assert power.switch_on_left(run=hub) == ((PORT, ""),)
    assert hub.on
    assert power.switch_on_left(run=hub) == ()


def test_a_port_that_cannot_be_switched_on_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    left_by_a_killed_process(monkeypatch)
    monkeypatch.setattr(power, "_run", lambda _argv, _limit: (1, "Permission denied"))
    ((text, advice),) = compose.give_back_power(None)
    assert "Permission denied" in text and advice == "uhubctl -l 1-1 -p 2 -a on"
    assert len(ports_off.left_off()) == 1, "it stays written down"


def test_a_port_of_a_process_that_cannot_be_seen_is_taken_when_it_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    noted_by(monkeypatch, host="another container")
    assert ports_off.left_off() == ()
    noted_by(monkeypatch, host="another container", off_s=-1)
    assert len(ports_off.left_off()) == 1


def test_a_torn_note_is_passed_over() -> None:
    ports_off.note(PORT, off_s=1)
    (path,) = (ports_off.cache_dir() / ports_off.FOLDER).iterdir()
    path.write_text('{"hub": "1-1"')
    assert ports_off.left_off(alive=dead) == ()


def test_a_busy_hub_is_asked_again_to_give_the_power() -> None:
    asked: list[str] = []

    def stubborn(argv: Sequence[str], _limit_s: float) -> tuple[int, str]:
        asked.append(argv[-1])
        word = "power" if len(asked) > 2 else "off"
        return 0, f"New status for hub 1-1 [hub]\n  Port 2: 0503 {word}\n"

    power.switch(PORT, True, limit_s=5, run=stubborn)
    assert asked == ["on"] * 3
    asked.clear()
    with pytest.raises(FarmError, match="did not switch on"):
        power.switch(PORT, True, limit_s=5, run=lambda argv, limit: (asked.clear(), stubborn(argv, limit))[1])


def test_a_port_that_holds_a_charge_is_given_back_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    left_by_a_killed_process(monkeypatch, held_pct=80.0)
    assert ports_off.held_ports() == {PORT}
    hub = Hub()
    hub.on = False
    monkeypatch.setattr(power, "_run", hub)
    ((text, advice),) = compose.give_back_power(None)
    assert (text, advice) == ("USB port 2 of hub 1-1 was off to hold the charge of its phone: it is on again", "")
    assert hub.on and ports_off.held_ports() == frozenset()


def test_a_note_of_an_older_farm_is_read() -> None:
    ports_off.note(PORT, off_s=1, held_pct=80)
    (path,) = (ports_off.cache_dir() / ports_off.FOLDER).iterdir()
    fields = json.loads(path.read_text())
    path.write_text(json.dumps({name: fields[name] for name in ("hub", "port", "until", "host", "pid", "pid_started")}))
    (note,) = ports_off.noted()
    assert (note.port, note.since, note.held_pct) == (PORT, 0.0, None)
