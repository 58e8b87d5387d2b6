"""The lease of an iPhone, in its media folder: there also before the app is installed."""

from __future__ import annotations

import time

from device_agents.device_lease import DeviceLease, holder_of
from device_agents.ios.phone import Phone
from harness.model import LeaseInfo


class IosLease(DeviceLease):
    """`device_agents.base.PhoneLease` of an iPhone; changed under a lock that the phone itself gives back."""

    def __init__(self, phone: Phone) -> None:
        super().__init__(phone.udid)
        self._phone = phone

    def _change(self, verb: str, token: str, dead: str, seconds: int, text: str, limit_s: float) -> LeaseInfo | None:
        said = self._phone.ask(
            "lease",
            verb=verb,
            token=token,
            dead=dead,
            seconds=seconds,
            text=text,
            limit_s=limit_s,
            doing="handling the lease",
        )
        return holder_of(str(said), time.time())
