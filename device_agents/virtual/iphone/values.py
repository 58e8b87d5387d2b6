"""What lockdown says of a phone: values by domain and key."""

from __future__ import annotations

import hashlib
import platform
import time
import uuid
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from device_agents.virtual.iphone.phone import Iphone

_STRANGERS = (
    "DeviceName",
    "DeviceClass",
    "ProductName",
    "ProductType",
    "ProductVersion",
    "BuildVersion",
    "HardwareModel",
    "HardwarePlatform",
    "UniqueDeviceID",
    "UniqueChipID",
    "ChipID",
    "BoardId",
    "DieID",
    "CPUArchitecture",
    "DevicePublicKey",
    "DeviceColor",
    "FarmVirtual",
    "HumanReadableProductVersionString",
    "PasswordProtected",
    "ProtocolVersion",
    "ProductionSOC",
    "SupportedDeviceFamilies",
    "TelephonyCapability",
    "WiFiAddress",
)
"""What the phone says to a host that it does not trust."""

_ABIS = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "arm64-v8a", "arm64": "arm64-v8a"}
"""Machine → the ABI of the programs that a virtual iPhone really runs; no iPhone has the value that says so."""


def chip_unique_id(phone: Iphone) -> int:
    """The ECID: part of a UDID of today's form, else made from it."""
    digits = phone.udid.replace("-", "")
    if len(digits) == 24:
        try:
            return int(digits[8:], 16)
        except ValueError:
            pass
    return int.from_bytes(hashlib.sha256(phone.udid.encode("utf-8", "replace")).digest()[:7], "big")


def _address(phone: Iphone, which: str) -> str:
    digest = hashlib.sha256(f"{phone.udid}/{which}".encode("utf-8", "replace")).digest()
    return ":".join(f"{byte:02x}" for byte in (0xF0, 0x2F, *digest[:4]))


def _default(phone: Iphone, public_key: bytes) -> dict[str, Any]:
    profile = phone.profile
    now = time.time()
    return {
        "ActivationState": "Activated",
        "ActivationStateAcknowledged": True,
        "BasebandStatus": "BBInfoAvailable",
        "BluetoothAddress": _address(phone, "bluetooth"),
        "BoardId": profile.board_id,
        "BrickState": False,
        "BuildVersion": profile.build_version,
        "CPUArchitecture": profile.cpu,
        "CertID": 0,
        "ChipID": profile.chip_id,
        "DeviceClass": "iPhone",
        "DeviceColor": "1",
        "DeviceName": profile.name,
        "DevicePublicKey": public_key,
        "DieID": chip_unique_id(phone),
        "FarmVirtual": _ABIS.get(platform.machine().lower(), platform.machine()),
        "EthernetAddress": _address(phone, "ethernet"),
        "HardwareModel": profile.hardware_model,
        "HardwarePlatform": profile.hardware_platform,
        "HasSiDP": True,
        "HostAttached": True,
        "HumanReadableProductVersionString": profile.ios_version,
        "ModelNumber": profile.model_number,
        "NonVolatileRAM": {},
        "PartitionType": "GUID_partition_scheme",
        "PasswordProtected": phone.locked,
        "ProductName": "iPhone OS",
        "ProductType": profile.product_type,
        "ProductVersion": profile.ios_version,
        "ProductionSOC": True,
        "ProtocolVersion": "2",
        "RegionInfo": "ZD/A",
        "SerialNumber": "V" + hashlib.sha256(phone.udid.encode("utf-8", "replace")).hexdigest()[:9].upper(),
        "SupportedDeviceFamilies": [1],
        "TelephonyCapability": True,
        "TimeIntervalSince1970": now,
        "TimeZone": "UTC",
        "TimeZoneOffsetFromUTC": 0.0,
        "TrustedHostAttached": True,
        "UniqueChipID": chip_unique_id(phone),
        "UniqueDeviceID": phone.udid,
        "UseRaptorCerts": True,
        "Uses24HourClock": True,
        "WiFiAddress": _address(phone, "wifi"),
        "kCTPostponementStatus": "kCTPostponementStatusActivated",
        "BootSessionID": str(uuid.UUID(phone.boot_id)).upper(),
    }


def _disk(phone: Iphone) -> dict[str, Any]:
    free, capacity = phone.storage.free, phone.storage.capacity
    return {
        "AmountDataAvailable": free,
        "AmountDataReserved": 209715200,
        "AmountRestoreAvailable": free,
        "TotalDataAvailable": free,
        "TotalDataCapacity": capacity,
        "TotalDiskCapacity": capacity + 13 * 10**9,
        "TotalSystemAvailable": 0,
        "TotalSystemCapacity": 13 * 10**9,
    }


def _battery(phone: Iphone) -> dict[str, Any]:
    registry = phone.battery()
    return {
        "BatteryCurrentCapacity": registry["CurrentCapacity"],
        "BatteryIsCharging": registry["IsCharging"],
        "ExternalChargeCapable": registry["ExternalChargeCapable"],
        "ExternalConnected": registry["ExternalConnected"],
        "FullyCharged": registry["FullyCharged"],
        "GasGaugeCapability": True,
        "HasBattery": True,
    }


def domain(phone: Iphone, name: str, public_key: bytes, *, trusted: bool) -> dict[str, Any] | None:
    """All values of a domain ("" is the one without a name); None when there is none, or none for strangers."""
    if name == "":
        values = _default(phone, public_key)
        return values if trusted else {key: values[key] for key in _STRANGERS if key in values}
    if not trusted:
        return None
    match name:
        case "com.apple.disk_usage" | "com.apple.disk_usage.factory":
            return _disk(phone)
        case "com.apple.mobile.battery":
            return _battery(phone)
        case "com.apple.security.mac.amfi":
            return {"DeveloperModeStatus": phone.developer_mode} if phone.profile.major >= 16 else {}
        case "com.apple.international":
            return {"Language": phone.language, "Locale": phone.language.replace("-", "_"), "Keyboard": phone.language}
        case "com.apple.mobile.wireless_lockdown":
            return {"EnableWifiConnections": phone.connection == "Network", "SupportsWifi": True}
        case "com.apple.xcode.developerdomain":
            return {"DeveloperStatus": "Development" if phone.image_mounted else "None"}
        case "com.apple.mobile.internal":
            return {"IsInternal": False, "VoidWarranty": False}
        case _:
            return None
