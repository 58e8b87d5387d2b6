"""Measurements as rows for others: nested for JSON lines, flat with stable column names for CSV and Parquet.

docs/export.md describes every field. No row holds NaN, and nothing that was not measured is a number.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from io import TextIOWrapper
from itertools import islice
from typing import IO, TYPE_CHECKING, Any

from harness.errors import UsageError
from harness.model import METRICS, TARGET_METRICS, CaseStatus, Measured, Reading

if TYPE_CHECKING:
    from harness.analysis.judgement import Judgement
    from harness.store import MeasurementRow, Store

Record = dict[str, Any]

FINAL = frozenset({CaseStatus.MEASURED, CaseStatus.FAILED, CaseStatus.REFUSED, CaseStatus.SKIPPED})
"""Statuses that are exported; what is planned or running has no outcome yet."""

_PLAIN = (
    "run",
    "case",
    "device",
    "serial",
    "platform",
    "tier",
    "model",
    "family",
    "quant",
    "runtime",
    "runner",
    "workload",
    "repeat",
    "attempt",
    "status",
)
_PROVENANCE = ("device_kind", "model_sha256", "runner_sha256", "os_fingerprint", "harness_version")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
WITHOUT_PYARROW = 'Parquet needs pyarrow, which is not installed: python -m pip install "farm[parquet]" (or pyarrow)'
_BATCH = 1000
_RUNS_KEPT = 16


def utc(seconds: float | None) -> str | None:
    """Unix seconds as ISO 8601 in UTC with microseconds: text order is time order."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def finished(
    store: Store, run: str | None = None, case: str | None = None, key: str | None = None
) -> Iterator[MeasurementRow]:
    """Every measurement with an outcome, by start: of all runs, of one run, of one case, or only the one called
    `key`."""
    for row in store.measurements(run, case=case):
        if row.status in FINAL and key in (None, row.planned.key):
            yield row


def records(store: Store, run: str | None = None, case: str | None = None, key: str | None = None) -> Iterator[Record]:
    """A record for every measurement of `finished`; memory does not grow with the database."""

    @lru_cache(maxsize=_RUNS_KEPT)
    def judged_of(run_id: str) -> Mapping[str, Judgement]:
        return judgements(store, run_id)

    from harness.analysis.judgement import Judgement

    for row in finished(store, run, case, key):
        # A run that goes on while it is exported may get a case after it was judged.
        yield record(row, judged_of(row.planned.run).get(row.planned.case) or Judgement())


def judgements(store: Store, run: str) -> Mapping[str, Judgement]:
    """Case → what is said of it, for every case of a run, judged by the targets its tiers had then."""
    from harness.analysis.judgement import judge_case
    from harness.analysis.repeats import RepeatPolicy

    found = store.run(run)
    tiers = found.tiers if found else {}
    policy = RepeatPolicy.of_run(found) if found else RepeatPolicy()
    cases: dict[str, list[MeasurementRow]] = {}
    for row in store.measurements(run):
        cases.setdefault(row.planned.case, []).append(row)
    judged = {}
    for case, rows in cases.items():
        tier = tiers.get(rows[0].planned.tier)
        judged[case] = judge_case(tier.targets if tier else None, rows, policy)
    return judged


def record(row: MeasurementRow, judged: Judgement) -> Record:
    """One measurement, nested as in JSON lines; `judged` is what is said of its case."""
    planned = row.planned
    error = row.error
    return {
        "run": planned.run,
        "case": planned.case,
        "device": planned.device_id,
        "serial": planned.serial,
        "platform": planned.platform.value,
        "tier": planned.tier,
        "model": planned.model.id,
        "family": planned.model.family,
        "quant": planned.model.quant,
        "runtime": planned.runner.runtime,
        "runner": planned.runner.id,
        "workload": planned.workload_id,
        "repeat": planned.repeat,
        "attempt": row.attempt,
        "status": row.status.value,
        "error": {"class": error.error_class, "step": error.step.value, "message": error.message} if error else None,
        "started_at": utc(row.started_at),
        "duration_s": row.duration_s,
        "metrics": {name: _metric(row, name) for name in METRICS},
        "verdicts": {target: info.verdict.value for target, info in judged.verdicts.items()},
        "agreement": judged.agreement_json(),
        "outliers": judged.outliers_json(planned.repeat),
        "provenance": _provenance(row),
    }


