"""iPhones that trust this host from the start, as those of a desk do."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from device_agents.ios.muxer import VARIABLE
from device_agents.ios.supervised import COMMAND, Supervised
from device_agents.virtual.errors import LabError
from device_agents.virtual.iphone.lab import IphoneLab, IphoneLabInfo, IphoneWish
from harness.errors import FarmError

_LIMIT_S = 60.0
_MOST_AT_ONCE = 4


def up(lab: IphoneLab, folder: Path, wishes: Sequence[IphoneWish], *, die_with: int | None) -> IphoneLabInfo:
    """Start phones, tap Trust on each, and only then give each its behaviours.

    Args:
        folder: for the pairing records of the client, which asks for trust.

    Raises:
        LabError: the phones do not start or do not trust; none runs then.
    """
    info = lab.up([replace(wish, faults=()) for wish in wishes], die_with=die_with)
    try:
        with ThreadPoolExecutor(max_workers=_MOST_AT_ONCE) as pool:
            list(pool.map(lambda phone: _pair(phone.udid, info.usbmux, folder), info.phones))
        for phone, wish in zip(info.phones, wishes, strict=True):
            for name in wish.faults:
                lab.order(name, phone.id)
    except BaseException:
        lab.down()
        raise
    return info


def _pair(udid: str, usbmux: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"udid": udid, "tunneld": "", "records": str(folder)}
    worker = Supervised(udid, settings, environment={VARIABLE: usbmux}, command=COMMAND)
    try:
        worker.call("pair", limit_s=_LIMIT_S, doing="asking for trust")
    except FarmError as refused:
        raise LabError(refused.message, advice=refused.advice, device=udid) from refused
    finally:
        worker.close()
