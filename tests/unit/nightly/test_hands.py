"""What only a person can do: one finding for each phone, one for a whole hub, none for what never was there."""

from __future__ import annotations

import pytest

from harness.model import Attached, DeviceState, HandNeeded, HealthRecord, Inventory, UsbPort
from harness.nightly.hands import FORGOTTEN_S, hands_needed
from tests.unit.nightly.phones import DAY_S, NOW, attached, entry, known, lab, look


def needed(
    inventory: Inventory,
    here: tuple[Attached, ...],
    *looks: HealthRecord,
    held: frozenset[UsbPort] = frozenset(),
) -> list[HandNeeded]:
    return list(hands_needed(inventory, here, known(*looks), now=NOW, held=held))


def test_a_lab_in_order_needs_nobody() -> None:
    assert not needed(lab(entry("a"), entry("b")), (attached("a"), attached("b")), look("a"), look("b"))


def test_a_phone_that_never_was_there_is_no_finding() -> None:
    assert not needed(lab(entry("a"), entry("b", hub="1-1")), (attached("a"),), look("a"))


def test_a_phone_that_was_there_is_missed_with_its_port_and_the_day() -> None:
    (hand,) = needed(lab(entry("a", hub="1-1", port=3)), (), look("a", at=NOW - 3 * DAY_S))
    assert hand.devices == ("a",)
    assert hand.problem == "not attached; last seen 2026-11-15"
    assert "USB port 3 of hub 1-1" in hand.advice


def test_an_unauthorized_phone_says_what_to_tap() -> None:
    here = (attached("a", DeviceState.UNAUTHORIZED, advice="tap Allow"),)
    assert needed(lab(entry("a")), here) == [HandNeeded(("a",), "unauthorized", "tap Allow")]


def test_an_unauthorized_phone_of_an_entry_without_serial_is_known_by_its_last_look() -> None:
    inventory = lab(entry("a", serial=None, model="Phone X"))
    here = (attached("a", DeviceState.UNAUTHORIZED, advice="tap Allow"),)
    assert needed(inventory, here, look("a")) == [HandNeeded(("a",), "unauthorized", "tap Allow")]
    assert not needed(inventory, here), "a phone that nobody has seen may be anybody's"


# --- hubs -------------------------------------------------------------------------------------------------------------

HUB = lab(entry("a", hub="1-1", port=1), entry("b", hub="1-1", port=2), entry("c", hub="1-2", port=1))


def test_a_lost_hub_is_one_finding() -> None:
    (hand,) = needed(HUB, (attached("c"),), look("a"), look("b"), look("c"))
    assert (hand.devices, hand.problem) == (("a", "b"), "hub 1-1: all 2 phones at it are gone")
    assert "power supply" in hand.advice


def test_one_phone_of_a_hub_is_a_finding_of_its_own() -> None:
    looks = (look("a"), look("b"), look("c"))
    assert [hand.devices for hand in needed(HUB, (attached("b"), attached("c")), *looks)] == [("a",)]
    assert [hand.devices for hand in needed(HUB, (attached("a"), attached("b")), *looks)] == [("c",)]


def test_a_hub_whose_phone_is_listed_but_silent_is_not_lost() -> None:
    here = (attached("b", DeviceState.OFFLINE, advice="replug"), attached("c"))
    found = needed(HUB, here, look("a"), look("b"), look("c"))
    assert [(hand.devices, hand.problem.split(";")[0]) for hand in found] == [
        (("a",), "not attached"),
        (("b",), "offline"),
    ]


def test_ports_that_farm_keeps_off_are_nobodys_business() -> None:
    looks = (look("a"), look("b"), look("c"))
    held = frozenset({UsbPort("1-1", 1), UsbPort("1-1", 2)})
    assert not needed(HUB, (attached("c"),), *looks, held=held)


# --- who is meant -----------------------------------------------------------------------------------------------------


def test_a_replaced_phone_is_not_missed() -> None:
    inventory = lab(entry("a", serial="serial of new"))
    assert not needed(inventory, (attached("new"),), look("a"))
    assert not needed(inventory, (), look("a")), "the entry means another one, which never was there"


def test_one_of_several_phones_of_an_entry_is_missed_for_two_weeks() -> None:
    inventory = lab(entry("fleet", serial=None, model="Phone X"))
    stays = look("a", entry="fleet")
    assert needed(inventory, (attached("a"),), stays, look("b", entry="fleet", at=NOW - DAY_S))
    assert not needed(inventory, (attached("a"),), stays, look("b", entry="fleet", at=NOW - FORGOTTEN_S - 1))
    gone = needed(inventory, (), look("b", entry="fleet", at=NOW - FORGOTTEN_S - 1))
    assert gone, "without any phone the entry is empty, however long ago that was"


def test_a_phone_whose_entry_is_gone_is_forgotten() -> None:
    assert not needed(lab(entry("b")), (), look("a"))


# --- what a look shows ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("readings", "problem", "advice"),
    [
        ({"battery_health": 4}, "its battery reports dead", "replace the battery"),
        ({"battery_health": 5}, "its battery reports over voltage", "replace the battery"),
        ({"battery_health": 6}, "its battery reports unspecified failure", "back has risen"),
        ({"battery_health": 3}, "its battery reports overheat", "let it cool"),
        ({"capacity_pct": 58.4}, "its battery holds 58 % of its design", "replace the battery"),
        ({"storage_free_mb": 1200}, "1.2 GB of storage free", "remove apps"),
        ({"battery_level_pct": 12, "power_state_external": 0}, "battery 12 % and nothing charges it", "plug it in"),
    ],
)
def test_what_a_person_cures(readings: dict[str, float], problem: str, advice: str) -> None:
    (hand,) = needed(lab(entry("a")), (attached("a"),), look("a", **readings))
    assert (hand.devices, hand.problem) == (("a",), problem)
    assert advice in hand.advice


@pytest.mark.parametrize(
    "readings",
    [
        {"battery_health": 7},
        {"battery_health": None, "capacity_pct": None, "storage_free_mb": None, "battery_level_pct": None},
        {"capacity_pct": 60},
        {"battery_level_pct": 12},
        {"battery_level_pct": 60, "power_state_external": 0},
    ],
)
def test_what_needs_no_hand(readings: dict[str, float | None]) -> None:
    assert not needed(lab(entry("a")), (attached("a"),), look("a", **readings))


def test_a_phone_outside_the_inventory_needs_nobody() -> None:
    assert not needed(lab(), (attached("a", DeviceState.UNAUTHORIZED, advice="tap"),))
