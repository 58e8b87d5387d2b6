"""What a night tells machines: JSON, JUnit XML, Markdown. Pure, over its summary."""

from __future__ import annotations

from typing import Any

from harness.analysis.nights_words import headline
from harness.model import NightSummary
from harness.nightly.junit import to_junit
from harness.nightly.markdown import to_markdown
from harness.store.rows import clean

__all__ = ["to_json", "to_junit", "to_markdown"]


def to_json(summary: NightSummary) -> dict[str, Any]:
    """JSON-ready: the one sentence, what was planned, and the summary as it is stored; no NaN in it."""
    stored: dict[str, Any] = clean(summary.to_json())
    return {"headline": headline(summary), "due": summary.due, **stored}
