"""What is said of energy before a run."""

from __future__ import annotations

import pytest

from harness.analysis.gauge import GaugeCalibration
from harness.energy_outlook import EnergyOutlook, energy_outlook
from harness.model import DeviceKind, Measured, Platform, UsbPort
from harness.model.words import WorkloadKind

PORT = UsbPort("1-1.4", 3)
ON, OFF = (Measured(value, "", "dumpsys battery") for value in (1.0, 0.0))


def outlook(*, over_network: bool = False, kind: DeviceKind = DeviceKind.PHONE, **more: object) -> EnergyOutlook:
    return energy_outlook(platform=Platform.ANDROID, kind=kind, over_network=over_network, **more)  # type: ignore[arg-type]


def test_a_cable_without_a_switch_feeds_the_phone() -> None:
    found = outlook(external=ON)
    assert (found.possible, found.way) == (False, "")
    assert "Wi-Fi" in found.why
    assert "hub" in found.why


@pytest.mark.parametrize("over_network", [True, False])
def test_a_hub_port_is_a_way_and_says_whether_it_was_proven(over_network: bool) -> None:
    unproven, proven = (outlook(over_network=over_network, usb=PORT, external=ON, proven=each) for each in (None, True))
    assert unproven.possible
    assert proven.possible
    assert "farm doctor --prove-power" in unproven.why
    assert "prove" not in proven.why
    assert "port 3 of hub 1-1.4" in proven.why
    assert proven.way == "hub"
    assert ("without adb" in proven.why) is not over_network


def test_a_hub_that_only_pretends_is_no_way() -> None:
    found = outlook(usb=PORT, proven=False)
    assert not found.possible
    assert "does not cut its power" in found.why
    over_wifi = outlook(usb=PORT, proven=False, over_network=True, external=OFF)
    assert (over_wifi.possible, over_wifi.way) == (True, "wifi")
    assert "does not cut its power" in over_wifi.why


def test_over_wifi_the_operator_unplugs() -> None:
    assert not outlook(over_network=True, external=ON).possible
    assert "unplug it" in outlook(over_network=True, external=ON).why
    assert outlook(over_network=True, external=OFF).way == "wifi"
    assert outlook(over_network=True).possible


@pytest.mark.parametrize("kind", [each for each in WorkloadKind if each is not WorkloadKind.BATTERY])
def test_only_battery_workloads_last_long_enough(kind: WorkloadKind) -> None:
    found = outlook(over_network=True, external=OFF, workload=kind)
    assert not found.possible
    assert kind.value in found.why
    assert outlook(over_network=True, external=OFF, workload=WorkloadKind.BATTERY).possible


def test_a_phone_without_any_gauge() -> None:
    blind = GaugeCalibration(current_evidence="denied", counter_evidence="counts nothing")
    found = outlook(over_network=True, external=OFF, gauge=blind)
    assert not found.possible
    assert "denied" in found.why
    assert "counts nothing" in found.why
    assert outlook(over_network=True, external=OFF, gauge=GaugeCalibration()).possible
    half = GaugeCalibration(counter_channel="battery.charge_counter", counter_to_c=3.6, current_evidence="denied")
    assert outlook(over_network=True, external=OFF, gauge=half).possible


def test_what_is_no_phone_has_no_gauge() -> None:
    assert not outlook(kind=DeviceKind.HOST, over_network=True).possible
    found = energy_outlook(platform=Platform.LOCAL, kind=DeviceKind.HOST, over_network=False)
    assert "no fuel gauge" in found.why


def test_an_iphone_is_measured_over_wifi_and_by_no_hub() -> None:
    def seen(**more: object) -> EnergyOutlook:
        return energy_outlook(platform=Platform.IOS, kind=DeviceKind.PHONE, usb=PORT, proven=True, **more)  # type: ignore[arg-type]

    plugged = seen(over_network=False)
    assert (plugged.possible, plugged.way) == (False, "")
    assert "usbmux" in plugged.why and "Finder" in plugged.why and "hub" not in plugged.why
    assert not seen(over_network=True, external=ON).possible
    assert (seen(over_network=True, external=OFF).possible, seen(over_network=True).way) == (True, "wifi")
