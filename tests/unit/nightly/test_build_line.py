"""The builds between two ends: each once, and the ends sound."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.errors import Permanent, UsageError
from harness.model import ErrorInfo, RunnerBuild, Step
from harness.nightly.build_line import BuildLine, NoLine, line_between, line_of_hashes
from harness.nightly.builds import builds_of, check_build
from tests.unit.nightly.shelf import INVENTORY, OLD, put, set_time


def fill(base: Path, texts: Sequence[str]) -> None:
    """Builds b0, b1, … with these contents; "" is one without a program."""
    for number, text in enumerate(texts):
        if text:
            put(base / "builds", f"b{number}", f"echo {text}", at=OLD + number)
        else:
            (base / "builds" / f"b{number}").mkdir(parents=True)
            set_time(base / "builds" / f"b{number}", OLD + number)


def line(base: Path, good: int, bad: int, refused: str = "") -> BuildLine:
    """From b<good> to b<bad>; `refused`: content that cannot do what is to be measured."""

    def unfit(build: RunnerBuild) -> ErrorInfo | None:
        text = Path(build.artifact.files[0].path).read_text(encoding="utf-8")
        return ErrorInfo("option_unknown", Step.CHECK, "it does not know --x") if refused and refused in text else None

    builds = builds_of(INVENTORY, base, "r", now=OLD + 1000).builds
    return line_between(INVENTORY, base, builds, builds[good], builds[bad], unfit, base / "cache")


def names(found: BuildLine) -> list[str]:
    return [one.build.name for one in found.builds]


def test_it_goes_from_one_end_to_the_other(tmp_path: Path) -> None:
    fill(tmp_path, "abcde")
    assert names(line(tmp_path, 1, 3)) == ["b1", "b2", "b3"]
    assert line(tmp_path, 1, 3).notes == ()


def test_one_that_does_not_run_is_kept_in_its_place(tmp_path: Path) -> None:
    fill(tmp_path, ["a", "", "c", "d"])
    found = line(tmp_path, 0, 3, refused="echo c")
    assert names(found) == ["b0", "b1", "b2", "b3"]
    assert [one.sha256 == "" for one in found.builds] == [False, True, True, False]


def test_the_same_files_are_tried_once(tmp_path: Path) -> None:
    fill(tmp_path, "axxb")
    found = line(tmp_path, 0, 3)
    assert names(found) == ["b0", "b1", "b3"]
    assert found.notes == ("'b2' is left out: it is the same build as 'b1'",)


def test_it_begins_between_the_last_good_and_the_first_bad_one(tmp_path: Path) -> None:
    fill(tmp_path, "axabyb")
    found = line(tmp_path, 0, 5)
    assert names(found) == ["b2", "b3"]
    assert found.notes == (
        "'b2' is the same build as 'b0' and takes its place",
        "'b3' is the same build as 'b5' and takes its place",
    )


@pytest.mark.parametrize(
    ("texts", "good", "bad", "expected"),
    [
        ("abc", 2, 0, "'b0' is older than 'b2': builds are ordered by the time of their newest change"),
        ("abc", 1, 1, "'b1' and 'b1' are the same build"),
        ("aba", 0, 2, "'b0' and 'b2' are the same build, file by file"),
    ],
)
def test_two_ends_are_needed(tmp_path: Path, texts: str, good: int, bad: int, expected: str) -> None:
    fill(tmp_path, texts)
    with pytest.raises(UsageError, match=expected):
        line(tmp_path, good, bad)


def test_an_end_that_does_not_run_ends_it(tmp_path: Path) -> None:
    fill(tmp_path, ["a", "b", ""])
    with pytest.raises(Permanent, match="b2 holds none of the programs farm knows"):
        line(tmp_path, 0, 2)
    with pytest.raises(Permanent, match="it does not know --x"):
        line(tmp_path, 0, 1, refused="echo a")


def test_a_night_knows_its_ends_by_their_hashes(tmp_path: Path) -> None:
    fill(tmp_path, ["a", "b", "", "c", "a"])
    found = builds_of(INVENTORY, tmp_path, "r", now=OLD + 1000)
    hashes = [check_build(INVENTORY, tmp_path, build, tmp_path / "cache").sha256 for build in found.builds]

    def of(good: str, bad: str, refused: str = "") -> BuildLine | NoLine:
        problem = ErrorInfo("option_unknown", Step.CHECK, refused) if refused else None
        return line_of_hashes(INVENTORY, tmp_path, found, good, bad, lambda _: problem, tmp_path / "cache")

    whole = of(hashes[0], hashes[3])
    assert isinstance(whole, BuildLine)
    assert names(whole) == ["b0", "b1", "b2", "b3"]
    assert of("9" * 64, hashes[3]) == NoLine(f"build {'9' * 12} of r is no longer in its folder")
    assert of(hashes[3], hashes[1]) == NoLine(
        "'b1' is older than 'b3': builds are ordered by the time of their newest change"
    )
    assert of(hashes[0], hashes[3], "it does not know --x") == NoLine("it does not know --x")
