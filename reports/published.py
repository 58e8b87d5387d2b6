"""Figures of others beside those of the page. Nothing here goes into a verdict, a plot, a comparison or an export.

They are kept with the run by any version of the harness and so read with care: what is not as expected is left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from harness.model import METRICS, MetricSpec
from reports.cases import Case, Notes, aggregate, case_name, metric_head
from reports.inputs import RunInput
from reports.numbers import significant, span
from reports.views import MeasuredBeside, PublishedRow

Figure = Mapping[str, Any]
"""One published figure as the run holds it, see `harness.model.Published`."""


def published_rows(run: RunInput, cases: Sequence[Case]) -> tuple[PublishedRow, ...]:
    """The published figures about a family or a phone of `cases`, in the order of the inventory."""
    kept = run.record.options.get("published")
    figures = [one for one in kept if isinstance(one, Mapping)] if isinstance(kept, Sequence) else []
    models = {device.id: device.model for device in run.devices}
    rows: list[PublishedRow] = []
    for figure in figures:
        same_phone = [case for case in cases if _is_phone(figure, case, models.get(case.planned.device_id, ""))]
        if same_phone or any(case.planned.model.family == figure.get("family") for case in cases):
            rows += _rows(figure, same_phone)
    return tuple(rows)


def _rows(figure: Figure, same_phone: Sequence[Case]) -> tuple[PublishedRow, ...]:
    """The row of a figure, none where it cannot be read."""
    spec, value = METRICS.get(_text(figure, "metric")), _value(figure)
    # A figure in another unit than today's would be read as one of today's.
    if spec is None or value == "" or _text(figure, "unit") != spec.unit:
        return ()
    row = PublishedRow(
        device=_text(figure, "device"),
        family=_text(figure, "family"),
        quant=_text(figure, "quant"),
        runtime=_text(figure, "runtime"),
        head=metric_head(spec),
        value=f"{value} {spec.unit}".strip(),
        source=_text(figure, "source"),
        note=_text(figure, "note"),
        measured=_beside(figure, spec, same_phone),
    )
    return (row,)


def _beside(figure: Figure, spec: MetricSpec, same_phone: Sequence[Case]) -> tuple[MeasuredBeside, ...]:
    """What was measured on the same phone with the same model: one value per case that has one."""
    found = []
    for case in same_phone:
        if case.measured and _is_model(figure, case):
            cell = aggregate(case.measured, spec.name, Notes())
            if cell.value:
                name = case_name(case)
                text = f"{cell.value} {spec.unit}".strip()
                found.append(MeasuredBeside(name.href, name.workload, name.device, text, cell.detail))
    return tuple(found)


def _is_model(figure: Figure, case: Case) -> bool:
    runtime = _text(figure, "runtime")
    planned = case.planned
    same = (planned.model.family, planned.model.quant) == (figure.get("family"), figure.get("quant"))
    return same and runtime in ("", planned.runner.runtime)


def _is_phone(figure: Figure, case: Case, model: str) -> bool:
    """Whether the figure's phone is that of the case, by the model that it tells or by the id of its entry."""
    wanted = _plain(_text(figure, "device"))
    return bool(wanted) and wanted in (_plain(model), _plain(case.device.model), _plain(case.planned.device_id))


def _plain(name: str) -> str:
    return name.replace("_", " ").casefold()


def _value(figure: Figure) -> str:
    low, high, value = (_number(figure.get(key)) for key in ("low", "high", "value"))
    if value is not None:
        return significant(value)
    return "" if low is None or high is None else span(low, high)


def _number(value: Any) -> float | None:
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if usable else None


def _text(figure: Figure, key: str) -> str:
    value = figure.get(key)
    return value if isinstance(value, str) else ""
