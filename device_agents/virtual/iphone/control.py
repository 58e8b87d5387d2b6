"""Orders by which a test harms a lab's iPhones: a line of JSON each, `order` names it, `udid` the phone."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device_agents.virtual.errors import LabError
from device_agents.virtual.iphone import deaths, installation
from device_agents.virtual.iphone.phone import FAULTS, Iphone

if TYPE_CHECKING:
    from device_agents.virtual.iphone.server import Server

Order = dict[str, Any]


async def obey(server: Server, order: Order) -> Any:
    """Carry out one order; returns its result.

    Raises:
        LabError: there is no such order or phone, or it cannot be carried out now.
    """
    name = order.get("order")
    of_lab = _OF_LAB.get(str(name))
    if of_lab is not None:
        return await of_lab(server, order)
    phone = server.phones.get(str(order.get("udid")))
    if phone is None:
        raise LabError(f"no iPhone {order.get('udid')!r} in this lab", device=str(order.get("udid")))
    of_phone = _OF_PHONE.get(str(name))
    if of_phone is not None:
        return await of_phone(server, phone, order)
    if name in FAULTS:
        _fault(phone, str(name), on=bool(order.get("on", True)))
        return None
    known = ", ".join(sorted({*_OF_LAB, *_OF_PHONE, *FAULTS}))
    raise LabError(f"unknown order {name!r}", advice=f"one of: {known}", device=phone.udid)


async def install(phone: Iphone, package: str) -> str:
    """Install a package that lies on this machine, without a cable; returns its bundle.

    Raises:
        LabError: the phone does not take it.
    """
    try:
        return (await installation.install(phone, Path(package))).bundle
    except installation.InstallRefused as wrong:
        raise LabError(f"cannot install {package}: {wrong.error}: {wrong.text}", device=phone.udid) from wrong


def _fault(phone: Iphone, name: str, *, on: bool) -> None:
    if name == "locked":
        phone.lock(on)
    elif on:
        phone.faults.add(name)
    else:
        phone.faults.discard(name)
    phone.body.note("fault", name=name, on=on)


# --- of the lab -------------------------------------------------------------------------------------------------------


async def _status(server: Server, _: Order) -> Any:
    return [server.describe(phone) for phone in server.phones.values()]


async def _restart_muxer(server: Server, order: Order) -> None:
    """usbmuxd is restarted; with `seconds` it is away for so long."""
    away = float(order.get("seconds", 0.0))
    if away > 0:
        await server.muxer.stop()
        await asyncio.sleep(away)
        await server.muxer.start()
    else:
        await server.muxer.restart()


async def _tunneld(server: Server, order: Order) -> None:
    """tunneld ends, with all that goes through its tunnels; `on` starts it again."""
    await (server.tunnels.show() if order.get("on") else server.tunnels.hide())


async def _down(server: Server, _: Order) -> None:
    server.stopped.set()


# --- of a phone -------------------------------------------------------------------------------------------------------


async def _unplug(server: Server, phone: Iphone, order: Order) -> None:
    """The cable is pulled, now or after so many more bytes have been pushed."""
    count = order.get("after_bytes")
    if count is None:
        _pull(server, phone)
        return
    loop = asyncio.get_running_loop()

    def blow() -> None:
        loop.call_soon_threadsafe(_pull, server, phone)

    phone.fuse.arm(int(count), blow)


def _pull(server: Server, phone: Iphone) -> None:
    server.muxer.detach(phone)
    phone.body.set(charger="none")
    phone.body.note("unplug")


async def _plug(server: Server, phone: Iphone, order: Order) -> None:
    """The cable is plugged in; with `connection` "Network" the phone is reached over Wi-Fi, off the cable."""
    connection = str(order.get("connection", "USB"))
    if connection not in ("USB", "Network"):
        raise LabError(f"no connection {connection!r}", advice="USB or Network", device=phone.udid)
    server.muxer.detach(phone)
    phone.fuse.arm(None, lambda: None)
    phone.connection = connection
    phone.body.set(charger="usb" if connection == "USB" else "none")
    server.muxer.attach(phone)
    phone.body.note("plug", connection=connection)


async def _link_rate(_: Server, phone: Iphone, order: Order) -> None:
    """Files reach the phone with so many bytes per second; null: as fast as they can."""
    rate = order.get("bytes_per_s")
    if rate is not None and not float(rate) > 0:
        raise LabError(f"no rate {rate!r}", advice="bytes per second above 0, or null", device=phone.udid)
    phone.cable.hold(None if rate is None else float(rate))


async def _not_paired(server: Server, phone: Iphone, order: Order) -> None:
    """The phone trusts no host any more; the host's records are gone too, unless `keep_record`."""
    server.lockdowns[phone.udid].hosts.forget()
    if not order.get("keep_record"):
        server.muxer.record_of(phone.udid).unlink(missing_ok=True)
    phone.links.cut()


