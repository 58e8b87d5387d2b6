"""Inputs → the view model of a tier's page; pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.analysis.judgement import judge_case
from harness.analysis.repeats import RepeatPolicy
from harness.model import (
    METRICS,
    CaseStatus,
    DeviceKind,
    Measured,
    RunRecord,
    Tier,
)
from reports import failures, rows
from reports.case_view import case_view, drawn_keys
from reports.cases import STATUS_WORDS, Case, Notes, aggregate, case_name, count_statuses, gather, metric_head, natural
from reports.changes import change_marks, changed
from reports.compression import compression_rows
from reports.inputs import DeviceInput, NightInput, Past, Repetition, RunInput, Telemetry
from reports.matrix import matrix
from reports.nights import phones_of
from reports.numbers import duration, iso, moment, plural, significant
from reports.page_views import MadeRow, RunFacts, TierPage
from reports.picks import pick_tables
from reports.previous import previous_view
from reports.published import published_rows
from reports.samples import page_samples
from reports.verdicts import apart_note, target_heads, verdict_rows, verdict_tally
from reports.views import DeviceRow, MetricTable, MetricTableRow, Named, Tally

NOTHING_BEFORE = Past()

MOST_TIMELINES = 60
"""Beyond this many repetitions only the typical one of each case is drawn: a page stays below about 3 MB."""

_TABLES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "speed",
        "Speed",
        (
            "load_ms",
            "load_first_ms",
            "load_cold_ms",
            "ttft_ms",
            "prefill_tps",
            "decode_tps",
            "burst_tps",
            "sustained_tps",
            "ms_per_token",
            "framework_overhead_us",
            "itl_ms_p50",
            "itl_ms_p90",
            "itl_ms_p99",
        ),
    ),
    ("memory", "Memory", ("model_mb", "peak_memory_mb", "rss_anon_mb", "rss_file_mb")),
    (
        "heat",
        "Heat, battery and energy",
        (
            "temperature_start_c",
            "temperature_peak_c",
            "thermal_status_max",
            "throttle_onset_s",
            "other_load_pct",
            "battery_level_start_pct",
            "battery_level_end_pct",
            "energy_j",
            "energy_counter_j",
            "energy_per_token_j",
        ),
    ),
)
"""Which metrics stand together; every metric of METRICS is in exactly one table (a test holds that)."""


def tier_page(
    run: RunInput,
    tier: str,
    telemetry: Telemetry,
    generated_at: float,
    past: Past = NOTHING_BEFORE,
    nights: NightInput | None = None,
) -> TierPage:
    """Everything the file of one tier shows. A tier the run does not know has no targets.

    Args: nights: of the lab; None: it has none.
    """
    entry = run.record.tiers.get(tier) or Tier(title=tier)
    targets = entry.targets
    cases = gather(run, tier)
    shown = [case for case in cases if case.ran]
    notes = Notes()
    policy = RepeatPolicy.of_run(run.record)
    verdicts = verdict_rows(cases, targets, notes, policy)
    tables = tuple(_metric_table(*table, shown, notes) for table in _TABLES)
    picks = pick_tables(shown, verdicts, notes, policy)
    table = matrix(shown, past, notes, policy, change_marks(nights, tier))
    previous = previous_view(run.record, shown, past, notes, policy)
    compression = compression_rows(shown, notes, policy)
    drawn = drawn_keys(shown, MOST_TIMELINES)
    views = tuple(case_view(case, targets, notes, telemetry, drawn, policy) for case in shown)
    data = rows.rows((case, judge_case(targets, case.repetitions, policy)) for case in cases)
    return TierPage(
        tier=tier,
        title=entry.title,
        run=run_facts(run.record),
        generated=moment(generated_at),
        notice=notice(case.planned.kind for case in cases),
        targets=target_heads(targets),
        verdict_tally=verdict_tally(verdicts),
        apart=apart_note(verdicts),
        changed=changed(nights, tier, phones_of(run, nights.fleet)) if nights else None,
        status_tally=_status_tally(one for case in cases for one in case.repetitions),
        verdicts=verdicts,
        picks=picks,
        matrix=table,
        previous=previous,
        compression=compression,
        metric_tables=tables,
        notes=notes.listed(),
        failures=failures.failure_groups(cases),
        refused=failures.not_run_rows(cases, CaseStatus.REFUSED),
        skipped=failures.not_run_rows(cases, CaseStatus.SKIPPED),
        cases=views,
        devices=device_rows(run, cases),
        provenance=_provenance(run, cases),
        made=_made(shown),
        published=published_rows(run, cases),
        samples=page_samples(shown, drawn, telemetry),
        data_json=rows.as_json(data),
        data_csv=rows.as_csv(data),
        data_name=f"farm-{run.record.id}-{tier}",
        data_rows=plural(len(data), "row"),
    )


def notice(kinds: Iterable[DeviceKind]) -> str:
    """The mark of a page on which some figures, or all, are not from a real phone; "" when all are."""
    seen = set(kinds)
    told = {
        DeviceKind.VIRTUAL: "virtual phones (real programs in a simulated phone, on the processor of the lab host)",
        DeviceKind.HOST: "the lab host itself, which is not a phone",
    }
    words = " and ".join(text for kind, text in told.items() if kind in seen)
    if not words:
        return ""
    if DeviceKind.PHONE in seen:
        return f"Some figures on this page come from {words}. They are marked wherever they stand."
    return f"No figure on this page comes from a real phone: all come from {words}."


def run_facts(record: RunRecord) -> RunFacts:
    ended = record.ended_at
    return RunFacts(
        key=record.id,
        started=moment(record.started_at),
        started_iso=iso(record.started_at),
        ended="" if ended is None else moment(ended),
        length="" if ended is None else duration(ended - record.started_at),
        status=record.status.value,
        suite=record.suite,
        lab=record.lab,
    )


def _metric_table(name: str, title: str, metrics: Sequence[str], cases: Sequence[Case], notes: Notes) -> MetricTable:
    return MetricTable(
        id=f"metrics-{name}",
        caption=title,
        heads=tuple(metric_head(METRICS[metric]) for metric in metrics),
        rows=tuple(
            MetricTableRow(
                case_name(case),
                tuple(aggregate(case.measured or case.repetitions, metric, notes) for metric in metrics),
            )
            for case in cases
        ),
    )


def _status_tally(repetitions: Iterable[Repetition]) -> tuple[Tally, ...]:
    counts = count_statuses(repetitions)
    return tuple(Tally(STATUS_WORDS[status], count, status) for status, count in counts.items())


def device_rows(run: RunInput, cases: Sequence[Case]) -> tuple[DeviceRow, ...]:
    """The devices of `cases`, with how their measurements ended and the state that follows from it."""
    by_device: dict[str, list[Case]] = {}
    for case in cases:
        by_device.setdefault(case.planned.device_id, []).append(case)
    known = {device.id: device for device in run.devices}
    return tuple(
        _device_row(members, known.get(device_id))
        for device_id, members in sorted(by_device.items(), key=lambda item: natural(item[0]))
    )


def _device_row(cases: Sequence[Case], device: DeviceInput | None) -> DeviceRow:
    repetitions = [one for case in cases for one in case.repetitions]
    planned = cases[0].planned
    ram = device.ram_bytes if device else None
    return DeviceRow(
        name=cases[0].device,
        tier=planned.tier,
        serial=planned.serial,
        soc=device.soc if device else "",
        os=f"{planned.platform.system} {device.os_version}" if device and device.os_version else "",
        ram="" if ram is None else f"{significant(round(ram / 1e9, 1))} GB",
        state=_state(repetitions),
        counts=tuple(count_statuses(repetitions).values()),
    )


def _state(repetitions: Sequence[Repetition]) -> str:
    """What the end of a device's newest measurement says of it."""
    ended = [one for one in repetitions if one.started_at is not None]
    if not ended:
        return "nothing ran on it"
    newest = max(ended, key=lambda one: one.started_at or 0.0)
    if newest.error is None:
        return "answered to the end" if newest.status is CaseStatus.MEASURED else newest.status.value
    return f"last measurement {newest.status.value}: {newest.error.error_class}"


