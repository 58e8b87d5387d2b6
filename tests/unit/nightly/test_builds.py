"""Builds of a runner in its folder: order, what is left out, and how one is named."""

from __future__ import annotations

import os
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.model import Baseline, ErrorInfo, Nightly, Platform
from harness.nightly.builds import (
    BuildsFound,
    all_on_disk,
    build_by_sha,
    builds_by_sha,
    builds_of,
    check_build,
    entry_of,
    find_build,
    with_build,
)
from harness.nightly.folders import SETTLE_S
from tests.unit.nightly.shelf import INVENTORY, OLD, RUNNER, put, set_time


def found(base: Path, now: float = OLD + 1000) -> BuildsFound:
    return builds_of(INVENTORY, base, "r", now=now)


def names(base: Path, now: float = OLD + 1000) -> list[str]:
    return [build.name for build in found(base, now).builds]


def test_the_oldest_is_first_and_of_one_time_the_smaller_number(tmp_path: Path) -> None:
    folder = tmp_path / "builds"
    for name, at in (("b10", 5), ("b9", 5), ("B8", 5), ("zz", 1), ("aa", 9), ("b9.1", 5)):
        put(folder, name, at=OLD + at)
    assert names(tmp_path) == ["zz", "B8", "b9", "b9.1", "b10", "aa"]
    newest = found(tmp_path).newest
    assert newest is not None
    assert (newest.runner, newest.name, newest.path, newest.modified_at) == ("r", "aa", folder / "aa", OLD + 9)


def test_the_newest_change_counts_wherever_it_is(tmp_path: Path) -> None:
    put(tmp_path / "builds", "a", at=OLD + 5)
    program = put(tmp_path / "builds", "b", at=OLD) / "llama-bench"
    os.utime(program, (OLD + 9, OLD + 9))
    assert names(tmp_path) == ["a", "b"]


def test_what_is_still_being_written_waits(tmp_path: Path) -> None:
    put(tmp_path / "builds", "done", at=OLD)
    program = put(tmp_path / "builds", "fresh", at=OLD) / "llama-bench"
    os.utime(program, (OLD + 500, OLD + 500))
    assert names(tmp_path, now=OLD + 500 + SETTLE_S + 1) == ["done", "fresh"]
    early = found(tmp_path, now=OLD + 500 + SETTLE_S - 1)
    assert [build.name for build in early.builds] == ["done"]
    assert early.notes == ('"fresh" in "builds" is left out: it is still being written, and waits for the next night',)
    assert [build.name for build in builds_of(INVENTORY, tmp_path, "r", now=OLD + 501, settle_s=1).builds] == [
        "done",
        "fresh",
    ]


def test_what_is_no_build_is_left_out_with_the_reason(tmp_path: Path) -> None:
    folder = tmp_path / "builds"
    real = put(folder, "real")
    for name in (".hidden.zip", "half.zip.part", "other.tar.gz.TMP", "notes.txt", "later.zip"):
        (folder / name).write_bytes(b"x")
        set_time(folder / name, OLD)
    os.utime(folder / "later.zip", (OLD + 5000, OLD + 5000))
    (folder / "latest").symlink_to(real)
    (folder / "gone.zip").symlink_to(tmp_path / "nowhere")
    set_time(folder / "latest", OLD)
    assert names(tmp_path) == ["real"]
    notes = "\n".join(found(tmp_path).notes)
    for text in (
        '"half.zip.part" in "builds" is left out: it is a partial download',
        '"other.tar.gz.TMP" in "builds" is left out: it is a partial download',
        '"notes.txt" in "builds" is left out: it is neither a folder nor',
        '"later.zip" in "builds" is left out: it was written in the future',
        '"latest" in "builds" is left out: it is another name of "real"',
        '"gone.zip" in "builds" is left out: it cannot be read: No such file',
    ):
        assert text in notes
    assert ".hidden" not in notes


def test_archives_are_builds(tmp_path: Path) -> None:
    build = put(tmp_path, "unpacked")
    archive = tmp_path / "builds" / "b1.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as writer:
        writer.add(build / "llama-bench", "llama-bench")
    set_time(archive, OLD)
    (only,) = found(tmp_path).builds
    assert (
        check_build(INVENTORY, tmp_path, only, tmp_path / "cache").sha256
        == check_build(INVENTORY, tmp_path, replace(only, path=build), tmp_path / "cache").sha256
    ), "packed or not, it is the same build"


def test_without_a_folder_there_are_none_and_a_missing_one_is_told(tmp_path: Path) -> None:
    assert builds_of(replace(INVENTORY, nightly=Nightly()), tmp_path, "r") == BuildsFound("r", ())
    assert found(tmp_path).notes == ('the folder "builds" cannot be read: No such file or directory',)
    assert found(tmp_path).newest is None


