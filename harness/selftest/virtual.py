"""The virtual phones of a self-test: their truth files, and the lab that changes their truth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from device_agents.virtual import profiles
from device_agents.virtual.errors import LabError
from device_agents.virtual.lab import Lab, LabPhone, Wish, all_labs, parse_wish
from harness.plan import ResolvedDevice
from harness.selftest.truth import Truth, read_truth

MAKERS = 4
"""Makers whose quirks the self-test's own lab shows at least, where there are profiles of so many."""


@dataclass(frozen=True, slots=True)
class Handle:
    """A phone of a running lab."""

    lab: Lab
    phone: LabPhone

    def truth(self, boot_id: str = "") -> Truth:
        """Its truth so far; raises TruthMissing."""
        return read_truth(self.phone.truth, boot_id)


class Phones:
    """Handles by the identity of the device."""

    def __init__(self, handles: Iterable[Handle]) -> None:
        self._handles = {handle.phone.serial: handle for handle in handles}

    def has(self, device: ResolvedDevice) -> bool:
        return device.facts.identity in self._handles

    def of(self, device: ResolvedDevice) -> Handle:
        return self._handles[device.facts.identity]

    @contextmanager
    def changed(
        self, devices: Sequence[ResolvedDevice], during: Mapping[str, Any], after: Mapping[str, Any]
    ) -> Iterator[None]:
        """Change the truth of phones (keywords of `Lab.set`) for the time of a trial."""
        handles = [self.of(device) for device in devices]
        try:
            for handle in handles:
                handle.lab.set(handle.phone.id, **during)
            yield
        finally:
            for handle in handles:
                handle.lab.set(handle.phone.id, **after)


def running_phones(labs: Iterable[Lab] | None = None) -> Phones:
    """The phones of every running lab of this user, or of these labs."""
    handles: list[Handle] = []
    for lab in all_labs() if labs is None else labs:
        try:
            handles += [Handle(lab, phone) for phone in lab.info().phones]
        except LabError:
            continue
    return Phones(handles)


def makers_wishes(count: int = MAKERS) -> list[Wish]:
    """One phone of each maker there is a profile of; more of the same where there are fewer than `count` makers."""
    chosen: dict[str, str] = {}
    names = profiles.names()
    for name in names:
        chosen.setdefault(profiles.load(name).manufacturer.lower(), name)
    picked = list(chosen.values())
    picked += [name for name in names if name not in picked][: max(0, count - len(picked))]
    return [parse_wish(name) for name in picked]