async def _locked_since_boot(server: Server, phone: Iphone, order: Order) -> None:
    """The phone restarts and waits for its first unlock; `on` false unlocks it."""
    if order.get("on", True):
        await server.restart(phone, locked=True)
    else:
        phone.lock(False)


async def _restart(server: Server, phone: Iphone, order: Order) -> None:
    await server.restart(phone, locked=bool(order.get("locked")))


async def _storage_full(_: Server, phone: Iphone, order: Order) -> None:
    """So many more bytes fit in (0 when not said); null: as many as the profile says."""
    left = order.get("bytes", 0)
    phone.storage.limit(None if left is None else int(left))


async def _install(_: Server, phone: Iphone, order: Order) -> str:
    return await install(phone, str(order["path"]))


async def _no_app(_: Server, phone: Iphone, order: Order) -> int:
    """Remove an app, or all; returns how many there were."""
    bundles = [str(order["bundle"])] if "bundle" in order else list(phone.apps)
    return sum(phone.uninstall(bundle) for bundle in bundles)


async def _cut(_: Server, phone: Iphone, order: Order) -> int:
    """Cut connections by kind ("afc", "lockdown", "dvt", …), all without one; the phone stays attached."""
    return phone.links.cut(*map(str, order.get("kinds", ())))


async def _dvt_drop(_: Server, phone: Iphone, __: Order) -> int:
    return phone.links.cut("dvt")


async def _jetsam(_: Server, phone: Iphone, order: Order) -> Any:
    return deaths.jetsam(phone, order.get("target"), reason=str(order.get("reason", "per-process-limit")))


async def _crash(_: Server, phone: Iphone, order: Order) -> Any:
    return deaths.crash(phone, order.get("target"), signum=int(order.get("signal", signal.SIGSEGV)))


async def _watchdog(_: Server, phone: Iphone, order: Order) -> Any:
    return deaths.watchdog(phone, order.get("target"))


async def _user_kill(_: Server, phone: Iphone, order: Order) -> Any:
    return deaths.user_kill(phone, order.get("target"))


async def _to_background(_: Server, phone: Iphone, order: Order) -> None:
    phone.to_background(back=not order.get("on", True))


async def _set(_: Server, phone: Iphone, order: Order) -> None:
    phone.set(**order["values"])


async def _log(_: Server, phone: Iphone, order: Order) -> None:
    phone.log.write(str(order.get("process", "farm")), str(order["message"]), pid=int(order.get("pid", 0)))


_OF_LAB: dict[str, Callable[[Server, Order], Coroutine[Any, Any, Any]]] = {
    "status": _status,
    "muxer_restart": _restart_muxer,
    "tunneld": _tunneld,
    "down": _down,
}
_OF_PHONE: dict[str, Callable[[Server, Iphone, Order], Coroutine[Any, Any, Any]]] = {
    "unplug": _unplug,
    "plug": _plug,
    "link_rate": _link_rate,
    "not_paired": _not_paired,
    "locked_since_boot": _locked_since_boot,
    "restart": _restart,
    "storage_full": _storage_full,
    "install": _install,
    "no_app": _no_app,
    "cut": _cut,
    "dvt_drop": _dvt_drop,
    "jetsam": _jetsam,
    "crash": _crash,
    "watchdog": _watchdog,
    "user_kill": _user_kill,
    "to_background": _to_background,
    "set": _set,
    "log": _log,
}