HOSTILE = [
    "with space",
    "it's",
    'a "b"',
    "$(id)",
    "`id`",
    "; rm -rf x",
    "ünï-中文",
    "two\nlines",
    "-rf",
    "a%sb",
    "<b>&",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_a_name(tmp_path: Path, name: str) -> None:
    put(tmp_path / "builds", name)
    (only,) = found(tmp_path).builds
    assert only.name == name
    assert check_build(INVENTORY, tmp_path, only, tmp_path / "cache").sha256
    assert find_build(INVENTORY, tmp_path, found(tmp_path), name, "--good") == only
    assert with_build(INVENTORY, only).runners[0].path == str(tmp_path / "builds" / name)


def test_a_name_that_is_no_text_is_left_out(tmp_path: Path) -> None:
    put(tmp_path / "builds", os.fsdecode(b"b\xff"))
    assert found(tmp_path).builds == ()
    assert found(tmp_path).notes == ('"b\\xdcff" in "builds" is left out: its name is no UTF-8 text: rename it',)


def test_a_build_is_found_by_its_name_or_its_hash(tmp_path: Path) -> None:
    for number in range(3):
        put(tmp_path / "builds", f"b{number}", f"echo {number}", at=OLD + number)
    shelf, cache = found(tmp_path), tmp_path / "cache"
    sha256 = check_build(INVENTORY, tmp_path, shelf.builds[1], cache).sha256
    for wanted in ("b1", sha256, sha256[:12], sha256[:6].upper()):
        assert find_build(INVENTORY, tmp_path, shelf, wanted, "--good", cache).name == "b1"
    by_sha = build_by_sha(INVENTORY, tmp_path, shelf.builds, sha256, cache)
    assert by_sha is not None
    assert by_sha.build.name == "b1"
    assert build_by_sha(INVENTORY, tmp_path, shelf.builds, "0" * 64, cache) is None
    assert build_by_sha(INVENTORY, tmp_path, shelf.builds, "", cache) is None


def test_an_unknown_build_names_the_nearest_and_what_there_is(tmp_path: Path) -> None:
    for number in range(10, 20):
        put(tmp_path / "builds", f"build-{number}", at=OLD + number)
    with pytest.raises(UsageError) as unknown:
        find_build(INVENTORY, tmp_path, found(tmp_path), "biuld-13", "--bad", tmp_path / "cache")
    assert "--bad: no build 'biuld-13' of r; did you mean \"build-13\"?" in str(unknown.value)
    assert "the newest of 10 are: 'build-12'" in str(unknown.value)
    without = replace(INVENTORY, nightly=Nightly())
    with pytest.raises(UsageError, match="there are: none") as nowhere:
        find_build(without, tmp_path, builds_of(without, tmp_path, "r"), "b1", "--good")
    assert "nightly.builds" in str(nowhere.value)


def test_a_build_that_is_none_says_why(tmp_path: Path) -> None:
    (tmp_path / "builds" / "empty").mkdir(parents=True)
    set_time(tmp_path / "builds" / "empty", OLD)
    (only,) = found(tmp_path).builds
    told = check_build(INVENTORY, tmp_path, only, tmp_path / "cache")
    assert told.sha256 == ""
    assert isinstance(told.found, ErrorInfo)
    assert "none of the programs farm knows" in told.found.message


def test_a_build_takes_the_place_of_its_runners_files(tmp_path: Path) -> None:
    put(tmp_path / "builds", "b1")
    (build,) = found(tmp_path).builds
    fetched = replace(RUNNER, path=None, url="https://x.example/r.zip", sha256="c" * 64)
    other = replace(RUNNER, id="s")
    changed = with_build(replace(INVENTORY, runners=(other, fetched)), build).runners
    assert changed == (other, replace(RUNNER, path=str(build.path)))
    assert entry_of(RUNNER, build, "r@1").id == "r@1"


def test_every_place_of_a_build_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARM_CACHE", str(tmp_path / "cache"))
    put(tmp_path / "builds", "b1")
    put(tmp_path / "builds", "b2", at=OLD + 1)
    put(tmp_path, "own", "echo own")
    put(tmp_path / ".farm" / "baseline", "c0ffee", "echo pinned")
    pinned = [
        Baseline(runner, "f" * 64, name, path, "me", "good", OLD)
        for runner, name, path in (
            ("r", "b0", ".farm/baseline/c0ffee"),
            ("r", "lost", ".farm/baseline/gone"),
            ("other", "b0", ".farm/baseline/c0ffee"),
        )
    ]
    assert [build.name for build in all_on_disk(INVENTORY, tmp_path, "r", pinned)] == ["b2", "b1", "own", "b0"]
    elsewhere = replace(INVENTORY, runners=(replace(RUNNER, path="nowhere", platform=Platform.ANDROID),))
    assert [build.name for build in all_on_disk(elsewhere, tmp_path, "r")] == ["b2", "b1"]
    with pytest.raises(UsageError, match="no runner 'q' in the inventory"):
        all_on_disk(INVENTORY, tmp_path, "q")


def test_several_builds_are_found_by_their_hashes(tmp_path: Path) -> None:
    for number in range(4):
        put(tmp_path / "builds", f"b{number}", f"echo {number % 3}", at=OLD + number)
    builds, cache = found(tmp_path).builds, tmp_path / "cache"
    hashes = [check_build(INVENTORY, tmp_path, build, cache).sha256 for build in builds]
    two = builds_by_sha(INVENTORY, tmp_path, reversed(builds), (hashes[0], hashes[1], "9" * 64), cache)
    assert [one.build.name for one in two] == ["b3", "b1"], "the first that has it"
    assert builds_by_sha(INVENTORY, tmp_path, builds, (), cache) == ()
