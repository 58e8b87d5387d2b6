"""Made-up nights: runs and figures in memory, and a whole lab in a database."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from harness.analysis.repeats import RepeatPolicy
from harness.model import CaseStatus, DeviceKind, PlannedCase, Platform, RunRecord
from harness.store import NightFigure, Store
from tests.unit.store import samples

LAB = "lab <b>1</b>"
RUNNER = "llama"
REFERENCE = f"{RUNNER}@baseline"
OLD, NEW, PINNED = "a" * 64, "b" * 64, "c" * 64
_BEGIN = date(2026, 11, 18)
_DAY_S = 86_400.0


def night_of(index: int) -> str:
    return (_BEGIN + timedelta(days=index)).isoformat()


def run_of(
    index: int = 0, number: int = 0, *, role: str = "measure", warm_up: bool = False, lab: str = LAB, **asked: str
) -> RunRecord:
    """Run `number` of night `index`. Args: asked: further options of the night."""
    nightly = {"night": night_of(index), "role": role, **asked}
    return replace(
        samples.run_record(
            f"run-{index:03}-{number}-{role}", started_at=samples.START + index * _DAY_S + number * 3600
        ),
        lab=lab,
        options={"nightly": nightly, "repeats": RepeatPolicy(warm_up=warm_up).to_json()},
    )


def figure(run: RunRecord, repeat: int = 1, value: float | None = 40.0, **changes: Any) -> NightFigure:
    """A repetition that measured decode_tps (None: it did not)."""
    made = NightFigure(
        run=run,
        night=run.options["nightly"]["night"],
        tier="flagship",
        device_id="pixel",
        identity="serial of pixel",
        platform=Platform.ANDROID,
        kind=DeviceKind.PHONE,
        model_id="m",
        runner_id=RUNNER,
        workload_id="chat",
        repeat=repeat,
        started_at=run.started_at + 60.0 * repeat,
        model_sha256="m" * 64,
        runner_sha256=OLD,
        os="os1",
        marks=(),
        values={} if value is None else {"decode_tps": value},
    )
    return replace(made, **changes)


def reference(run: RunRecord, repeat: int = 1, value: float | None = 50.0, **changes: Any) -> NightFigure:
    """A repetition of the pinned build."""
    return figure(run, repeat, value, **{"runner_id": REFERENCE, "runner_sha256": PINNED, **changes})


@dataclass(frozen=True)
class MadeRun:
    """A run with the repetitions that it measured, and those that failed."""

    record: RunRecord
    measured: Sequence[NightFigure]
    failed: Sequence[NightFigure] = ()


def build_of(index: int) -> str:
    """The build of night `index`."""
    return f"{index:064x}"


def night(index: int, phones: Mapping[str, Mapping[str, float]]) -> MadeRun:
    """A night in which each phone measured that night's build and the pinned one once.

    Args:
        phones: id → metric → how it compares with the reference, which gives 100 of everything.
    """
    run = run_of(index)
    rows = []
    for phone, values in phones.items():
        own = {"device_id": phone, "identity": f"serial of {phone}"}
        rows.append(reference(run, **own, values=dict.fromkeys(values, 100.0)))
        rows.append(figure(run, **own, runner_sha256=build_of(index), values=dict(values)))
    return MadeRun(run, rows)


STEP = 18
NIGHTS = 24
PHONES = ("pixel", "s24", "moto", "fold")


def changed_nights(nights: int = NIGHTS) -> list[MadeRun]:
    """Nights of a lab in which the decode rate falls and the load time rises by 10 % in night STEP, and the memory peak
    stays what it is."""
    source = np.random.default_rng(4)
    made = []
    for index in range(nights):
        worse = 1.1 if index >= STEP else 1.0
        phones = {}
        for phone in PHONES:
            rate, load, memory = np.exp(0.006 * source.standard_normal(3)).tolist()
            phones[phone] = {
                "decode_tps": 90 * rate / worse,
                "load_ms": 110 * load * worse,
                "peak_memory_mb": 101 * memory,
            }
        made.append(night(index, phones))
    return made


def pairs_run(index: int, good: int, bad: int, ratio: float, count: int = 12) -> MadeRun:
    """Pairs of the builds of two nights on every phone; the bad one's decode rate is lower by `ratio`."""
    run = run_of(index, 1, role="pairs", runner=RUNNER, good=build_of(good), bad=build_of(bad))
    source = np.random.default_rng(5)
    rows = []
    for phone in PHONES:
        own = {"device_id": phone, "identity": f"serial of {phone}"}
        for k in range(1, count + 1):
            for build, level in ((good, 90.0), (bad, 90.0 / ratio)):
                value = level * float(np.exp(0.006 * source.standard_normal()))
                sha = build_of(build)
                rows.append(figure(run, k, value, **own, runner_id=f"{RUNNER}@{build:012x}", runner_sha256=sha))
    return MadeRun(run, rows)


def store_runs(file: Path, runs: Iterable[MadeRun]) -> None:
    """Store runs in an SQLite database, in few transactions however many repetitions they have."""
    values: list[tuple[object, ...]] = []
    facts: list[tuple[object, ...]] = []
    with Store.open(f"sqlite:///{file}") as store:
        for run in runs:
            cases = [_planned(row, CaseStatus.MEASURED) for row in run.measured]
            store.begin_run(run.record, [*cases, *(_planned(row, CaseStatus.FAILED) for row in run.failed)])
            for case, row in zip(cases, run.measured, strict=True):
                values += [(case.key, *each) for each in row.values.items()]
                provenance = {"os_fingerprint": row.os, "marks": list(row.marks), "threads": 4}
                facts.append((json.dumps(provenance), row.started_at, case.key))
    connection = sqlite3.connect(file)
    with connection:
        connection.executemany("INSERT INTO metrics (key, name, value, unit, source) VALUES (?, ?, ?, '', '')", values)
        connection.executemany("UPDATE cases SET provenance = ?, started_at = ? WHERE key = ?", facts)
    connection.close()


def _planned(row: NightFigure, status: CaseStatus) -> PlannedCase:
    name = "-".join((row.run.id, row.identity, row.model_id, row.runner_id, row.workload_id))
    made = samples.planned_case(row.run.id, name, row.repeat, device=row.device_id, kind=row.kind, model=row.model_id)
    return replace(
        made,
        identity=row.identity,
        platform=row.platform,
        tier=row.tier,
        runner=replace(made.runner, id=row.runner_id),
        workload_id=row.workload_id,
        model_sha256=row.model_sha256,
        runner_sha256=row.runner_sha256,
        status=status,
        reason=samples.error_info() if status is CaseStatus.FAILED else None,
    )
