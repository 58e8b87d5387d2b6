"""The files: one page each, nothing loaded, hostile names inert, written whole or not at all."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import reports
from harness.errors import UsageError
from harness.model import CaseResult, CaseStatus, Measured
from harness.store import Store
from reports.files import file_name, write_atomically
from reports.html import visible
from reports.inputs import RunInput
from tests.unit.reports.sample import HOSTILE, START, Samples, family, record, run_input

DATA = ("application/octet-stream",)
"""Types of script elements that no browser runs."""


class Elements(HTMLParser):
    """Every element with its attributes, and the text of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.raw: list[tuple[str, dict[str, str | None], str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem:
            self.raw.append((*self.found[-1], data))


@pytest.fixture(scope="module")
def hostile() -> dict[str, str]:
    run, samples = run_input(hostile=True)
    return reports.render(run, samples, generated_at=START, history=[run.record])


def test_there_is_a_file_per_tier_and_an_index(hostile: dict[str, str]) -> None:
    assert list(hostile) == ["flagship.html", "budget.html", "index.html"]


@pytest.mark.parametrize("name", ["flagship.html", "index.html"])
def test_only_our_style_and_script_are_allowed(hostile: dict[str, str], name: str) -> None:
    page = Elements(hostile[name])
    policy = next(a["content"] for tag, a in page.found if tag == "meta" and a.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    for tag, attributes, text in page.raw:
        if attributes.get("type") not in DATA:
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            (allowed,) = [part for part in policy.split("; ") if part.startswith(f"{tag}-src ")]
            assert f"'sha256-{digest}'" in allowed.split()
    assert "unsafe" not in policy
    assert policy.count("sha256-") == sum(a.get("type") not in DATA for _, a, _ in page.raw)


@pytest.mark.parametrize("name", ["flagship.html", "index.html"])
def test_nothing_is_loaded_and_nothing_inline_runs(hostile: dict[str, str], name: str) -> None:
    page = Elements(hostile[name])
    tags = {tag for tag, _ in page.found}
    assert not tags & {"link", "img", "iframe", "object", "embed", "base", "form"}
    for _, attributes in page.found:
        assert not [key for key in attributes if key.startswith("on") or key in ("style", "src", "srcset", "action")]
        href = attributes.get("href") or "#"
        assert re.fullmatch(r"#[^\s\"<>]*|[A-Za-z0-9._-]+\.html", href), href


def test_hostile_names_are_text_and_cannot_hide_or_reorder(hostile: dict[str, str]) -> None:
    text = hostile["flagship.html"]
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(&#39;1&#39;)" in text
    assert "\u202e" not in text
    assert "[U+202E]gnol" in text
    running = [a for tag, a in Elements(text).found if tag == "script" and a.get("type") not in DATA]
    assert running == [{}, {}, {}]


def test_ids_are_unique_and_links_lead_somewhere(hostile: dict[str, str]) -> None:
    page = Elements(hostile["flagship.html"])
    ids = [attributes["id"] for _, attributes in page.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = [str(a["href"]).removeprefix("#") for tag, a in page.found if tag == "a" and str(a["href"])[0] == "#"]
    assert set(targets) <= set(ids)
    described = [word for _, a in page.found for word in str(a.get("aria-describedby") or "").split()]
    assert described
    assert set(described) <= set(ids)


def test_data_survive_embedding(hostile: dict[str, str]) -> None:
    scripts = {a["id"]: text for tag, a, text in Elements(hostile["flagship.html"]).raw if "id" in a}
    texts = {name: gzip.decompress(base64.b64decode(scripts[name])).decode() for name in ("data-json", "data-csv")}
    assert HOSTILE in {row["model"] for row in json.loads(texts["data-json"])}
    assert texts["data-csv"].startswith("run,case,device,")


def test_the_plotting_code_comes_with_its_licence_and_only_where_there_is_something_to_plot() -> None:
    run, samples = run_input(repeats=1)
    page = reports.render(run, samples, generated_at=START)
    assert "Copyright (c) 2022 Leon Sorokin" in page["flagship.html"]
    assert "var uPlot=" in page["flagship.html"]
    assert "uPlot" not in page["index.html"]
    assert "uPlot" not in reports.render(run, Samples(), generated_at=START)["flagship.html"]


def test_control_characters_are_shown() -> None:
    assert visible("a\x1b[2Jb\u200f\ud800\tc\n") == "a[U+001B][2Jb[U+200F][U+D800]\tc\n"
    assert visible(5) == 5


@pytest.mark.parametrize("tier", ["flagship", "mid-range", "../../etc/passwd", "<script>", "", "index", "a b", "ä"])
def test_file_names_are_plain(tier: str) -> None:
    name = file_name(tier)
    assert re.fullmatch(r"[a-z0-9][a-z0-9._-]*\.html", name)
    assert name != "index.html"


def test_tiers_that_look_alike_have_files_of_their_own() -> None:
    assert len({file_name(tier) for tier in ("a b", "a/b", "a-b", "A-B", "a?b")}) == 5


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "x.html"
    write_atomically(target, "old")

    def broken(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", broken)
    with pytest.raises(OSError, match="no space"):
        write_atomically(target, "new")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


# --- with a database --------------------------------------------------------------------------------------------------


def fill(store: Store, run: RunInput, samples: Samples) -> None:
    """Put a run into a store as a real one would come there."""
    from dataclasses import replace

    waits = (CaseStatus.SKIPPED, CaseStatus.REFUSED)
    plans = [one.planned for one in run.repetitions]
    fresh = [p if p.status in waits else replace(p, status=CaseStatus.PLANNED, reason=None) for p in plans]
    store.begin_run(run.record, fresh)
    for one in run.repetitions:
        if one.status not in waits:
            key, started = one.planned.key, one.started_at or 0.0
            store.start_case(key, 1, started)
            for step in one.steps:
                store.add_step(key, step)
            result = CaseResult(
                status=one.status,
                attempt=1,
                started_at=started,
                duration_s=one.duration_s or 0.0,
                metrics=one.metrics,
                traces=samples.traces(key),
                itl_ms=samples.itl(key),
                provenance=one.provenance,
                error=one.error,
                log_tail=one.log_tail,
                commands=one.commands,
            )
            store.finish_case(key, result)


@pytest.fixture
def database(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'farm.db'}"
    with Store.open(url) as store:
        fill(store, *run_input(repeats=2))
    return url


def test_write_makes_the_index_first_and_a_file_per_tier(database: str, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "reports"
    with Store.open(database) as store:
        paths = reports.write(store, out=out)
    assert paths == (out / "index.html", out / "flagship.html", out / "budget.html")
    text = paths[1].read_text("utf-8")
    assert "Pixel 8 Pro" in text
    assert 'class="timeline"' in text
    assert "plug it in again" not in text
    assert "needs 9200 MB, 4100 MB are available" in text


def test_a_run_stands_beside_the_newest_run_of_its_suite_before_it(tmp_path: Path) -> None:
    from dataclasses import replace

    first, samples = family(run="20251119-050000-aa11", at=START - 200_000)
    second, _ = family(run="20251120-050000-bb22", at=START - 100_000)
    pairs, _ = family(run="20251120-090000-cc33", at=START - 90_000)
    other, _ = family(run="20251120-100000-dd44", at=START - 80_000)
    now, _ = family(slower=1.3)
    pairs = replace(pairs, record=replace(pairs.record, options={"nightly": {"role": "pairs"}}))
    other = replace(other, record=replace(other.record, suite="another"))
    with Store.open(f"sqlite:///{tmp_path / 'farm.db'}") as store:
        for run in (now, first, second, pairs, other):
            fill(store, run, samples)
        newest = reports.write(store, out=tmp_path / "r")[1].read_text("utf-8")
        oldest = reports.write(store, run=first.record.id, out=tmp_path / "r")[1].read_text("utf-8")
    assert "Compared with run <code>20251120-050000-bb22</code>" in newest
    assert "over 3 runs" in newest, "two earlier ones and this"
    assert "no earlier run has it" in oldest
    assert "No earlier run of suite standard that measured this tier is in the database." in oldest


def test_earlier_figures_leave_out_warm_ups_and_other_measuring_contracts(tmp_path: Path) -> None:
    from dataclasses import replace
    from statistics import median

    from reports.from_store import read_past

    def night(number: int, **changed: object) -> RunInput:
        run, _ = family(run=f"night-{number:04d}", at=START - 86_400 * number)
        return replace(run, record=replace(run.record, **changed))  # type: ignore[arg-type]

    warmed = night(1, options={"repeats": {"repeats_auto": False, "warm_up": True}})
    old = night(2, contract=0)
    now, samples = family()
    with Store.open(f"sqlite:///{tmp_path / 'farm.db'}") as store:
        for run in (now, warmed, old):
            fill(store, run, samples)
        past = read_past(store, now.record, "flagship", store.runs())
    assert past.runs == ("night-0001",)
    assert past.previous is not None
    assert past.previous.id == "night-0001"
    key = now.repetitions[0].planned.series_key
    found = [one.metrics["ms_per_token"] for one in warmed.repetitions if one.planned.series_key == key]
    counting = [one.value for one in found[1:] if isinstance(one, Measured)]
    assert past.values[key] == {"night-0001": pytest.approx(median(counting))}


def test_one_tier_alone(database: str, tmp_path: Path) -> None:
    with Store.open(database) as store:
        paths = reports.write(store, tiers=["budget"], out=tmp_path / "r")
    assert [path.name for path in paths] == ["index.html", "budget.html"]
    assert "flagship.html" not in paths[0].read_text("utf-8")


def test_what_cannot_be_reported_is_said(database: str, tmp_path: Path) -> None:
    with Store.open(database) as store:
        with pytest.raises(UsageError, match=r"no case of tier 'nope' \(it has: flagship, budget\)"):
            reports.write(store, tiers=["nope"], out=tmp_path)
        with pytest.raises(UsageError, match="no run 'nope'"):
            reports.write(store, run="nope", out=tmp_path)
        (tmp_path / "file").write_text("")
        with pytest.raises(UsageError, match="cannot be written"):
            reports.write(store, out=tmp_path / "file")
    with Store.open(f"sqlite:///{tmp_path / 'empty.db'}") as store, pytest.raises(UsageError, match="no run to report"):
        reports.write(store, out=tmp_path)


def test_a_run_that_measured_nothing_has_an_index(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path / 'farm.db'}") as store:
        store.begin_run(record(), [])
        (index,) = reports.write(store, out=tmp_path / "r")
    assert "0 of 0 measured" in index.read_text("utf-8")
