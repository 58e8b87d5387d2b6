"""USB power by uhubctl, judged by what it prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from device_agents import power
from harness.errors import FarmError, Permanent, Transient
from harness.model import UsbPort

ON = (
    "Current status for hub 1-1 [2109:2817 Hub, USB 2.10, 4 ports, ppps]\n"
    "  Port 2: 0503 power highspeed enable connect [18d1:4ee7 Phone X1]\n"
)
OFF_AFTER = ON + "Sent power off request\nNew status for hub 1-1 [2109:2817 Hub]\n  Port 2: 0000 off\n"
STILL_ON = ON + "Sent power off request\nNew status for hub 1-1 [2109:2817 Hub]\n  Port 2: 0503 power enable connect\n"
ON_AFTER = ON + "Sent power on request\nNew status for hub 1-1 [2109:2817 Hub]\n  Port 2: 0100 power\n"
PORT = UsbPort("1-1", 2)


class Tool:
    """uhubctl with answers prepared by action."""

    def __init__(self, **answers: str) -> None:
        self.answers = answers
        self.calls: list[tuple[str, ...]] = []

    def __call__(self, argv: Sequence[str], _limit_s: float) -> tuple[int, str]:
        self.calls.append(tuple(argv))
        action = argv[argv.index("-a") + 1] if "-a" in argv else "show"
        return 0, self.answers[action]


def test_capture(captures: Path) -> None:
    text = (captures / "misc_uhubctl" / "uhubctl_iphone_port_via_labs.txt").read_text("utf-8")
    ports = power.parse_uhubctl(text)
    current = [port for port in ports if not port.after]
    assert [port.port for port in current] == [1, 2, 3, 4]
    assert all(port.powered for port in current)
    assert "iPhone" in current[3].device
    after = [port for port in ports if port.after]
    assert {port.hub for port in after} == {"1-2"}
    assert not any(port.powered for port in after)


@pytest.mark.parametrize(
    "text", ["", "Port 1: garbage", "No compatible devices detected!\nRun with -h to get usage info."]
)
def test_other_text_has_no_ports(text: str) -> None:
    assert power.parse_uhubctl(text) == ()


def test_switch_is_verified() -> None:
    tool = Tool(off=OFF_AFTER)
    power.switch(PORT, False, limit_s=5, run=tool)
    assert tool.calls == [("uhubctl", "-l", "1-1", "-p", "2", "-a", "off")]
    with pytest.raises(Transient, match="did not switch off"):
        power.switch(PORT, False, limit_s=5, run=Tool(off=STILL_ON))
    with pytest.raises(Permanent, match="cannot be switched"):
        power.switch(PORT, False, limit_s=5, run=Tool(off="Permission denied. Try running as root"))


def test_cycle_ends_with_the_port_on_even_when_off_failed() -> None:
    tool = Tool(off=OFF_AFTER, on=ON_AFTER)
    power.cycle(PORT, limit_s=5, off_s=0, run=tool)
    assert [call[-1] for call in tool.calls] == ["off", "on"]
    tool = Tool(off=STILL_ON, on=ON_AFTER)
    with pytest.raises(FarmError):
        power.cycle(PORT, limit_s=5, off_s=0, run=tool)
    assert [call[-1] for call in tool.calls] == ["off", "on"]


def test_switchable_says_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert power.switchable(PORT, Tool(show=ON)) == ""
    assert "no port 2 on hub 1-1" in power.switchable(PORT, Tool(show="No compatible devices detected!"))
    monkeypatch.setattr("shutil.which", lambda _name: None)
    assert power.switchable(PORT) == "uhubctl is not installed"
