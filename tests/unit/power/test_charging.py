"""Taking phones off their power: what a hub says never counts alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import pytest

from device_agents.android.telemetry.samples import parse_samples
from device_agents.charging import (
    HubCharging,
    WifiCharging,
    charging_control,
    discharging,
    proof_of,
    prove_port,
    reader,
)
from harness.errors import ErrorClass, FarmError, Permanent, Transient
from harness.model import Channel, Measured, Reading, Trace, Unavailable, UsbPort
from tests.contract.conftest import agent_of
from tests.lab.conftest import RunningLab, start

PORT = UsbPort("1-1", 2)
LOST = Transient("the link was lost", error_class=ErrorClass.DEVICE_LOST)


class Hub:
    """uhubctl of a hub whose port 2 is switched; `effect` is what that does to the phone."""

    def __init__(self, effect: Callable[[bool], None] = lambda _on: None) -> None:
        self.on = True
        self.effect = effect

    def __call__(self, argv: Sequence[str], _limit_s: float) -> tuple[int, str]:
        before = "power enable connect" if self.on else "off"
        text = f"Current status for hub 1-1 [hub]\n  Port 2: 0503 {before}\n"
        if "-a" in argv:
            self.on = argv[argv.index("-a") + 1] == "on"
            self.effect(self.on)
            text += f"New status for hub 1-1 [hub]\n  Port 2: 0503 {'power' if self.on else 'off'}\n"
        return 0, text


def told(value: float | None) -> Reading:
    return Unavailable("frozen report") if value is None else Measured(value, "", "dumpsys battery")


def answers(*replies: Reading | FarmError) -> Callable[[float], Reading]:
    """A phone that gives these answers, the last one for ever."""
    left = list(replies)

    def read(_limit_s: float) -> Reading:
        reply = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(reply, FarmError):
            raise reply
        return reply

    return read


def test_off_is_what_the_phone_says() -> None:
    hub = Hub()
    control = HubCharging(PORT, answers(told(0)), run=hub)
    assert control.impossible() == ""
    cut = control.off(limit_s=5)
    assert cut.by == "phone"
    assert not hub.on


def test_a_phone_that_notices_late_is_asked_again() -> None:
    assert HubCharging(PORT, answers(told(1), told(0)), run=Hub()).off(limit_s=5).by == "phone"


@pytest.mark.parametrize("reply", [told(1), told(None)])
def test_a_hub_that_only_pretends_is_an_error_and_the_port_is_on_again(reply: Reading) -> None:
    hub = Hub()
    with pytest.raises(Permanent, match="does not agree") as raised:
        HubCharging(PORT, answers(reply), run=hub, notice_s=0).off(limit_s=5)
    assert raised.value.error_class is ErrorClass.SETTING_DENIED
    assert raised.value.advice
    assert hub.on


def test_over_usb_the_link_goes_with_the_power_and_the_samples_have_to_show_it() -> None:
    hub = Hub()
    cut = HubCharging(PORT, answers(LOST), run=hub, notice_s=0).off(limit_s=5)
    assert cut.by == "record"
    assert not hub.on


def test_an_interrupt_does_not_leave_a_phone_without_power() -> None:
    hub = Hub()

    def interrupted(_limit_s: float) -> Reading:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        HubCharging(PORT, interrupted, run=hub).off(limit_s=5)
    assert hub.on


def test_power_comes_back_after_the_block_whatever_happens_in_it() -> None:
    hub = Hub()
    control = HubCharging(PORT, lambda _limit: told(1.0 if hub.on else 0.0), run=hub)
    with pytest.raises(ZeroDivisionError), discharging(control, limit_s=5) as cut:
        assert cut.by == "phone"
        assert not hub.on
        raise ZeroDivisionError
    assert hub.on


@pytest.mark.parametrize("reply", [told(0), told(None), LOST])
def test_power_that_does_not_come_back_is_an_error(reply: Reading | FarmError) -> None:
    with pytest.raises(Transient, match="did not notice") as raised:
        HubCharging(PORT, answers(reply), run=Hub()).on(limit_s=0)
    assert raised.value.error_class is ErrorClass.DEVICE_LOST


def test_over_wifi_the_phone_decides() -> None:
    assert WifiCharging(answers(told(0))).off(limit_s=1).by == "phone"
    assert "by hand" in WifiCharging(answers(told(0))).impossible()
    for reply in (told(1), told(None)):
        with pytest.raises(Permanent, match="not off external power"):
            WifiCharging(answers(reply)).off(limit_s=1)


# --- proof ------------------------------------------------------------------------------------------------------------


def record(*values: float, absent: str = "") -> Trace:
    channel = Channel("battery.external", "", "dumpsys battery", None, absent)
    return Trace(channel, tuple(100.0 + index for index in range(len(values))), values)


@pytest.mark.parametrize(
    ("trace", "proven", "text"),
    [
        (record(1, 1, 0, 0, 0, 1), True, "for 2 s"),
        (record(1, 1, 1, 1), False, "only pretends"),
        (record(0, 0, 0), None, "before"),
        (record(1, 1, 0, 0), None, "did not report it again"),
        (record(absent="frozen"), None, "frozen"),
        (None, None, "not sampled"),
    ],
)
def test_a_proof_is_the_phones_own_record(trace: Trace | None, proven: bool | None, text: str) -> None:
    found = proof_of(trace, PORT)
    assert found.proven is proven
    assert text in found.text


def test_without_the_tool_nothing_is_switched() -> None:
    found = prove_port(None, PORT, parse_samples, run=lambda _argv, _limit: (127, "uhubctl is not installed"))  # type: ignore[arg-type]
    assert found.proven is None
    assert "uhubctl" in found.text


@pytest.fixture(scope="module")
def lab() -> Iterator[RunningLab]:
    running = start(["pixel-8-pro"])
    yield running
    running.lab.down()


def test_a_cable_that_carries_power_and_adb_is_proven_by_the_phone(
    lab: RunningLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    phone = "pixel-8-pro"

    def cable(on: bool) -> None:
        lab.lab.set(phone, charger="usb" if on else "none")
        (lab.lab.replug if on else lab.lab.unplug)(phone)

    agent = agent_of(lab, phone, monkeypatch)
    lab.lab.set(phone, charger="usb")
    found = prove_port(agent, PORT, parse_samples, run=Hub(cable), record_s=3)
    assert found.proven is True, found.text
    assert agent.jobs.reap(limit_s=20) == ()


def test_a_virtual_phone_is_taken_off_its_power_and_put_back(lab: RunningLab, monkeypatch: pytest.MonkeyPatch) -> None:
    phone = "pixel-8-pro"
    agent = agent_of(lab, phone, monkeypatch)
    lab.lab.set(phone, charger="usb")
    hub = Hub(lambda on: lab.lab.set(phone, charger="usb" if on else "none"))
    control = charging_control(agent, usb=PORT, run=hub)
    assert isinstance(control, HubCharging)
    with discharging(control, limit_s=20) as cut:
        assert cut.by == "phone"
    assert reader(agent)(20) == Measured(1.0, "", "dumpsys battery powered")
    by_hand = charging_control(agent, usb=None)
    assert isinstance(by_hand, WifiCharging)
    with pytest.raises(Permanent, match="not off external power"):
        by_hand.off(limit_s=20)
    cabled = dataclasses.replace(agent.attached, over_network=False)
    monkeypatch.setattr(agent, "attached", cabled)
    assert charging_control(agent, usb=None) is None
