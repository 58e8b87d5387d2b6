"""Every iPhone that the muxer lists, usable or not, with what was looked at and what to do about it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, cast

from device_agents.android.telemetry import parse_ioregistry
from device_agents.ios.failures import KINDS, Kind, advice_of, words_of
from device_agents.ios.muxer import Muxed, is_there, listed, muxer_address
from device_agents.ios.phone import BUNDLE, Phone, is_ours
from device_agents.ios.products import product_of
from device_agents.ios.versions import REFUSED, developer_way
from harness.errors import ErrorClass, FarmError
from harness.model import (
    Attached,
    DeviceCheck,
    DeviceFacts,
    DeviceKind,
    DeviceState,
    Lab,
    Measured,
    Platform,
)

PROBE_S = 20.0
"""Limit of each question to a phone, the start of its worker and of a tunnel included."""

_LIST_S = 5.0
_MOST_AT_ONCE = 8

VIRTUAL = "FarmVirtual"
"""Value by which a virtual iPhone says that it is one: the ABI of what it runs."""

_ABIS: Mapping[str, tuple[str, ...]] = {"arm64": ("arm64-v8a",), "arm64e": ("arm64-v8a",)}

Examined = Mapping[str, Any]
"""What `PhoneService.examine` found."""


def discover(lab: Lab, *, probe_s: float = PROBE_S) -> tuple[Attached, ...]:
    """Every iPhone of the muxer that `lab` (or the environment) names, or of the system's own where there is one.

    Raises:
        FarmError: the muxer that is named does not answer.
    """
    if not is_there(lab.usbmux):
        return ()
    ways = listed(muxer_address(lab.usbmux), limit_s=_LIST_S)
    udids = tuple(dict.fromkeys(each.udid for each in ways))
    if not udids:
        return ()
    with ThreadPoolExecutor(max_workers=min(len(udids), _MOST_AT_ONCE)) as pool:
        return tuple(pool.map(lambda udid: examine(udid, lab, ways, probe_s=probe_s), udids))


def examine(udid: str, lab: Lab, ways: Sequence[Muxed] = (), *, probe_s: float = PROBE_S) -> Attached:
    """One iPhone as it is now, by a worker of its own."""
    transports = tuple(each.connection.lower() for each in ways if each.udid == udid) or ("usb",)
    phone = Phone(udid, lab)
    try:
        found = phone.ask("examine", limit_s=probe_s, doing="looking at the phone")
        tunnel: DeviceCheck | None = None
        if found["paired"] and not _missing(found):
            tunnel = _tunnel(phone, found, probe_s)
    except FarmError as error:
        return _silent(udid, transports, error)
    finally:
        phone.close()
    return attached_of(udid, transports, found, tunnel)


def attached_of(udid: str, transports: Sequence[str], found: Examined, tunnel: DeviceCheck | None) -> Attached:
    """The entry of a phone that answered."""
    checks = (*_checks(found), *((tunnel,) if tunnel is not None else ()))
    problems = [check for check in checks if check.level == "problem"]
    advice = [check.advice for check in problems if check.advice]
    state = DeviceState.READY
    if not found["paired"]:
        state = DeviceState.UNAUTHORIZED
    elif _kind(found.get("apps")) == "locked_since_boot":
        state = DeviceState.LOCKED_SINCE_BOOT
    elif problems:
        state = DeviceState.NOT_PREPARED
    disk = found.get("disk")
    return Attached(
        platform=Platform.IOS,
        serial=udid,
        transports=(udid,),
        state=state,
        advice="; ".join(dict.fromkeys(advice)),
        facts=facts_of(found["values"], disk if isinstance(disk, dict) and _kind(disk) is None else None, udid),
        checks=(DeviceCheck("link", "ok", " and ".join(transports)), *checks),
        over_network="usb" not in transports,
    )


def facts_of(values: Mapping[str, Any], disk: Mapping[str, Any] | None, udid: str) -> DeviceFacts:
    """What lockdown's values say; `disk` is its domain com.apple.disk_usage."""
    product_type = _text(values, "ProductType")
    product = product_of(product_type)
    virtual = _text(values, VIRTUAL)
    cpu = _text(values, "CPUArchitecture")
    return DeviceFacts(
        identity=_text(values, "UniqueDeviceID") or udid,
        kind=DeviceKind.VIRTUAL if virtual else DeviceKind.PHONE,
        manufacturer="Apple",
        model=product.name if product is not None else product_type,
        product=product_type,
        device=_text(values, "HardwareModel"),
        soc=product.chip if product is not None else _text(values, "HardwarePlatform"),
        os_version=_text(values, "ProductVersion"),
        os_fingerprint=_text(values, "BuildVersion"),
        abis=(virtual,) if virtual else _ABIS.get(cpu, (cpu,) if cpu else ()),
        ram_bytes=product.ram_bytes if product is not None else None,
        storage_free_bytes=_whole(disk, "AmountDataAvailable"),
        storage_total_bytes=_whole(disk, "TotalDataCapacity"),
        performance_cores=product.performance_cores if product is not None else 0,
    )