def _provenance(row: MeasurementRow) -> Record:
    planned = row.planned
    return {
        "model_sha256": planned.model_sha256,
        "runner_sha256": planned.runner_sha256,
        "series_key": planned.series_key,
        "device_kind": planned.kind.value,
        **row.provenance,
    }


def _metric(row: MeasurementRow, name: str) -> Record:
    reading: Reading | None = row.metrics.get(name)
    if isinstance(reading, Measured):
        return {"value": reading.value, "unit": reading.unit, "source": reading.source}
    if reading is not None:
        return {"unavailable": reading.reason}
    why = f": {row.error.message}" if row.error else ""
    return {"unavailable": f"{row.status.value}{why}" if row.status is not CaseStatus.MEASURED else "not recorded"}


# --- flat rows --------------------------------------------------------------------------------------------------------


def columns() -> dict[str, str]:
    """Column name → "text", "whole" or "number", in order. Names are only ever added, at the end of their group."""
    kinds = {name: "whole" if name in {"repeat", "attempt"} else "text" for name in _PLAIN}
    kinds |= {"error_class": "text", "error_step": "text", "error_message": "text"}
    kinds |= {"started_at": "text", "duration_s": "number"}
    kinds |= {f"verdict_{target}": "text" for target in TARGET_METRICS}
    kinds |= {"agreement": "text", "agreement_reason": "text", "outliers": "text"}
    for name in METRICS:
        kinds |= {name: "number", f"{name}_source": "text", f"{name}_unavailable": "text"}
    return kinds | dict.fromkeys(_PROVENANCE, "text") | {"provenance": "text"}


def flat(nested: Record) -> Record:
    """A nested record as one row of `columns()`; what is absent is None."""
    row: Record = {name: nested[name] for name in (*_PLAIN, "started_at", "duration_s")}
    error = nested["error"] or {}
    row |= {f"error_{part}": error.get(part) for part in ("class", "step", "message")}
    row |= {f"verdict_{target}": verdict for target, verdict in nested["verdicts"].items()}
    agreement = nested["agreement"]
    row |= {"agreement": agreement["agreement"], "agreement_reason": agreement["reason"] or None}
    row["outliers"] = "; ".join(one["text"] for one in nested["outliers"]) or None
    for name, metric in nested["metrics"].items():
        row[name] = metric.get("value")
        row[f"{name}_source"] = metric.get("source")
        row[f"{name}_unavailable"] = metric.get("unavailable")
    provenance = nested["provenance"]
    row |= {name: _text(provenance.get(name)) for name in _PROVENANCE}
    row["provenance"] = _json(provenance)
    return {name: row.get(name) for name in columns()}


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def safe_cell(value: Any) -> Any:
    """A CSV cell that no spreadsheet takes for a formula: such text gets an apostrophe in front."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


# --- writers ----------------------------------------------------------------------------------------------------------

Writer = Callable[[Iterable[Record], IO[bytes]], int]
"""Writes records to a binary file; returns how many."""


def write_jsonl(found: Iterable[Record], file: IO[bytes]) -> int:
    count = 0
    for nested in found:
        file.write(_json(nested).encode() + b"\n")
        count += 1
    return count


def write_csv(found: Iterable[Record], file: IO[bytes]) -> int:
    text = TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv.DictWriter(text, fieldnames=list(columns()), lineterminator="\n")
    writer.writeheader()
    count = 0
    for nested in found:
        writer.writerow({name: safe_cell(value) for name, value in flat(nested).items()})
        count += 1
    text.detach()
    return count


def write_parquet(found: Iterable[Record], file: IO[bytes]) -> int:
    """Needs pyarrow; raises UsageError that says how to install it."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise UsageError(WITHOUT_PYARROW) from None
    types = {"text": pa.string(), "whole": pa.int64(), "number": pa.float64()}
    schema = pa.schema([(name, types[kind]) for name, kind in columns().items()])
    count = 0
    rows = iter(found)
    with pq.ParquetWriter(file, schema) as writer:
        while batch := [flat(nested) for nested in islice(rows, _BATCH)]:
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))
            count += len(batch)
    return count


WRITERS: Mapping[str, Writer] = {"csv": write_csv, "jsonl": write_jsonl, "parquet": write_parquet}
