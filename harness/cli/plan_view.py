"""How `farm plan` shows a plan."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from harness import limits
from harness.cli import compose, output
from harness.cli.main import Context
from harness.cli.words import duration, visible
from harness.errors import FarmError
from harness.estimate import COOLING_SHARE, CoolingFrom, Estimate, estimate
from harness.model import (
    MEGABYTE,
    CaseStatus,
    DeviceKind,
    Gates,
    Inventory,
    ModelFile,
    PlannedCase,
    RunnerBuild,
    Tier,
    WorkloadKind,
)
from harness.plan import Assets, Plan, ResolvedDevice

if TYPE_CHECKING:
    from harness.analysis.gauge import GaugeCalibration

    KnownPower = tuple[bool | None, GaugeCalibration | None]

Cell = tuple[str, str]
"""Device id and workload."""


def missing_bytes(
    plan: Plan, devices: Sequence[ResolvedDevice], assets: Assets, inventory: Inventory
) -> dict[str, int]:
    """Bytes that each device still lacks for its planned cases; reads from the device, changes nothing."""
    open_agent = compose.opener(inventory)
    missing: dict[str, int] = {}
    for device in devices:
        cases = [case for case in plan.of(CaseStatus.PLANNED) if case.device_id == device.id]
        checked = {case.model_sha256: assets.models[case.model.id] for case in cases} | {
            case.runner_sha256: assets.runners[case.runner.id] for case in cases
        }
        artifacts = [found.artifact for found in checked.values() if isinstance(found, ModelFile | RunnerBuild)]
        agent = open_agent(device)
        try:
            missing[device.id] = sum(agent.files.survey(artifacts, limit_s=limits.SHELL_S).missing_bytes.values())
        except FarmError as error:
            click.echo(f"{device.id}: cannot say what is on it: {error.message}", err=True)
        finally:
            agent.close()
    return missing


def absent_energy(
    plan: Plan, devices: Sequence[ResolvedDevice], known: Callable[[ResolvedDevice], KnownPower]
) -> dict[Cell, str]:
    """(device id, workload) of the planned cases that will have no energy figures → why; asks no phone.

    Args:
        known: whether the hub port of a device was proven, and the calibration of its gauge; None where not known.
    """
    from device_agents.power import switchable
    from harness.energy_outlook import energy_outlook

    workloads = {(case.device_id, case.workload_id): case.workload.kind for case in plan.of(CaseStatus.PLANNED)}
    found: dict[Cell, str] = {}
    for device in devices:
        usb = device.entry.usb
        problem = switchable(usb) if usb is not None else ""
        proven, gauge = known(device)
        for cell, kind in workloads.items():
            if cell[0] != device.id:
                continue
            outlook = energy_outlook(
                platform=device.entry.platform,
                kind=device.facts.kind,
                over_network=device.attached.over_network,
                usb=None if problem else usb,
                proven=proven,
                gauge=gauge,
                workload=kind,
            )
            if not outlook.possible:
                found[cell] = f"{outlook.why}; {problem}" if problem and kind is WorkloadKind.BATTERY else outlook.why
    return found


def show(
    context: Context,
    plan: Plan,
    tiers: Mapping[str, Tier],
    missing: Mapping[str, int],
    history: Mapping[str, float],
    *,
    waits: Mapping[str, float] | None = None,
    gates: Gates | None = None,
    auto: bool = False,
    no_energy: Mapping[Cell, str] | None = None,
    quarantined: Mapping[str, str] | None = None,
) -> None:
    """Print the plan: cases, bytes, minutes of measuring and of cooling, what is refused or skipped and why.

    Args:
        plan: cases in the order of work. tiers: for their budgets. missing: device id → bytes to push.
        history, waits, gates, auto: as in `harness.estimate.estimate`.
        no_energy: as `absent_energy` gives it.
        quarantined: device id → why its results are kept apart.
    """
    planned = plan.of(CaseStatus.PLANNED)
    guess = estimate(planned, tiers, missing, history, waits=waits, gates=gates, auto=auto)
    without, apart = no_energy or {}, quarantined or {}
    if context.json:
        click.echo(json.dumps(_as_json(plan, missing, guess, without, apart), ensure_ascii=False))
        return
    groups = Counter(_group(case) for case in planned)
    output.print_table(
        "Planned",
        ("phone", "model", "runner", "workload", "repetitions"),
        [(*group, f"{count} or more" if auto else str(count)) for group, count in groups.items()],
    )
    for status in (CaseStatus.REFUSED, CaseStatus.SKIPPED):
        cases = plan.of(status)
        if cases:
            output.print_table(
                status.value.capitalize(),
                ("phone", "model", "runner", "workload", "reason"),
                [(*_group(case), case.reason.message if case.reason else "") for case in cases],
            )
    if guess.devices:
        _print_time(guess, {case.device_id: case.kind for case in planned})
    _print_energy(without)
    for device_id, reason in apart.items():
        click.echo(visible(f"{device_id} is in quarantine, its results are kept apart: {reason}"))
    click.echo(
        f"{len(planned)} measurements, {len(plan.of(CaseStatus.REFUSED))} refused, "
        f"{len(plan.of(CaseStatus.SKIPPED))} skipped; {sum(missing.values()) / MEGABYTE:.1f} MB to push"
    )
    for line in _summary(guess):
        click.echo(line)


def _print_time(guess: Estimate, kinds: Mapping[str, DeviceKind]) -> None:
    output.print_table(
        "Time",
        ("phone", "measurements", "measuring", "cooling", "pushing", "in all"),
        [
            (
                output.device_name(device.device_id, kinds[device.device_id]),
                str(device.cases),
                *(_minutes(part) for part in (device.measured_s, device.cooling_s, device.push_s, device.total_s)),
            )
            for device in guess.devices
        ],
    )


def _print_energy(without: Mapping[Cell, str]) -> None:
    """One reason stands once, with all cells that it keeps empty."""
    cells: dict[str, dict[str, list[str]]] = {}
    for (device, workload), why in without.items():
        cells.setdefault(why, {}).setdefault(workload, []).append(device)
    for why, workloads in cells.items():
        told = ", ".join(f"{workload} on {', '.join(devices)}" for workload, devices in workloads.items())
        click.echo(visible(f"no energy figures of {told}:\n  {why}"))


def _minutes(seconds: float) -> str:
    if seconds < 60:
        return "< 1 min" if seconds else "none"
    return duration(60 * round(seconds / 60)).removesuffix(" 00 s")


def _summary(guess: Estimate) -> tuple[str, ...]:
    """What the time comes to and what it rests on, in lines of at most 80 columns where names allow."""
    if not guess.devices:
        return ()
    lines = [
        f"about {guess.minutes:.0f} min until the slowest phone is done",
        f"in all: measuring {guess.measured_minutes:.0f} min, cooling {guess.cooling_minutes:.0f} min",
        f"measuring: {_basis(guess)}",
        f"cooling: {_cooling_basis(guess)}",
    ]
    if guess.most > 1:
        lines.append(f"repeats: auto, so up to {guess.most:g} times as long where figures wander")
    return tuple(lines)


def _group(case: PlannedCase) -> tuple[str, str, str, str]:
    return (output.device_name(case.device_id, case.kind), case.model.id, case.runner.id, case.workload_id)


def _basis(guess: Estimate) -> str:
    if guess.from_history == guess.cases:
        return "from earlier runs"
    if guess.from_history:
        return f"{guess.from_history} of {guess.cases} from earlier runs, the others as if just within budget"
    return "as if every case were just within its tier's budget"


def _cooling_basis(guess: Estimate) -> str:
    told: Mapping[CoolingFrom, str] = {
        "waits": "from earlier waits",
        "published": f"as published, {100 * COOLING_SHARE:.0f} % of the time",
        "none": "none known",
    }
    counts = Counter(device.cooling_from for device in guess.devices)
    if len(counts) == 1:
        return told[guess.devices[0].cooling_from]
    devices = len(guess.devices)
    return ", ".join(f"{said} on {counts[source]} of {devices}" for source, said in told.items() if counts[source])


def _as_json(
    plan: Plan,
    missing: Mapping[str, int],
    guess: Estimate,
    without: Mapping[Cell, str],
    apart: Mapping[str, str],
) -> dict[str, Any]:
    return {
        "cases": [
            {
                "device": case.device_id,
                "serial": case.serial,
                "kind": case.kind.value,
                "tier": case.tier,
                "model": case.model.id,
                "runner": case.runner.id,
                "workload": case.workload_id,
                "repeat": case.repeat,
                "status": case.status.value,
                "reason": case.reason.message if case.reason else None,
                "error_class": case.reason.error_class if case.reason else None,
            }
            for case in plan.cases
        ],
        "bytes_to_push": dict(missing),
        "minutes": round(guess.minutes, 2),
        "minutes_basis": _basis(guess),
        "measured_minutes": round(guess.measured_minutes, 2),
        "cooling_minutes": round(guess.cooling_minutes, 2),
        "cooling_basis": _cooling_basis(guess),
        "minutes_at_most": round(guess.minutes * guess.most, 2),
        "devices": [
            {
                "device": device.device_id,
                "measurements": device.cases,
                "measured_minutes": round(device.measured_s / 60, 2),
                "cooling_minutes": round(device.cooling_s / 60, 2),
                "push_minutes": round(device.push_s / 60, 2),
                "minutes": round(device.total_s / 60, 2),
                "quarantine": apart.get(device.device_id),
                "no_energy": {workload: why for (name, workload), why in without.items() if name == device.device_id},
            }
            for device in guess.devices
        ],
    }