def prepare(attached: Attached, lab: Lab, *, limit_s: float = 300.0) -> Attached:
    """Do what farm itself can do about a phone: ask for trust, mount the developer image; the phone as it is then."""
    phone = Phone(attached.serial, lab)
    doing = "pairing"
    try:
        if attached.state is DeviceState.UNAUTHORIZED:
            phone.ask("pair", limit_s=PROBE_S, doing="asking for trust")
        doing = "image"
        if _can_mount(attached):
            phone.ask("mount_image", limit_s=limit_s, doing="mounting the developer image")
    except FarmError as error:
        return _with_problem(attached, doing, error)
    finally:
        phone.close()
    return examine(attached.serial, lab)


def can_prepare(attached: Attached) -> bool:
    """Whether `prepare` has anything to do."""
    unpaired = attached.state is DeviceState.UNAUTHORIZED
    return attached.platform is Platform.IOS and (unpaired or _can_mount(attached))


def _can_mount(attached: Attached) -> bool:
    """Whether the image is missing, and nothing that only a person can cure stands before it."""
    missing = {check.name for check in attached.checks if check.level == "problem"}
    by_hand = "developer mode" in missing or attached.state is DeviceState.LOCKED_SINCE_BOOT
    return "image" in missing and not by_hand


# --- checks -----------------------------------------------------------------------------------------------------------


def _missing(found: Examined) -> bool:
    """Whether the developer services cannot be there, for a reason that was seen already."""
    return found.get("developer_mode") is False or found.get("image") is False


def _checks(found: Examined) -> Iterator[DeviceCheck]:
    values = found["values"]
    version = str(values.get("ProductVersion", ""))
    if developer_way(version) == "none":
        yield DeviceCheck("iOS", "problem", f"{version}: {REFUSED}", advice_of("old_os"))
    if not found["paired"]:
        yield DeviceCheck("pairing", "problem", words_of("not_paired"), advice_of("not_paired"))
        return
    yield DeviceCheck("pairing", "ok", "paired")
    if values.get("PasswordProtected") is True:
        # Not a reason to leave it alone: some versions say so of every phone with a passcode.
        yield DeviceCheck("lock", "warning", "it says that its passcode protects it now", advice_of("locked"))
    yield _battery(found.get("battery"))
    yield _seen("developer mode", found.get("developer_mode"), "developer_mode", "on", none="this iOS has no switch")
    yield _seen("image", found.get("image"), "image", "mounted")
    yield _app(found.get("apps"))


def _battery(told: Any) -> DeviceCheck:
    if not isinstance(told, dict) or _kind(told) is not None:
        return _unseen("battery", told)
    readings = parse_ioregistry(json.dumps(told).encode())
    level, external = readings["battery_level_pct"], readings["power_state_external"]
    if not isinstance(level, Measured):
        return DeviceCheck("battery", "unknown", level.reason)
    fed = " and external power" if isinstance(external, Measured) and external.value else ""
    return DeviceCheck("battery", "ok", f"{level.value:.0f} %{fed}")


