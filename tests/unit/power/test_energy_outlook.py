"""What is said of energy before a run."""

from __future__ import annotations

import pytest

from harness.analysis.gauge import GaugeCalibration
from harness.energy_outlook import EnergyOutlook, energy_outlook
from harness.model import DeviceKind, Measured, Platform, UsbPort
from harness.model.words import WorkloadKind

PORT = UsbPort("1-1.4", 3)
ON, OFF = (Measured(value, "", "dumpsys battery") for value in (1.0, 0.0))


def outlook(*, tcp: bool = False, kind: DeviceKind = DeviceKind.PHONE, **more: object) -> EnergyOutlook:
    return energy_outlook(platform=Platform.ANDROID, kind=kind, tcp=tcp, **more)  # type: ignore[arg-type]


def test_a_cable_without_a_switch_feeds_the_phone() -> None:
    found = outlook(external=ON)
    assert (found.possible, found.way) == (False, "")
    assert "Wi-Fi" in found.why
    assert "hub" in found.why


@pytest.mark.parametrize("tcp", [True, False])
def test_a_hub_port_is_a_way_and_says_whether_it_was_proven(tcp: bool) -> None:
    unproven, proven = (outlook(tcp=tcp, usb=PORT, external=ON, proven=each) for each in (None, True))
    assert unproven.possible
    assert proven.possible
    assert "farm doctor --prove-power" in unproven.why
    assert "prove" not in proven.why
    assert "port 3 of hub 1-1.4" in proven.why
    assert proven.way == "hub"
    assert ("without adb" in proven.why) is not tcp


def test_a_hub_that_only_pretends_is_no_way() -> None:
    found = outlook(usb=PORT, proven=False)
    assert not found.possible
    assert "does not cut its power" in found.why
    over_wifi = outlook(usb=PORT, proven=False, tcp=True, external=OFF)
    assert (over_wifi.possible, over_wifi.way) == (True, "wifi")
    assert "does not cut its power" in over_wifi.why


def test_over_wifi_the_operator_unplugs() -> None:
    assert not outlook(tcp=True, external=ON).possible
    assert "unplug it" in outlook(tcp=True, external=ON).why
    assert outlook(tcp=True, external=OFF).way == "wifi"
    assert outlook(tcp=True).possible


@pytest.mark.parametrize("kind", [each for each in WorkloadKind if each is not WorkloadKind.BATTERY])
def test_only_battery_workloads_last_long_enough(kind: WorkloadKind) -> None:
    found = outlook(tcp=True, external=OFF, workload=kind)
    assert not found.possible
    assert kind.value in found.why
    assert outlook(tcp=True, external=OFF, workload=WorkloadKind.BATTERY).possible


def test_a_phone_without_any_gauge() -> None:
    blind = GaugeCalibration(current_evidence="denied", counter_evidence="counts nothing")
    found = outlook(tcp=True, external=OFF, gauge=blind)
    assert not found.possible
    assert "denied" in found.why
    assert "counts nothing" in found.why
    assert outlook(tcp=True, external=OFF, gauge=GaugeCalibration()).possible
    half = GaugeCalibration(counter_channel="battery.charge_counter", counter_to_c=3.6, current_evidence="denied")
    assert outlook(tcp=True, external=OFF, gauge=half).possible


def test_what_is_no_phone_has_no_gauge() -> None:
    assert not outlook(kind=DeviceKind.HOST, tcp=True).possible
    found = energy_outlook(platform=Platform.IOS, kind=DeviceKind.PHONE, tcp=False)
    assert "ios" in found.why
