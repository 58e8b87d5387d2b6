"""A night as Markdown, for the page of a CI job; every name in it is data, whatever it holds.

Foreign text becomes numeric character references but for letters, digits and a few harmless signs: GitHub's Markdown
takes a reference for text and never for markup (GFM specification, 6.2), so that no name ends a table's cell, opens a
link or becomes HTML.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from harness.analysis.nights_words import day, headline, moved, plain, told
from harness.model import NOT_A_PHONE, Change, ChangeState, NightSummary, VerdictFlip

MOST_CHARACTERS = 65_000
"""A comment on GitHub holds 65 536 characters; the summary of a job 1 MiB."""

_CELL = 400
"""Characters of one text, before it is escaped."""
_MORE = 40
"""Room for the line that counts what a table leaves out."""
_LISTED = 10
_LISTED_CHARACTERS = 80
"""Of the names of one list: how many are named, and how much of each."""

_UNSAFE = re.compile(r"(?i:(?<=www)\.)|[^A-Za-z0-9 ,;%/().\-\u0080-\U0010ffff]")
"""A dot after "www" and a colon are among it: GitHub makes links of bare addresses."""
_MENTION = "&#64;"


@dataclass(frozen=True, slots=True)
class _Table:
    """Args: rows: of cells that are Markdown already."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def frame(self) -> str:
        """All of it but its rows."""
        return f"\n### {self.title}\n\n{_row(self.heads)}{_row('---' for _ in self.heads)}"


def to_markdown(summary: NightSummary, link: str = "") -> str:
    """The night for a CI page: GitHub-flavoured Markdown, at most MOST_CHARACTERS; what does not fit is counted.

    Args: link: http or https address of the report; any other is left out.
    """
    tables = [table for table in _tables(summary) if table.rows]
    begin = f"## {_text(headline(summary), most=1000)}\n\n{_link(link)}{_counts(summary)}\n"
    room = MOST_CHARACTERS - len(begin) - sum(len(table.frame()) + _MORE for table in tables)
    parts = [begin]
    for table in tables:
        rows, left = _fitted(table.rows, room)
        room -= sum(map(len, rows))
        parts += [table.frame(), *rows, f"\nand {left} more\n" if left else ""]
    return "".join(parts)


def _fitted(rows: Sequence[Sequence[str]], room: int) -> tuple[list[str], int]:
    """The first rows that fit, and how many do not."""
    fitting: list[str] = []
    for cells in rows:
        line = _row(cells)
        if len(line) > room:
            break
        room -= len(line)
        fitting.append(line)
    return fitting, len(rows) - len(fitting)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _link(address: str) -> str:
    if not address.startswith(("http://", "https://")):
        return ""
    return f'<a href="{html.escape(plain(address, most=2000))}">Report</a>\n\n'


def _text(text: str, most: int = _CELL) -> str:
    """Foreign text. A sign that nobody sees keeps an "@" from calling somebody."""
    return _escaped(text, most).replace(_MENTION, f"{_MENTION}&#8203;")


def _name(text: str, most: int = _CELL) -> str:
    """A foreign name, which can be copied from the page as it is."""
    return f"<code>{_escaped(text, most)}</code>" if text else "–"


def _names(found: Sequence[str]) -> str:
    listed = ", ".join(_name(one, _LISTED_CHARACTERS) for one in found[:_LISTED])
    return f"{listed} and {len(found) - _LISTED} more" if len(found) > _LISTED else listed or "–"


def _escaped(text: str, most: int) -> str:
    return _UNSAFE.sub(lambda found: f"&#{ord(found[0])};", plain(text, most))


# --- what is in it ----------------------------------------------------------------------------------------------------


def _counts(summary: NightSummary) -> str:
    parts = [
        f"{summary.measured} measured",
        f"{summary.failed} failed",
        f"{summary.refused} refused",
        f"{summary.left} left for the next night",
    ]
    phones = "1 phone" if summary.phones == 1 else f"{summary.phones} phones"
    lines = [f"{', '.join(parts)}; {phones}; tiers {_names(summary.tiers)}; runs {_names(summary.runs)}."]
    if summary.builds:
        lines.append(f"Builds: {_names([f'{runner} {build}' for runner, build in summary.builds.items()])}.")
    if summary.pairs_left:
        waiting = "1 suspicion waits" if summary.pairs_left == 1 else f"{summary.pairs_left} suspicions wait"
        lines.append(f"{waiting} for pairs that did not fit into the night.")
    return "\n\n".join(lines)


