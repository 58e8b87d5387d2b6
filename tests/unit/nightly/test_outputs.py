"""JSON and Markdown of a night, and its exit code."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from markdown_it import MarkdownIt

from harness.cli import exits
from harness.model import Change, ChangeState, NightSummary
from harness.nightly.markdown import MOST_CHARACTERS
from harness.nightly.outputs import to_json, to_markdown
from tests.unit.nightly.summaries import HOSTILE, change, full, series, summary

ALLOWED = {"h2", "h3", "p", "code", "a", "table", "thead", "tbody", "tr", "th", "td"}


class Page(HTMLParser):
    """What a reader of the rendered Markdown gets: elements, cells of each row, links, text."""

    def __init__(self, markdown: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.rows: list[int] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        if tag == "tr":
            self.rows.append(0)
        if tag in ("td", "th"):
            self.rows[-1] += 1

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_hostile_name_breaks_no_page() -> None:
    harmless, hostile = Page(to_markdown(full("x"))), Page(to_markdown(full(HOSTILE)))
    assert hostile.tags == harmless.tags <= ALLOWED
    assert hostile.rows == harmless.rows and not hostile.links
    assert "<script>alert(1)</script> `x` **b** [l](http://e.example)" in hostile.text
    assert "@here" in hostile.text, "names are shown as they are"
    assert "\x00" not in hostile.text and "\x1b" not in hostile.text


def test_no_text_becomes_a_link_by_itself() -> None:
    text = to_markdown(summary(notes=("www.e.example http://e.example a@e.example",)))
    assert not re.search(r"(?i)www\.|://|\w@", text)


def test_prose_calls_nobody() -> None:
    page = Page(to_markdown(summary(notes=("thanks @team",))))
    assert "@\u200bteam" in page.text


def test_the_page_says_what_matters() -> None:
    page = Page(to_markdown(full("x"), "https://ci.example/report?a=1&b=2"))
    assert page.links == ["https://ci.example/report?a=1&b=2"]
    for said in (
        "412 measured, 3 failed, 1 refused, 14 left for the next night; 8 phones",
        "2 suspicions wait for pairs",
        "10.5 % worse (8.3 to 12.7 %)",
        "12 Nov",
        "x (virtual phone)",
        "pass → not measured",
        "61.25 ms, target 50",
        "93 %",
        "drifts",
    ):
        assert said in page.text, said


@pytest.mark.parametrize("link", ["", "/srv/reports", "javascript:alert(1)", "data:text/html,x"])
def test_only_addresses_become_links(link: str) -> None:
    assert Page(to_markdown(summary(), link)).links == []


def test_a_link_cannot_leave_its_attribute() -> None:
    page = Page(to_markdown(summary(), 'https://e.example/"><script>x</script>\n\n# y'))
    assert page.tags <= ALLOWED and len(page.links) == 1


def test_what_is_empty_is_left_out() -> None:
    text = to_markdown(summary(changes=(), hands=()))
    assert "###" not in text and text.startswith("## Night of 21 Nov")


def test_a_long_night_fits_into_a_comment_and_says_what_is_missing() -> None:
    many = tuple(change(series=series(f"{number}-{HOSTILE}" * 3)) for number in range(900))
    text = to_markdown(summary(changes=many, notes=("n" * 5000,) * 900, tiers=(HOSTILE,) * 50, runs=(HOSTILE,) * 50))
    assert len(text) <= MOST_CHARACTERS
    shown = len(re.findall(r"^\| <code>flagship", text, re.MULTILINE))
    assert 0 < shown < 900 and f"and {900 - shown} more" in text
    notes = len(re.findall(r"^\| n+", text, re.MULTILINE))
    assert notes < 5 and text.endswith(f"and {900 - notes} more\n"), "regressions go before notes"


def test_json_is_json_and_comes_back() -> None:
    made = to_json(full(HOSTILE))
    text = json.dumps(made, allow_nan=False)
    assert (made["due"], made["headline"][:15]) == (430, "Night of 21 Nov")
    back = json.loads(text)
    del back["headline"], back["due"]
    assert NightSummary.from_json(back).regressions[0].state is ChangeState.REGRESSION


def test_a_figure_that_is_no_number_is_none() -> None:
    assert to_json(summary(started_at=float("nan")))["started_at"] is None


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"phones": 0, "changes": (change(),), "failed": 1}, 3),
        ({"changes": (change(),), "failed": 1}, 5),
        ({"changes": (change(ChangeState.SUSPECT, regressed=True),), "failed": 0}, 5),
        ({"changes": (change(ChangeState.SUSPECT),), "failed": 1, "refused": 0}, 1),
        ({"changes": (), "failed": 0, "refused": 1}, 1),
        ({"changes": (), "failed": 0, "refused": 0, "measured": 0}, 1),
        ({"changes": (change(ChangeState.ACKNOWLEDGED),), "failed": 0, "refused": 0, "left": 14}, 0),
    ],
)
def test_exit_codes_in_their_order(more: dict[str, Any], code: int) -> None:
    assert exits.of_night(summary(**more)) == code


def test_the_readme_knows_the_exit_code_of_a_regression() -> None:
    from pathlib import Path

    text = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    assert re.search(rf"^\| {exits.REGRESSION} \| `farm nightly`: a regression", text, re.MULTILINE)


def test_a_change_of_the_model_is_told_with_its_builds() -> None:
    unnamed: Change = change(good_build="c" * 64, bad_build="c" * 64)
    page = Page(to_markdown(summary(changes=(unnamed,))))
    assert "c" * 12 in page.text and "→" not in page.text
