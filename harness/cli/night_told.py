"""What a night tells: on the terminal, as files for machines, in the report, and to whoever watches that nights end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.analysis.nights_words import headline, told
from harness.cli import compose, finishing, night_view, output, words
from harness.cli.main import Context
from harness.errors import UsageError
from harness.model import NightRole, NightSummary, RunRecord
from harness.nightly.notify import ping
from harness.nightly.outputs import to_json, to_junit, to_markdown
from harness.nightly.pinned import is_baseline
from reports.files import write_atomically

if TYPE_CHECKING:
    from harness.inventory import LoadedInventory
    from harness.store import MeasurementRow, Store


@dataclass(frozen=True, slots=True)
class Outputs:
    """Files for machines, each None when it is not wanted."""

    junit: Path | None
    markdown: Path | None

    def check(self) -> None:
        """Raises UsageError for a file that could not be written in the morning."""
        for path in (self.junit, self.markdown):
            if path is not None and not path.resolve().parent.is_dir():
                raise UsageError(f"{path}: its folder does not exist")


def tell(context: Context, store: Store, loaded: LoadedInventory, summary: NightSummary, outputs: Outputs) -> int:
    """Write and print everything; returns the exit code."""
    suite = _suite_run(store, summary)
    attached = compose.discover(loaded.inventory)
    nights = night_view.night_input(store, loaded.inventory, summary.night, attached=attached)
    pages = finishing.write_report(context, store, suite.id if suite else None, Path(summary.report), nights)
    _write(outputs.junit, lambda: to_junit(summary, _rows(store, summary), loaded.inventory.nightly.metrics))
    _write(outputs.markdown, lambda: to_markdown(summary))
    if context.json:
        words.print_json(to_json(summary))
    else:
        _print(summary, pages)
    url = loaded.inventory.nightly.ping_url
    problem = ping(url, summary.exit_code == 0) if url else ""
    if problem:
        click.echo(f"farm: {problem}", err=True)
    return summary.exit_code


def _suite_run(store: Store, summary: NightSummary) -> RunRecord | None:
    """The run of the night that measured the suite; the newest of several."""
    found = [record for run in summary.runs if (record := store.run(run)) is not None]
    suites = [record for record in found if _measures(record)]
    return suites[-1] if suites else None


def _rows(store: Store, summary: NightSummary) -> Iterator[MeasurementRow]:
    """Every repetition of the night's suite, the pinned builds' apart."""
    suite = [run for run in summary.runs if (record := store.run(run)) is not None and _measures(record)]
    return (row for run in suite for row in store.measurements(run) if not is_baseline(row.planned.runner.id))


def _measures(record: RunRecord) -> bool:
    return NightRole.of(record.options) is NightRole.MEASURE


def _write(path: Path | None, made: Callable[[], str]) -> None:
    """A file that cannot be written is said; the night is stored all the same."""
    if path is None:
        return
    try:
        write_atomically(path, made())
    except OSError as error:
        click.echo(f"farm: {path} cannot be written: {error.strerror or error}", err=True)


def _print(summary: NightSummary, pages: Sequence[Path]) -> None:
    click.echo(words.visible(headline(summary)))
    if summary.changes:
        output.print_table(
            "Series that are not steady",
            ("series", "state", "how much", "since", "first bad build", "why"),
            [
                (
                    change.series.key,
                    change.state.value,
                    told(change),
                    change.since,
                    summary.build_name(change.bad_build),
                    change.reason,
                )
                for change in summary.changes
            ],
        )
    for found in summary.bisections:
        first = (
            f"first bad build {found.first_bad}, last good one {found.last_good}" if found.first_bad else "not found"
        )
        click.echo(words.visible(f"{found.series}: {first}: {found.reason}"))
    for hand in summary.hands:
        click.echo(words.visible(f"hands needed: {', '.join(hand.devices)}: {hand.problem}; {hand.advice}"))
    for note in summary.notes:
        click.echo(words.visible(f"note: {note}"))
    if pages:
        click.echo(f"report: {pages[0]}")
