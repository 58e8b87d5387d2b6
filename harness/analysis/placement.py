"""Whether a runner had the cores it was meant to have.

Thread count and cores decide a phone's figures more than most changes do, and a runtime's own affinity option is
ignored on Android in many builds. So cores are set from outside, and what every thread may use is read back from
`/proc/PID/task/*/status` (`Cpus_allowed_list`) while it works. The kernel gives a process the asked cores less those
that its cpuset lacks and those that are unplugged; only the last is the system's own doing and marks a result instead
of failing it. What the system changes while the runner works marks a result too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Protocol

_RANGE = re.compile(r"(\d{1,4})(?:-(\d{1,4}))?")

_CHANGES_KEPT = 20


class Look(Protocol):
    """Where the threads were allowed to run at one moment of the run.

    `uptime_s`: device uptime; `cpus`: the different lists of cores that the threads had ("0-3,6"); `cpuset`: its path,
    "" where not readable.
    """

    @property
    def uptime_s(self) -> float: ...

    @property
    def cpus(self) -> tuple[str, ...]: ...

    @property
    def cpuset(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Change:
    """The threads got other cores, or another cpuset, than at the look before; `uptime_s` is when that was seen."""

    uptime_s: float
    cpus: tuple[str, ...]
    cpuset: str

    @property
    def text(self) -> str:
        """ "at uptime 106 s the threads had 0-3 in /background"."""
        where = f" in {self.cpuset}" if self.cpuset else ""
        return f"at uptime {self.uptime_s:.0f} s the threads had {' and '.join(sorted(self.cpus))}{where}"


@dataclass(frozen=True, slots=True)
class PlacementVerdict:
    """Asked cores against those that the threads got.

    Args:
        verdict: "ok", "unplugged" (fewer, the missing ones were switched off by the system: the result is marked),
            "changed" (right at the start, later others: the result is marked), "mismatch" (other ones: no measurement
            of what was asked), "unknown".
        reason: in words.
        asked: cores asked for, None when the choice was left to the system.
        allowed: cores that some thread may use; None when not readable.
        looks: how often it was looked at while the runner worked.
        changes: what those looks found to be other than before.
    """

    verdict: Literal["ok", "unplugged", "changed", "mismatch", "unknown"]
    reason: str
    asked: tuple[int, ...] | None
    allowed: tuple[int, ...] | None
    looks: int = 0
    changes: tuple[Change, ...] = ()

    @property
    def mark(self) -> str:
        """The mark of a result that stands all the same, or ""."""
        marked = self.verdict in ("unplugged", "changed", "unknown")
        return f"placement_{self.verdict}: {self.reason}" if marked else ""

    def to_json(self) -> dict[str, Any]:
        """JSON-ready; null for what was left to the system or is not known."""
        return {
            "verdict": self.verdict,
            "reason": self.reason,
            "asked": None if self.asked is None else list(self.asked),
            "allowed": None if self.allowed is None else list(self.allowed),
            "looks": self.looks,
            "changes": [asdict(change) | {"cpus": list(change.cpus)} for change in self.changes[:_CHANGES_KEPT]],
        }


def parse_cpu_list(text: str) -> frozenset[int] | None:
    """Cores of a kernel list ("0-3,7"); None for anything else, also for an empty one."""
    cores: set[int] = set()
    for part in text.strip().split(","):
        found = _RANGE.fullmatch(part.strip())
        if found is None:
            return None
        first, last = int(found[1]), int(found[2] or found[1])
        if last < first:
            return None
        cores.update(range(first, last + 1))
    return frozenset(cores)


def cpu_list(cores: Iterable[int]) -> str:
    """Cores as the kernel writes them: "0-3,7"."""
    parts: list[list[int]] = []
    for core in sorted(set(cores)):
        if parts and core == parts[-1][1] + 1:
            parts[-1][1] = core
        else:
            parts.append([core, core])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)


def judge_placement(
    asked: Iterable[int] | None, seen: Mapping[str, str], looks: Iterable[Look] = ()
) -> PlacementVerdict:
    """Compare what was asked with what the device says of the process.

    Args:
        asked: cores that the runner was bound to; None: left to the system.
        seen: `JobOutput.placement`: "cpus_allowed" (one list per distinct set among the threads, separated by blanks)
            and, where the device tells it, "cpus_online" and "cpuset".
        looks: what the sampler saw of it while the runner worked, by time.
    """
    begun = _judge_start(asked, seen)
    each = tuple(looks)
    changes = tuple(_changes(begun, seen, each))
    if not changes or begun.verdict not in ("ok", "unplugged"):
        return replace(begun, looks=len(each), changes=changes)
    more = f" (the first of {len(changes)} changes)" if len(changes) > 1 else ""
    reason = f"{begun.reason} at the start, but {changes[0].text}{more}"
    return replace(begun, verdict="changed", reason=reason, looks=len(each), changes=changes)


def _changes(begun: PlacementVerdict, seen: Mapping[str, str], looks: Iterable[Look]) -> Iterator[Change]:
    """Looks that differ from what was before, the start included.

    Threads that were bound are compared list by list. Those of a runner that was left to the system come and go, and
    it may bind some itself: there only all of their cores together count.
    """

    def cores(lists: Iterable[str]) -> frozenset[frozenset[int]]:
        sets = frozenset(each for each in map(parse_cpu_list, lists) if each is not None)
        return sets if begun.asked is not None or not sets else frozenset((frozenset().union(*sets),))

    before, cpuset = cores(seen.get("cpus_allowed", "").split()), seen.get("cpuset", "")
    for look in looks:
        now = cores(look.cpus)
        moved = bool(before and now and now != before) or bool(cpuset and look.cpuset and look.cpuset != cpuset)
        if moved:
            yield Change(look.uptime_s, look.cpus, look.cpuset)
        before, cpuset = now or before, look.cpuset or cpuset


def _judge_start(asked: Iterable[int] | None, seen: Mapping[str, str]) -> PlacementVerdict:
    wanted = None if asked is None else frozenset(asked)
    told = None if wanted is None else tuple(sorted(wanted))
    lists = [parse_cpu_list(each) for each in seen.get("cpus_allowed", "").split()]
    sets = [each for each in lists if each is not None]
    if not sets or len(sets) != len(lists):
        words = seen.get("cpus_allowed", "")
        why = f"the device says {words[:80]!r}" if words else "the device does not tell which cores the threads may use"
        return PlacementVerdict("unknown", why, told, None)
    union = tuple(sorted(frozenset().union(*sets)))
    if wanted is None:
        return PlacementVerdict("ok", f"left to the system, which allows {cpu_list(union)}", None, union)
    if all(each == wanted for each in sets):
        return PlacementVerdict("ok", f"every thread has {cpu_list(wanted)}", told, union)
    got = " and ".join(sorted({cpu_list(each) for each in sets}))
    online = parse_cpu_list(seen.get("cpus_online", ""))
    missing = frozenset().union(*(wanted - each for each in sets))
    beyond = frozenset(union) - wanted
    if not beyond and online is not None and not missing & online:
        reason = f"asked {cpu_list(wanted)}, the system has switched off {cpu_list(missing)}"
        return PlacementVerdict("unplugged", reason, told, union)
    return PlacementVerdict("mismatch", f"asked {cpu_list(wanted)}, threads got {got}", told, union)


def where_it_ran(
    verdict: PlacementVerdict, seen: Mapping[str, str], texts: Mapping[str, str], reported: Mapping[str, Any]
) -> dict[str, Any]:
    """The provenance of a result's placement, JSON-ready; what the device does not tell is null.

    Args:
        seen: `JobOutput.placement`.
        texts: texts of the conditions; "policyN.governor" among them.
        reported: what the runner says of itself; "cpu_variant" is the CPU back end that it chose at start,
            "cpu_features" what that one uses.
    """
    governors = {
        name.removesuffix(".governor"): text for name, text in sorted(texts.items()) if name.endswith(".governor")
    }
    return {
        **verdict.to_json(),
        "threads_allowed": seen.get("cpus_allowed") or None,
        "cpuset": seen.get("cpuset") or None,
        "cgroup": seen.get("cgroup") or None,
        "governors": governors or None,
        "cpu_variant": reported.get("cpu_variant") or reported.get("cpu_features"),
    }