def _provenance(run: RunInput, cases: Sequence[Case]) -> tuple[Named, ...]:
    """What all figures of the page share."""
    record = run.record
    models = {case.planned.model.id: case.planned.model_sha256 for case in cases}
    runners = {case.planned.runner.id: case.planned.runner_sha256 for case in cases}
    facts = [
        Named("run", record.id, mono=True),
        Named("lab", record.lab),
        Named("suite", record.suite),
        Named("command", " ".join(["farm", *record.command]), mono=True),
        Named("farm version", record.harness_version, mono=True),
        Named("farm commit", record.git_sha or "not run from a checkout", mono=bool(record.git_sha)),
        Named("measuring contract", f"version {record.contract}"),
        Named("inventory", record.inventory_name, mono=True),
        Named("inventory sha256", record.inventory_sha256, mono=True),
    ]
    facts += [Named(f"model {name} sha256", sha or "unknown", mono=True) for name, sha in sorted(models.items())]
    facts += [Named(f"runner {name} sha256", sha or "unknown", mono=True) for name, sha in sorted(runners.items())]
    return tuple(facts)


def _made(cases: Sequence[Case]) -> tuple[MadeRow, ...]:
    made: list[MadeRow] = []
    for name, spec in METRICS.items():
        readings = [one.metrics.get(name) for case in cases for one in case.measured]
        sources = dict.fromkeys(reading.source for reading in readings if isinstance(reading, Measured))
        made.append(MadeRow(metric_head(spec), "; ".join(sources)))
    return tuple(made)