def _tables(summary: NightSummary) -> tuple[_Table, ...]:
    """What a reader has to act on comes first, and is the last to be cut."""
    return (
        _changes("Confirmed regressions", summary, summary.regressions),
        _hands(summary),
        _changes("Suspect, pairs are to decide", summary, summary.of(ChangeState.SUSPECT)),
        _bisections(summary),
        _flips(summary),
        _kept_apart(summary),
        _changes("Improved", summary, summary.of(ChangeState.IMPROVEMENT)),
        _changes("Known, acknowledged by a person", summary, summary.of(ChangeState.ACKNOWLEDGED)),
        _changes("Was suspect, the pairs did not agree", summary, summary.of(ChangeState.CLEARED)),
        _Table("Notes", ("Note",), tuple((_text(note),) for note in summary.notes)),
    )


def _changes(title: str, summary: NightSummary, changes: Iterable[Change]) -> _Table:
    heads = ("Series", "Change, 95 % interval", "Since", "Build", "Nights, phones", "Why")
    return _Table(title, heads, tuple(_change(summary, change) for change in changes))


def _change(summary: NightSummary, change: Change) -> tuple[str, ...]:
    good, bad = summary.builds_of(change)
    why = "; ".join((change.reason, *change.events))
    return (
        _name(change.series.key),
        told(change) or "–",
        day(change.since) if change.since else "–",
        f"{_name(good)} → {_name(bad)}" if good != bad else _name(bad),
        f"{change.nights}, {len(change.phones)}",
        _text(why),
    )


def _hands(summary: NightSummary) -> _Table:
    rows = tuple((_names(one.devices), _text(one.problem), _text(one.advice)) for one in summary.hands)
    return _Table("Hands needed", ("Phones", "Problem", "What to do"), rows)


def _bisections(summary: NightSummary) -> _Table:
    heads = ("Series", "First bad build", "Last good build", "Could not be tried", "Confidence", "Why")
    rows = tuple(
        (
            _name(one.series),
            _name(one.first_bad),
            _name(one.last_good),
            _names(one.untried),
            "the search goes on" if one.confidence is None else f"{100 * one.confidence:.0f} %",
            _text(one.reason),
        )
        for one in summary.bisections
    )
    return _Table("Which build began it", heads, rows)


def _flips(summary: NightSummary) -> _Table:
    heads = ("Tier", "Model", "Owner", "Phone", "Runner", "Workload", "Target", "Verdict", "Tonight")
    return _Table("Verdicts that flipped", heads, tuple(_flip(one) for one in summary.flips))


def _flip(one: VerdictFlip) -> tuple[str, ...]:
    mark = f" ({NOT_A_PHONE[one.kind]})" if one.kind in NOT_A_PHONE else ""
    value = "not measured" if one.value is None else f"{one.value:.4g} {_text(one.unit)}"
    limit = "" if one.limit is None else f", target {one.limit:g}"
    return (
        _name(one.tier),
        _name(one.model),
        _name(one.owner),
        f"{_name(one.device_id)}{mark}",
        _name(one.runner),
        _name(one.workload),
        _name(one.target),
        f"{one.before.value.replace('_', ' ')} → {one.after.value.replace('_', ' ')}",
        f"{value}{limit}",
    )


def _kept_apart(summary: NightSummary) -> _Table:
    """Phones in quarantine, and those that drift on their own reference."""
    rows = [
        (_name(one.device_id), "quarantine", _date(one.since), f"{_text(one.reason)}, by {_name(one.author)}")
        for one in summary.quarantined
    ]
    rows += [
        (_name(one.device_id), "drifts", "–", f"{_name(one.metric)} {moved(one.delta)} over {one.nights} nights")
        for one in summary.drifts
        if one.drifted
    ]
    return _Table("Phones whose results are kept apart", ("Phone", "What", "Since", "Why"), tuple(rows))


def _date(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d")