def _app(told: Any) -> DeviceCheck:
    """Whether farm's app is there; a run installs it where it is not."""
    if not isinstance(told, dict) or _kind(told) is not None:
        return _unseen("app", told)
    ours = [f"{name} {app['version']}" for name, app in told.items() if name == BUNDLE or is_ours(app)]
    return DeviceCheck("app", "ok", ", ".join(ours) if ours else "not installed yet; a run installs it from its .ipa")


def _seen(name: str, value: Any, missing: Kind, text: str, *, none: str = "") -> DeviceCheck:
    if value is True:
        return DeviceCheck(name, "ok", text)
    if value is False:
        return DeviceCheck(name, "problem", words_of(missing), advice_of(missing))
    return DeviceCheck(name, "ok", none) if value is None and none else _unseen(name, value)


def _unseen(name: str, told: Any) -> DeviceCheck:
    """Why something could not be seen; a reason that farm's work needs cured is a problem."""
    kind = _kind(told)
    if kind is None:
        return DeviceCheck(name, "unknown", "it does not tell")
    level = cast(Any, "problem" if kind in ("locked", "locked_since_boot") else "unknown")
    return DeviceCheck(name, level, f"{words_of(kind)}: {told.get('text', '')}".rstrip(": "), advice_of(kind))


def _tunnel(phone: Phone, found: Examined, probe_s: float) -> DeviceCheck | None:
    """Whether the developer services can be reached; None where iOS rules that out."""
    way = developer_way(str(found["values"].get("ProductVersion", "")))
    if way == "none":
        return None
    name = "tunnel" if way == "tunnel" else "developer services"
    try:
        phone.ask("examine_tunnel", limit_s=probe_s, doing="reaching the developer services")
    except FarmError as error:
        if error.error_class is ErrorClass.DEVICE_LOCKED:
            name = "lock"
        return DeviceCheck(name, "problem", error.message.partition(": ")[2] or error.message, error.advice)
    return DeviceCheck(name, "ok", "reached")


def _silent(udid: str, transports: Sequence[str], error: FarmError) -> Attached:
    """The entry of a phone that could not be asked."""
    states = {
        ErrorClass.PAIRING: DeviceState.UNAUTHORIZED,
        ErrorClass.DEVICE_LOCKED: DeviceState.LOCKED_SINCE_BOOT,
        ErrorClass.DEVICE_LOST: DeviceState.OFFLINE,
    }
    state = states.get(error.error_class, DeviceState.UNRESPONSIVE)
    check = DeviceCheck("answer", "problem", error.message, error.advice)
    link = DeviceCheck("link", "ok", " and ".join(transports))
    return Attached(
        Platform.IOS, udid, (udid,), state, error.advice, None, (link, check), over_network="usb" not in transports
    )


def _with_problem(attached: Attached, tried: str, error: FarmError) -> Attached:
    """The phone after what farm tried for it, the cure of the check `tried`, has failed."""
    said = DeviceCheck(tried, "problem", error.message, error.advice)
    checks = (*(check for check in attached.checks if check.name != tried), said)
    advice = [check.advice for check in checks if check.level == "problem" and check.advice]
    return replace(attached, advice="; ".join(dict.fromkeys(advice)), checks=checks)


def _kind(told: Any) -> Kind | None:
    kind = told.get("kind") if isinstance(told, dict) and set(told) == {"kind", "text"} else None
    return cast(Kind, kind) if kind in KINDS else None


def _text(values: Mapping[str, Any], key: str) -> str:
    value = values.get(key)
    return value if isinstance(value, str) else ""


def _whole(values: Mapping[str, Any] | None, key: str) -> int | None:
    value = values.get(key) if values is not None else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None
