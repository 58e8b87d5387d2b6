"""Whether energy can be measured on a phone, in the same words for `farm plan` and `farm doctor`. Pure.

Energy needs a phone that really discharges for half an hour, and a gauge that tells what flows. A cable that carries
adb or usbmux also carries power, so it takes Wi-Fi with nothing plugged in, or, on Android, a hub port that can be
switched off (the run goes on without adb meanwhile; an iPhone keeps no record of its own while its link is away).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.analysis.gauge import GaugeCalibration
from harness.model import DeviceKind, Measured, Platform, Reading, UsbPort
from harness.model.words import WorkloadKind

Way = Literal["hub", "wifi", ""]


@dataclass(frozen=True, slots=True)
class EnergyOutlook:
    """Args: possible; why (complete sentence for an operator); way: how the phone comes off its power, "" for none."""

    possible: bool
    why: str
    way: Way = ""


def energy_outlook(
    *,
    platform: Platform,
    kind: DeviceKind,
    over_network: bool,
    usb: UsbPort | None = None,
    proven: bool | None = None,
    external: Reading | None = None,
    gauge: GaugeCalibration | None = None,
    workload: WorkloadKind | None = None,
) -> EnergyOutlook:
    """Whether a case can have energy figures on a phone.

    Args:
        platform, kind: of the device.
        over_network: whether it is reached without a cable.
        usb: the hub port that the inventory names for it.
        proven: whether that port was shown by the phone's own reading to cut its power; None: not tried.
        external: the phone's own reading now (power_state_external, 1 or 0); None: not asked.
        gauge: calibration of its gauge; None: not known yet, found out in the first discharge.
        workload: of the case; None: any.
    """
    if workload is not None and workload is not WorkloadKind.BATTERY:
        return EnergyOutlook(False, f"{workload.value} workloads are too short for a fuel gauge: use kind battery")
    if platform is Platform.LOCAL or kind is DeviceKind.HOST:
        return EnergyOutlook(False, "this machine has no fuel gauge that farm reads")
    blind = _blind(gauge)
    if blind:
        return EnergyOutlook(False, blind)
    if platform is Platform.IOS:
        usb = None
    if usb is not None and proven is not False:
        port = f"port {usb.port} of hub {usb.hub}"
        alone = "" if over_network else ", which goes on without adb until the port is on again"
        note = "" if proven else "; not proven yet: farm doctor --prove-power"
        return EnergyOutlook(True, f"{port} can be switched off for the run{alone}{note}", "hub")
    pretends = f"port {usb.port} of hub {usb.hub} does not cut its power; " if usb is not None else ""
    if not over_network:
        return EnergyOutlook(False, pretends + _FED[platform])
    if isinstance(external, Measured) and external.value:
        return EnergyOutlook(False, f"{pretends}the phone is on external power: unplug it; Wi-Fi reaches it")
    if isinstance(external, Measured):
        return EnergyOutlook(True, f"{pretends}the phone is off external power and reached over Wi-Fi", "wifi")
    return EnergyOutlook(True, f"{pretends}the phone is reached over Wi-Fi: leave it unplugged", "wifi")


_FED = {
    Platform.ANDROID: "the cable that carries adb feeds the phone: connect it with adb over Wi-Fi and unplug it, or "
    "name a port of a hub that switches power (`usb` of the device)",
    Platform.IOS: "the cable that carries usbmux feeds the phone: let it be reached over Wi-Fi (Finder: show this "
    "iPhone when on Wi-Fi) and unplug it",
}


def _blind(gauge: GaugeCalibration | None) -> str:
    """Why the gauge gives no energy at all, or "". What is merely not calibrated yet can still be."""
    if gauge is None:
        return ""
    seen = gauge.current_channel or gauge.counter_channel
    if seen or gauge == GaugeCalibration():
        return ""
    return f"the phone tells neither its current ({gauge.current_evidence}) nor its charge ({gauge.counter_evidence})"
