"""HTML reports: queries → view models → Jinja2 → one offline file per tier, and an index.

`write` reads a store; `render` is the pure part, from inputs to the text of every file.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import UsageError
from harness.model import CaseStatus, RunRecord
from reports.cases import tiers_of
from reports.files import FLEET, INDEX, file_name, write_atomically
from reports.fleet import fleet_page
from reports.html import fleet_html, index_html, tier_html
from reports.index import history_row, index_page
from reports.inputs import NightInput, Past, RunInput, Telemetry, decides_builds
from reports.nights import phones_of
from reports.pages import tier_page

if TYPE_CHECKING:
    from harness.store import Store

__all__ = ["render", "write"]

Counts = Mapping[str, Mapping[CaseStatus, int]]


def render(
    run: RunInput,
    telemetry: Telemetry,
    *,
    generated_at: float,
    tiers: Sequence[str] | None = None,
    history: Sequence[RunRecord] = (),
    counts: Counts | None = None,
    pasts: Mapping[str, Past] | None = None,
    nights: NightInput | None = None,
) -> dict[str, str]:
    """The files of a report: name → HTML.

    Args:
        run: the run to show.
        telemetry: where samples are read.
        generated_at: Unix seconds.
        tiers: those to show; None: every tier the run has measurements of.
        history: all runs, for the index, oldest first.
        counts: run id → measurements by status, for `history`.
        pasts: tier → what is known of it from before.
        nights: of the lab; None: it has none.
    """
    chosen = tuple(tiers) if tiers is not None else tiers_of(run)
    names = {tier: file_name(tier) for tier in chosen}
    known = counts or {}
    rows = [history_row(record, known.get(record.id, {}), record.id == run.record.id) for record in reversed(history)]
    before = pasts or {}
    files = {
        name: tier_html(tier_page(run, tier, telemetry, generated_at, before.get(tier, Past()), nights), INDEX)
        for tier, name in names.items()
    }
    if nights and nights.fleet:
        phones = phones_of(run, nights.fleet)
        files[FLEET] = fleet_html(fleet_page(nights, run.record.lab, phones, generated_at), INDEX)
    fleet = FLEET if FLEET in files else ""
    files[INDEX] = index_html(index_page(run, names, rows, generated_at, nights, fleet))
    return files


def write(
    store: Store,
    *,
    run: str | None = None,
    tiers: Sequence[str] | None = None,
    out: Path,
    nights: NightInput | None = None,
) -> tuple[Path, ...]:
    """Write the report of a run: one file per tier, one for the fleet where phones of the lab are known, then the
    index; returns their paths, the index first.

    Args:
        store: an open store.
        run: run id; None: the newest run of a suite (that has one of `tiers`); pairs of builds are none.
        tiers: those to show; None: all of the run.
        out: folder, made when missing.
        nights: of the run's lab (`reports.from_store.read_nights`, and what the store does not know); None: what the
            store knows.

    Raises:
        UsageError: no such run or tier, nothing measured yet, or the folder cannot be written.
    """
    from reports.from_store import read_nights, read_past, read_run

    records = store.runs()
    record = _chosen(records, run, tiers)
    data = read_run(store, record)
    missing = [tier for tier in tiers or () if tier not in tiers_of(data)]
    if missing:
        have = ", ".join(tiers_of(data)) or "none"
        raise UsageError(f"run {record.id} has no case of tier {missing[0]!r} (it has: {have})")
    files = render(
        data,
        store,
        generated_at=time.time(),
        tiers=tiers,
        history=records,
        counts=store.counts(),
        pasts={tier: read_past(store, record, tier, records) for tier in tiers or tiers_of(data)},
        nights=nights if nights is not None and nights.night.lab == record.lab else read_nights(store, record.lab),
    )
    return _put(files, out)


def _put(files: Mapping[str, str], out: Path) -> tuple[Path, ...]:
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            write_atomically(out / name, text)
    except OSError as error:
        raise UsageError(f"the report cannot be written to {out}: {error.strerror or error}") from error
    return tuple(out / name for name in (INDEX, *(name for name in files if name != INDEX)))


def _chosen(records: Sequence[RunRecord], run: str | None, tiers: Sequence[str] | None) -> RunRecord:
    if not records:
        raise UsageError("there is no run to report yet: `farm run` makes one")
    if run is not None:
        found = next((record for record in records if record.id == run), None)
        if found is None:
            newest = ", ".join(record.id for record in list(reversed(records))[:5])
            raise UsageError(f"no run {run!r} in the database (newest: {newest}; all: `farm runs`)")
        return found
    suites = [record for record in reversed(records) if not decides_builds(record)]
    wanted = set(tiers or ())
    return next((record for record in suites if wanted <= set(record.tiers)), [*suites, records[-1]][0])
