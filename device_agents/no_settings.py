"""Settings of a device on which farm changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from device_agents.base import SettingChange
from harness.model import PhoneSettings


class NoSettings:
    """`device_agents.base.Settings` without effect."""

    def apply(
        self,
        wanted: PhoneSettings,
        *,
        wifi: bool,
        limit_s: float,
        on_undo: Callable[[str], None] | None = None,
        loses_power: bool = False,
    ) -> Sequence[SettingChange]:
        return ()

    def restore(self, *, limit_s: float, undo: str = "") -> Sequence[SettingChange]:
        return ()
