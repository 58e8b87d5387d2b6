"""A first inventory from attached phones: ids, and a proposed tier for each with the reason. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Any

from harness.model import Attached, DeviceFacts, Lab, Platform

GIB = 1 << 30

FLAGSHIP_RAM_GIB = 7.0
MID_RANGE_RAM_GIB = 5.0
"""A phone sold with 8 GB shows a little over 7 GiB, one with 6 GB a little over 5."""

SOC_TIERS: tuple[tuple[str, str, str], ...] = (
    (r"Tensor G[3-9]|GS[3-9]\d\d|zuma", "flagship", "Tensor G3 or later"),
    (r"Tensor|GS[12]\d\d|cloudripper", "mid-range", "Tensor G1 or G2"),
    (r"SM8[5-9]\d\d|Snapdragon 8 (Gen [2-9]|Elite)", "flagship", "Snapdragon 8 Gen 2 or later"),
    (r"SM8\d\d\d|SM7\d\d\d|Snapdragon [78]", "mid-range", "Snapdragon 7 or an older 8"),
    (r"S5E99[2-9]\d|Exynos 2[2-9]\d\d", "flagship", "Exynos 2200 or later"),
    (r"S5E8[89]\d\d|Exynos 1[3-9]\d\d", "mid-range", "Exynos 1300 class"),
    (r"MT69[89]\d|Dimensity 9", "flagship", "Dimensity 9000 class"),
    (r"MT689\d|Dimensity 8", "mid-range", "Dimensity 8000 class"),
    (r"\bA(1[6-9]|[2-9]\d)\b", "flagship", "A16 or later"),
    (r"\bA1[45]\b", "mid-range", "A14 or A15"),
)
"""Pattern of the SoC name → tier and why; what matches none is a budget SoC for our purpose."""

TIER_ORDER = ("budget", "mid-range", "flagship")


@dataclass(frozen=True, slots=True)
class Drafted:
    """One proposed device entry; `why` says what the tier was taken from."""

    id: str
    serial: str
    tier: str
    why: str
    platform: Platform
    model: str


def propose_tier(facts: DeviceFacts) -> tuple[str, str]:
    """Tier by SoC, held down by RAM: a fast SoC with little memory cannot hold a flagship's models."""
    by_soc, why = "budget", f"SoC {facts.soc or 'unknown'} is not among those known as faster"
    for pattern, tier, name in SOC_TIERS:
        if re.search(pattern, facts.soc, re.IGNORECASE):
            by_soc, why = tier, f"SoC {facts.soc} is {name}"
            break
    if facts.ram_bytes is None:
        return by_soc, f"{why}; RAM unknown"
    ram = facts.ram_bytes / GIB
    by_ram = "flagship" if ram >= FLAGSHIP_RAM_GIB else "mid-range" if ram >= MID_RANGE_RAM_GIB else "budget"
    lower = min(by_soc, by_ram, key=TIER_ORDER.index)
    held = "" if lower == by_soc else f", but RAM allows {by_ram} only"
    return lower, f"{why}; {ram:.1f} GiB RAM{held}"


def draft(attached: Iterable[Attached]) -> tuple[Drafted, ...]:
    """Entries matched by serial, with ids made from the model names."""
    drafted: list[Drafted] = []
    taken: set[str] = set()
    for device in attached:
        facts = device.facts
        if facts is None:
            continue
        stem = re.sub(r"[^a-z0-9]+", "-", facts.model.casefold()).strip("-") or "phone"
        name, count = stem, 1
        while name in taken:
            count += 1
            name = f"{stem}-{count}"
        taken.add(name)
        tier, why = propose_tier(facts)
        drafted.append(Drafted(name, facts.identity, tier, why, device.platform, facts.model))
    return tuple(drafted)


def render(
    drafted: Iterable[Drafted],
    lab: Lab | None = None,
    *,
    host_abi: str | None = None,
    runners: Iterable[Mapping[str, str]] = (),
) -> str:
    """The YAML of an inventory: the shipped tiers, models, runners, workloads and suites, and these devices.

    Args:
        drafted: the devices; one of platform local has no serial.
        lab: where they were seen, when it is not the usual place.
        host_abi: ABI of the runners of platform local.
        runners: entries beside the shipped ones.
    """
    import yaml

    shipped = yaml.safe_load(files("harness").joinpath("starter.yaml").read_text(encoding="utf-8"))
    where = {name: value for name, value in asdict(lab or Lab(name="my-lab")).items() if value is not None}
    lines = [_dump({"version": 1, "lab": where, "tiers": shipped["tiers"]}), "devices:"]
    for row in drafted:
        entry: dict[str, Any] = {"id": row.id, "platform": row.platform.value, "tier": row.tier}
        if row.serial:
            entry["match"] = {"serial": row.serial}
        flow = yaml.safe_dump(entry, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10_000).strip()
        lines.append(f"  - {flow}  # {_comment(row.model)}; {row.tier}: {_comment(row.why)}")
    for runner in shipped["runners"]:
        if host_abi and runner["platform"] == Platform.LOCAL.value:
            runner["abi"] = host_abi
    shipped["runners"] += [dict(runner) for runner in runners]
    rest = {name: shipped[name] for name in ("models", "runners", "workloads", "suites", "gates", "phone_settings")}
    return "\n".join([*lines, _dump(rest)])


def _dump(part: Mapping[str, Any]) -> str:
    import yaml

    return str(yaml.safe_dump(part, sort_keys=False, allow_unicode=True, width=120))


def _comment(text: str) -> str:
    # A phone's own words must not end the comment they stand in.
    return re.sub(r"[^\x20-\x7e\u00a1-\uffff]", "?", text)
