"""Nights in the files of a report: from the store, nothing loaded, hostile names inert."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

import reports
from harness.leases import identity_of_this_process
from harness.model import Ack, Change, ChangeState, NightRecord, RunStatus
from harness.store import Store
from reports.from_store import read_nights, read_run
from tests.unit.reports.night_sample import ENDED, LAST, earlier, night_input, series, summary
from tests.unit.reports.sample import HOSTILE, RUN, START, family, run_input
from tests.unit.reports.test_html import DATA, Elements, fill

PAGES = ("index.html", "flagship.html", "fleet.html")


@pytest.fixture(scope="module")
def hostile() -> dict[str, str]:
    run, samples = run_input(hostile=True, repeats=1)
    return reports.render(run, samples, generated_at=START, history=[run.record], nights=night_input(HOSTILE))


@pytest.mark.parametrize("name", PAGES)
def test_hostile_builds_reasons_and_authors_are_text(hostile: dict[str, str], name: str) -> None:
    text = hostile[name]
    assert "<script>alert" not in text
    assert "\u202e" not in text
    assert "[U+202E]gnol" in text
    page = Elements(text)
    for _, attributes in page.found:
        assert not [key for key in attributes if key.startswith("on") or key in ("style", "src", "srcset", "action")]
        href = attributes.get("href") or "#"
        assert re.fullmatch(r"(?:[A-Za-z0-9._-]+\.html)?(?:#[^\s\"<>]*)?", href), href
    running = [a for tag, a in page.found if tag == "script" and a.get("type") not in DATA]
    assert all(attributes == {} for attributes in running)


def test_ids_are_unique_and_links_lead_somewhere_over_all_files(hostile: dict[str, str]) -> None:
    from urllib.parse import unquote

    ids = {}
    for name, text in hostile.items():
        found = [str(attributes["id"]) for _, attributes in Elements(text).found if "id" in attributes]
        assert len(found) == len(set(found))
        ids[name] = set(found)
    for name, text in hostile.items():
        for tag, attributes in Elements(text).found:
            file, hash_sign, fragment = str(attributes.get("href") or "").partition("#")
            assert tag != "a" or (file or name) in ids
            if hash_sign:
                # A browser looks for the fragment as it stands, then for what it decodes to.
                assert {fragment, unquote(fragment)} & ids[file or name], fragment
            for word in str(attributes.get("aria-labelledby") or "").split():
                assert word in ids[name]


def test_without_nights_no_word_of_them_is_in_the_files() -> None:
    run, samples = run_input(repeats=1)
    files = reports.render(run, samples, generated_at=START, history=[run.record])
    assert "fleet.html" not in files
    assert "data-ended=" not in files["index.html"]
    assert 'id="changed"' not in files["flagship.html"]
    assert ">Nights<" not in files["index.html"]


@pytest.mark.parametrize("hours", [1, 27])
def test_a_page_without_its_script_shows_the_age_at_writing(hours: int) -> None:
    run, samples = run_input(repeats=1)
    quiet = replace(night_input(), judged=(Change(series(), ChangeState.STEADY, 30, ()),), fleet=())
    text = reports.render(run, samples, generated_at=ENDED + hours * 3600, tiers=(), nights=quiet)["index.html"]
    old = '<strong class="old">Old: the newest night was <span class="age">27 h</span> ago. </strong>'
    assert ('<p class="headline bad"' in text) is (hours == 27)
    assert (old in text) is (hours == 27)
    assert ('<strong class="old" hidden>' in text) is (hours == 1)


def test_a_tier_called_fleet_has_another_file() -> None:
    from reports.files import file_name

    assert file_name("fleet") != "fleet.html"


# --- with a database --------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Store:
    opened = Store.open(f"sqlite:///{tmp_path / 'farm.db'}")
    fill(opened, *family())
    return opened


def put(store: Store, *records: NightRecord) -> None:
    for record in records:
        store.nights.begin(replace(record, status=RunStatus.RUNNING, ended_at=None, summary=None))
        store.nights.end(record.lab, record.night, record.status, record.ended_at or 0.0, record.summary)


def test_the_index_of_a_lab_with_nights_opens_with_the_newest(store: Store, tmp_path: Path) -> None:
    newest = night_input().night
    with store:
        put(store, *earlier(3), newest)
        paths = reports.write(store, out=tmp_path / "r")
    text = paths[0].read_text("utf-8")
    assert "Night of 20 Nov, ended 07:00 UTC: 412 of 430 measured" in text
    assert f'href="#run={RUN}"' in text
    assert "What changed" in paths[1].read_text("utf-8")
    assert [path.name for path in paths] == ["index.html", "flagship.html"], "the store knows no fleet"


def test_what_is_handed_in_is_shown(store: Store, tmp_path: Path) -> None:
    with store:
        paths = reports.write(store, out=tmp_path / "r", nights=night_input())
    assert [path.name for path in paths] == ["index.html", "flagship.html", "fleet.html"]
    assert 'href="fleet.html"' in paths[0].read_text("utf-8")


def test_nights_are_read_with_what_people_said_and_with_a_night_that_is_not_stored_yet(store: Store) -> None:
    ack = Ack(series(), LAST.isoformat(), "Ada", "on purpose", ENDED)
    with store:
        assert read_nights(store, "example-lab") is None
        put(store, *earlier(3))
        store.nights.add_ack("example-lab", ack)
        found = read_nights(store, "example-lab")
        tonight = read_nights(store, "example-lab", summary())
        assert read_nights(store, "another-lab") is None
    assert found is not None
    assert tonight is not None
    assert (found.night.night, len(found.before), found.acks) == ("2025-11-19", 2, (ack,))
    assert (tonight.night.night, tonight.night.status, len(tonight.before)) == ("2025-11-20", RunStatus.FINISHED, 3)
    assert tonight.night.ended_at == ENDED


def test_a_night_whose_process_died_is_interrupted(store: Store) -> None:
    here = identity_of_this_process().host
    with store:
        begun = NightRecord(LAST.isoformat(), "example-lab", START, RunStatus.RUNNING, host=here, pid=2**22 + 1)
        store.nights.begin(begun)
        found = read_nights(store, "example-lab")
    assert found is not None
    assert found.night.status is RunStatus.INTERRUPTED


def test_a_phone_is_kept_apart_that_was_in_quarantine_then_or_is_now(store: Store) -> None:
    record = family()[0].record
    ended = record.ended_at or 0.0
    kept = {"device_id": "s24-ultra-a", "reason": "drifts", "author": "farm", "lifted": False}

    def say(at: float, **changed: object) -> str:
        store.add_device_record("s24-ultra-a", "quarantine", "", at, {**kept, **changed})
        told = {one.id: one.quarantine for one in read_run(store, record).devices}
        assert told["pixel-8-pro"] == ""
        return told["s24-ultra-a"]

    with store:
        assert say(ended - 9, lifted=True) == ""
        assert say(ended + 1) == "drifts", "it is now"
        assert say(ended + 2, lifted=True) == ""
        assert say(ended - 1, reason="its battery swells") == "its battery swells", "it was when the run ended"
        assert say(ended + 3, reason="") == "its battery swells"
        assert say(ended - 0.5, lifted=True) == "no reason is stored"


@pytest.mark.parametrize("role", ["pairs", "bisect"])
def test_runs_that_decide_builds_are_neither_reported_nor_compared_with(
    store: Store, tmp_path: Path, role: str
) -> None:
    other, samples = family(run="20251121-100000-ee55", at=START + 20_000)
    options = {"nightly": {"night": LAST.isoformat(), "role": role}}
    with store:
        fill(store, replace(other, record=replace(other.record, options=options)), samples)
        newest = reports.write(store, out=tmp_path / "r")[1].read_text("utf-8")
        asked = reports.write(store, run=other.record.id, out=tmp_path / "r")[1].read_text("utf-8")
    assert f"run <code>{RUN}</code>" in newest
    assert f"run <code>{other.record.id}</code>" in asked
