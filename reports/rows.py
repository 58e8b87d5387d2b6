"""The data of a page for machines: the rows of `farm export`, as JSON and as CSV text."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable

from harness.analysis.judgement import Judgement
from harness.export import FINAL, Record, record, write_csv
from reports.cases import Case


def rows(cases: Iterable[tuple[Case, Judgement]]) -> tuple[Record, ...]:
    """Every repetition of `cases` that has an outcome, with what is said of its case, by start."""
    entries = [(one, judged) for case, judged in cases for one in case.repetitions if one.status in FINAL]
    entries.sort(key=lambda entry: (entry[0].started_at or 0.0, entry[0].planned.key))
    return tuple(record(one.row, judged) for one, judged in entries)


def as_json(data: Iterable[Record]) -> str:
    return json.dumps(list(data), ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def as_csv(data: Iterable[Record]) -> str:
    file = io.BytesIO()
    write_csv(data, file)
    return file.getvalue().decode()
