"""How `farm plan` shows a plan."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import click

from harness import limits
from harness.cli import compose, output
from harness.cli.main import Context
from harness.errors import FarmError
from harness.estimate import Estimate, estimate
from harness.model import MEGABYTE, CaseStatus, Inventory, ModelFile, PlannedCase, RunnerBuild, Tier
from harness.plan import Assets, Plan, ResolvedDevice


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


def show(
    context: Context, plan: Plan, tiers: Mapping[str, Tier], missing: Mapping[str, int], history: Mapping[str, float]
) -> None:
    """Print the plan: cases, bytes, minutes, and what is refused or skipped with the reason."""
    planned = plan.of(CaseStatus.PLANNED)
    guess = estimate(planned, tiers, missing, history)
    if context.json:
        click.echo(json.dumps(_as_json(plan, missing, guess), ensure_ascii=False))
        return
    groups = Counter(_group(case) for case in planned)
    output.print_table(
        "Planned",
        ("phone", "model", "runner", "workload", "repetitions"),
        [(*group, str(count)) for group, count in groups.items()],
    )
    for status in (CaseStatus.REFUSED, CaseStatus.SKIPPED):
        cases = plan.of(status)
        if cases:
            output.print_table(
                status.value.capitalize(),
                ("phone", "model", "runner", "workload", "reason"),
                [(*_group(case), case.reason.message if case.reason else "") for case in cases],
            )
    click.echo(
        f"{len(planned)} measurements, {len(plan.of(CaseStatus.REFUSED))} refused, "
        f"{len(plan.of(CaseStatus.SKIPPED))} skipped; {sum(missing.values()) / MEGABYTE:.1f} MB to push; "
        f"about {guess.minutes:.0f} min ({_basis(guess)})"
    )


def _group(case: PlannedCase) -> tuple[str, str, str, str]:
    return (output.device_name(case.device_id, case.kind), case.model.id, case.runner.id, case.workload_id)


def _basis(guess: Estimate) -> str:
    if guess.from_history == guess.cases:
        return "from earlier runs"
    if guess.from_history:
        return f"{guess.from_history} of {guess.cases} from earlier runs, the others as if just within budget"
    return "as if every case were just within its tier's budget"


def _as_json(plan: Plan, missing: Mapping[str, int], guess: Estimate) -> dict[str, Any]:
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
    }
