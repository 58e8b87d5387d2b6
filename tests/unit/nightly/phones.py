"""Phones, looks at them, and inventories, for the tests of health."""

from __future__ import annotations

from harness.model import (
    HEALTH_READINGS,
    Attached,
    Device,
    DeviceFacts,
    DeviceKind,
    DeviceState,
    HealthRecord,
    Inventory,
    Match,
    Measured,
    Platform,
    Reading,
    Tier,
    Unavailable,
    UsbPort,
)

NOW = 1_795_000_000.0
DAY_S = 86_400.0


def entry(name: str, *, hub: str = "", port: int = 1, serial: str | None = "", model: str | None = None) -> Device:
    """An entry for the phone of that name; `serial` None: it is told by its model."""
    match = Match(serial=None if serial is None else serial or f"serial of {name}", model=model)
    return Device(name, Platform.ANDROID, "flagship", match, usb=UsbPort(hub, port) if hub else None)


def lab(*entries: Device) -> Inventory:
    return Inventory(version=1, tiers={"flagship": Tier("Flagship")}, devices=entries)


def facts(name: str, *, model: str = "Phone X") -> DeviceFacts:
    return DeviceFacts(
        identity=f"serial of {name}",
        kind=DeviceKind.VIRTUAL,
        manufacturer="Maker",
        model=model,
        product="p",
        device="d",
        soc="SoC",
        os_version="14",
        os_fingerprint="maker/p/d:14",
        abis=("arm64-v8a",),
        ram_bytes=8 * 10**9,
        storage_free_bytes=10**11,
        storage_total_bytes=2 * 10**11,
    )


def attached(name: str, state: DeviceState = DeviceState.READY, *, advice: str = "", network: bool = False) -> Attached:
    """The phone of that name; one that is not ready answers nothing."""
    serial = f"serial of {name}"
    ready = state is DeviceState.READY
    return Attached(
        Platform.ANDROID, serial, (serial,), state, advice, facts(name) if ready else None, over_network=network
    )


GOOD: dict[str, Reading] = {
    "battery_health": Measured(2.0, "", "dumpsys battery health"),
    "cycle_count": Measured(143.0, "", "power_supply cycle_count"),
    "charge_full_mah": Measured(4788.0, "mAh", "power_supply charge_full (µAh)"),
    "charge_full_design_mah": Measured(5050.0, "mAh", "power_supply charge_full_design (µAh)"),
    "capacity_pct": Measured(94.8, "%", "power_supply"),
    "battery_level_pct": Measured(74.0, "%", "dumpsys battery"),
    "power_state_external": Measured(1.0, "", "dumpsys battery powered"),
    "temperature_rest_c": Measured(26.1, "°C", "dumpsys battery temperature"),
    "storage_free_mb": Measured(155_000.0, "MB", "df"),
}


def look(
    name: str, *, at: float = NOW, night: str = "", entry: str | None = None, **readings: float | None
) -> HealthRecord:
    """A look at a phone in good health, but for these readings; None: not told."""
    found = dict(GOOD)
    for reading, number in readings.items():
        assert reading in HEALTH_READINGS
        found[reading] = Unavailable("not told") if number is None else Measured(number, "", f"test {reading}")
    return HealthRecord(
        identity=f"serial of {name}",
        device_id=name,
        entry=name if entry is None else entry,
        tier="flagship",
        kind=DeviceKind.VIRTUAL,
        model="Phone X",
        serials=(f"serial of {name}",),
        at=at,
        night=night,
        readings=found,
    )


def known(*looks: HealthRecord) -> dict[str, HealthRecord]:
    return {each.identity: each for each in looks}
