"""View models of whole pages: the file of a tier, and the index."""

from __future__ import annotations

from dataclasses import dataclass

from reports.compression import CompressionRow
from reports.matrix import Matrix
from reports.night_views import Changed, NightHead
from reports.picks import PickTable
from reports.plots import Packed
from reports.previous import PreviousView
from reports.views import (
    CaseView,
    DeviceRow,
    FailureGroup,
    MetricHead,
    MetricTable,
    Named,
    Note,
    NotRunRow,
    PublishedRow,
    Tally,
    TargetHead,
    VerdictRow,
)


@dataclass(frozen=True, slots=True)
class RunFacts:
    """One run as it is shown; times in UTC."""

    key: str
    started: str
    started_iso: str
    ended: str
    length: str
    status: str
    suite: str
    lab: str


@dataclass(frozen=True, slots=True)
class MadeRow:
    """How a figure is made: `sources` are those seen on this page."""

    head: MetricHead
    sources: str


@dataclass(frozen=True, slots=True)
class TierPage:
    tier: str
    title: str
    run: RunFacts
    generated: str
    notice: str
    targets: tuple[TargetHead, ...]
    verdict_tally: tuple[Tally, ...]
    apart: str
    changed: Changed | None
    status_tally: tuple[Tally, ...]
    verdicts: tuple[VerdictRow, ...]
    picks: tuple[PickTable, ...]
    matrix: Matrix
    previous: PreviousView
    compression: tuple[CompressionRow, ...]
    metric_tables: tuple[MetricTable, ...]
    notes: tuple[Note, ...]
    failures: tuple[FailureGroup, ...]
    refused: tuple[NotRunRow, ...]
    skipped: tuple[NotRunRow, ...]
    cases: tuple[CaseView, ...]
    devices: tuple[DeviceRow, ...]
    provenance: tuple[Named, ...]
    made: tuple[MadeRow, ...]
    published: tuple[PublishedRow, ...]
    samples: tuple[Packed, ...]
    data_json: str
    data_csv: str
    data_name: str
    data_rows: str


@dataclass(frozen=True, slots=True)
class TierRow:
    """A tier on the index: `href` of its file; `counts` are measured, failed, refused, skipped, unfinished; `changes`
    over the nights by state."""

    name: str
    title: str
    href: str
    targets: tuple[TargetHead, ...]
    verdicts: tuple[Tally, ...]
    changes: tuple[Tally, ...]
    counts: tuple[int, ...]
    devices: str


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run on the index; `shown`: this report is about it; `anchor`: id of its row."""

    run: RunFacts
    counts: tuple[int, ...]
    shown: bool
    anchor: str


@dataclass(frozen=True, slots=True)
class IndexPage:
    """`night` is the newest night, None where the lab has none."""

    headline: str
    tone: str
    run: RunFacts
    generated: str
    notice: str
    tiers: tuple[TierRow, ...]
    devices: tuple[DeviceRow, ...]
    history: tuple[RunRow, ...]
    night: NightHead | None = None
