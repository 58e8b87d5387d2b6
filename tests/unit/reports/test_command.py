"""`farm report` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.cli.main import main
from harness.store import Store
from tests.unit.reports.sample import RUN, run_input
from tests.unit.reports.test_html import fill


@pytest.fixture
def lab(tmp_path: Path) -> list[str]:
    (tmp_path / ".farm").mkdir()
    with Store.open(f"sqlite:///{tmp_path / '.farm' / 'farm.db'}") as store:
        fill(store, *run_input(repeats=1))
    return ["--inventory", str(tmp_path / "inventory.yaml")]


def test_paths_are_printed_and_the_files_are_there(
    lab: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([*lab, "report"])
    paths = [Path(line) for line in capsys.readouterr().out.split()]
    assert [path.name for path in paths] == ["index.html", "flagship.html", "budget.html"]
    assert {path.parent for path in paths} == {tmp_path / ".farm" / "reports"}
    assert all(path.stat().st_size > 10_000 for path in paths)


def test_json_only(lab: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "there"
    main([*lab, "--json", "report", "--tier", "budget", "--run", RUN[:10], "-o", str(out)])
    assert json.loads(capsys.readouterr().out) == {"report": [str(out / "index.html"), str(out / "budget.html")]}


def test_mistakes_end_with_2_and_a_message(lab: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in (["--tier", "nope"], ["--run", "nope"]):
        with pytest.raises(SystemExit) as end:
            main([*lab, "report", *wrong])
        assert end.value.code == 2
        assert "nope" in capsys.readouterr().err
    with pytest.raises(SystemExit) as end:
        main(["--inventory", str(tmp_path / "other" / "inventory.yaml"), "report"])
    assert end.value.code == 2
    assert "no results yet" in capsys.readouterr().err
