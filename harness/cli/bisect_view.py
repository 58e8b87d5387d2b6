"""How a search for the first bad build is shown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import click

from harness.analysis.nights import BisectAction
from harness.cli import exits, output
from harness.cli.main import Context
from harness.cli.words import moment, print_json, visible
from harness.inventory_yaml import quoted
from harness.nightly.bisecting import Bisection, BuildSeen, worse_by
from harness.plan import ResolvedDevice


def exit_code(found: Bisection, *, interrupted: bool) -> int:
    """0 when the search came to its end, 130 when it was interrupted or its time was up, else 1."""
    if not found.stopped:
        return exits.MEASURED
    return exits.INTERRUPTED if interrupted else exits.INCOMPLETE


def show(context: Context, found: Bisection, phones: Sequence[ResolvedDevice], *, runs: Sequence[str]) -> None:
    """Print what is known of each build, and the conclusion. Args: runs: ids of those that the pairs are of."""
    if context.json:
        print_json(_json(found, phones, runs))
        return
    search = found.search
    where = ", ".join(output.device_name(phone.id, phone.facts.kind) for phone in phones)
    title = f"{search.metric} of {search.model}, {search.workload}, builds of {search.runner}, on {where}"
    columns = ("build", "sha256", "changed", "pairs", "phones", "worse than the good end", "95 % interval", "")
    output.print_table(title, columns, [_cells(found, one) for one in found.builds])
    for phone, reason in found.dropped.items():
        click.echo(visible(f"{phone} was left out: {reason}"), err=True)
    click.echo(visible(_conclusion(found)), err=bool(found.stopped))


def _cells(found: Bisection, one: BuildSeen) -> tuple[str, ...]:
    percent = [None if value is None else 100 * math.expm1(value) for value in (one.delta, one.low, one.high)]
    delta, low, high = ("–" if value is None else f"{value:+.1f}" for value in percent)
    return (
        _named(one.build.name),
        one.sha256[:12] or "–",
        moment(one.build.modified_at),
        str(one.pairs) if one.pairs else "–",
        str(one.phones) if one.phones else "–",
        delta if one.delta is None else f"{delta} %",
        "–" if one.delta is None else f"{low} to {high} %",
        _standing(found, one),
    )


def _standing(found: Bisection, one: BuildSeen) -> str:
    """What a build is known to be."""
    keys = [each.key for each in found.builds]
    at, good, bad = (keys.index(key) for key in (one.key, found.step.last_good, found.step.first_bad))
    if one.problem:
        return f"does not run: {one.problem}"
    if at == 0:
        return "good end"
    if found.found and at == bad:
        return "first bad"
    if at == len(keys) - 1:
        return "bad end" if found.step.action is not BisectAction.NO_STEP else "not shown to be worse"
    return "good" if at <= good else "bad" if at >= bad else "open"


def _conclusion(found: Bisection) -> str:
    step, search = found.step, found.search
    first_bad, last_good = _named(found.name(step.first_bad)), _named(found.name(step.last_good))
    if found.stopped:
        lines = [f"the search stopped: {found.stopped}"]
        if step.build != found.builds[-1].key:
            lines.append(f"known so far: {last_good} is good, {first_bad} is bad")
        return "\n".join((*lines, "the same command goes on with it"))
    if step.action is BisectAction.NO_STEP:
        told = f" ({_interval(step.delta, step.low, step.high)})" if step.delta is not None else ""
        return f"no step: the pairs do not show that {first_bad} is worse than {last_good} in {search.metric}{told}"
    sure = "" if step.confidence is None else f", confidence {_share(step.confidence)}"
    lines = [f"first bad build: {first_bad}, {worse_by(step)}{sure}"]
    if step.untried:
        names = ", ".join(_named(found.name(key)) for key in step.untried)
        lines.append(f"cannot be tried, and may be the first bad one as well: {names}")
    return "\n".join((*lines, f"last good build: {last_good}"))


def _share(confidence: float) -> str:
    """In percent; no search is certain."""
    return "over 99.9 %" if confidence > 0.999 else f"{100 * confidence:.1f} %"


def _named(name: str) -> str:
    """The name of a build on one line, whatever is in it."""
    return name if name.isprintable() else quoted(name)


def _interval(*values: float | None) -> str:
    delta, low, high = (100 * math.expm1(value or 0.0) for value in values)
    return f"{delta:+.1f} %, 95 % interval {low:+.1f} to {high:+.1f} %"


def _json(found: Bisection, phones: Sequence[ResolvedDevice], runs: Sequence[str]) -> dict[str, Any]:
    step, search = found.step, found.search
    return {
        "metric": search.metric,
        "model": search.model,
        "runner": search.runner,
        "workload": search.workload,
        "devices": [{"id": phone.id, "kind": phone.facts.kind.value} for phone in phones],
        "dropped": dict(found.dropped),
        "result": "stopped" if found.stopped else step.action.value,
        "first_bad": found.name(step.first_bad) if found.found else None,
        "last_good": found.name(step.last_good) if found.found else None,
        "untried": [found.name(key) for key in step.untried],
        "delta": step.delta,
        "low": step.low,
        "high": step.high,
        "confidence": step.confidence,
        "reason": found.stopped or step.reason,
        "builds": [
            {
                "name": one.build.name,
                "sha256": one.sha256 or None,
                "modified_at": one.build.modified_at,
                "pairs": one.pairs,
                "phones": one.phones,
                "delta": one.delta,
                "low": one.low,
                "high": one.high,
                "standing": _standing(found, one),
            }
            for one in found.builds
        ],
        "runs": list(runs),
    }
