"""`farm bisect` before it measures, and what it says afterwards."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from harness.cli import bisect_view, compose
from harness.cli.main import Context, main
from harness.nightly.bisecting import Bisection, bisect_series
from harness.nightly.build_line import BuildLine
from tests.unit.artifacts import files
from tests.unit.nightly.shelf import SimulatedLab, checked, phone, put

LAB = """\
version: 1
tiers: {flagship: {title: Flagship}}
devices: [{id: p, platform: android, tier: flagship, match: {model: None such}}]
models: [{id: m, family: F, quant: F16, format: gguf, path: m.gguf}]
runners:
  - {id: r, runtime: llama.cpp, platform: android, abi: x86_64, path: r}
  - {id: s, runtime: llama.cpp, platform: android, abi: x86_64, path: s}
workloads: {bench: {kind: throughput}, chat: {kind: stream}}
suites: {standard: {workloads: [bench]}}
nightly: {builds: [{folder: builds, runner: r}]}
"""
ENDS = ("--good", "b0", "--bad", "b2")


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An inventory with three builds, and no phone."""
    (tmp_path / "inventory.yaml").write_text(LAB, encoding="utf-8")
    (tmp_path / "m.gguf").write_bytes(files.gguf())
    for number in range(3):
        put(tmp_path / "builds", f"b{number}", f"echo {number}", at=1e9 + number)
    monkeypatch.setenv("FARM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(compose, "discover_to_use", lambda inventory: ())
    return tmp_path


def ends(lab: Path, *argv: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["--inventory", str(lab / "inventory.yaml"), "bisect", *argv])
    assert not (lab / ".farm").exists(), "a mistake leaves no database behind"
    return int(str(ended.value.code))


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (("--metric", "decode_tp", *ENDS), "--metric: no metric 'decode_tp'; did you mean \"decode_tps\"?"),
        (("--metric", "battery_level_end_pct", *ENDS), "neither direction of battery_level_end_pct is better"),
        (("--metric", "decode_tps", "--good", "b9", "--bad", "b2"), "--good: no build 'b9' of r"),
        (("--metric", "decode_tps", "--good", "b0", "--bad", "c2"), "--bad: no build 'c2' of r"),
        (("--metric", "decode_tps", "--good", "b2", "--bad", "b0"), "'b0' is older than 'b2'"),
        (("--metric", "decode_tps", *ENDS, "--runner", "q"), "no runner 'q' in the inventory"),
        (("--metric", "decode_tps", *ENDS, "--runner", "s"), "--good: no build 'b0' of s"),
        (("--metric", "decode_tps", *ENDS, "--model", "n"), "--model: no model 'n'"),
        (("--metric", "decode_tps", *ENDS, "--workload", "bnech"), "no workload 'bnech'; did you mean \"bench\"?"),
        (("--metric", "decode_tps", *ENDS, "--tier", "mid"), "--tier: no tier 'mid' in the inventory"),
        (("--metric", "decode_tps", *ENDS, "--device", "q"), "no device 'q'"),
        (("--metric", "decode_tps", "--good", "b0"), "Missing option '--bad'"),
    ],
)
def test_a_mistake_is_told_before_anything_runs(
    lab: Path, capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], expected: str
) -> None:
    assert ends(lab, *argv) == 2
    captured = capsys.readouterr()
    assert expected in captured.err
    assert captured.out == ""


def test_without_a_phone_it_exits_with_3(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ends(lab, "--metric", "decode_tps", *ENDS) == 3
    assert "no usable device for any tier that runs r" in capsys.readouterr().err


def test_an_end_or_a_model_that_is_none_exits_with_1(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ends(lab, "--metric", "decode_tps", *ENDS, "--workload", "chat") == 1
    assert "llama-server" in capsys.readouterr().err, "these builds hold no program for it"
    (lab / "m.gguf").write_bytes(b"")
    assert ends(lab, "--metric", "decode_tps", *ENDS) == 1
    assert "m.gguf is empty" in capsys.readouterr().err


# --- what it says -----------------------------------------------------------------------------------------------------

HOSTILE = "b1\nfirst bad build: b9 $(id)"


def context(as_json: bool = False) -> Context:
    return Context(Path("inventory.yaml"), None, as_json, 0)


def searched(bad_from: str, **changes: object) -> tuple[Bisection, SimulatedLab]:
    names = ("b0", HOSTILE, "b2", "b3", "b4")
    lab = SimulatedLab((phone("p0"), phone("p1")), names, bad_from, **changes)  # type: ignore[arg-type]
    line = BuildLine(tuple(map(checked, names)))
    return bisect_series(lab, lab.search(line)), lab


def said(capsys: pytest.CaptureFixture[str], found: Bisection, lab: SimulatedLab, *, as_json: bool = False) -> str:
    bisect_view.show(context(as_json), found, lab.devices, runs=tuple(lab.nights))
    captured = capsys.readouterr()
    return captured.out + captured.err


def test_what_was_found(capsys: pytest.CaptureFixture[str]) -> None:
    found, lab = searched("b3", crash=("b2",))
    text = said(capsys, found, lab)
    lines = text.splitlines()
    assert "first bad build: b3, " in text
    assert " % worse (95 % interval " in text
    assert ", confidence over 99.9 %" in text
    assert "cannot be tried, and may be the first bad one as well: b2" in lines
    assert 'last good build: "b1\\x0afirst bad build: b9 $(id)"' in lines
    assert not any(line.startswith("first bad build: b9") for line in lines), "a name says nothing in farm's voice"
    rows = {line.split()[0]: line for line in lines if line.strip().startswith(("b0", "b2", "b3", "b4"))}
    assert "good end" in rows["b0"]
    assert "does not run: b2 crashed" in rows["b2"]
    assert "first bad" in rows["b3"]
    assert "bad end" in rows["b4"]
    assert bisect_view.exit_code(found, interrupted=False) == 0


def test_the_same_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    found, lab = searched("b3", crash=("b2",))
    told = json.loads(said(capsys, found, lab, as_json=True))
    assert (told["result"], told["first_bad"], told["last_good"], told["untried"]) == ("found", "b3", HOSTILE, ["b2"])
    assert told["low"] < told["delta"] < told["high"]
    assert [one["standing"] for one in told["builds"]] == [
        "good end",
        "good",
        "does not run: b2 crashed",
        "first bad",
        "bad end",
    ]
    assert told["builds"][0]["delta"] is None
    assert told["runs"] == list(lab.nights)
    assert told["devices"] == [{"id": "p0", "kind": "phone"}, {"id": "p1", "kind": "phone"}]


def test_no_step(capsys: pytest.CaptureFixture[str]) -> None:
    found, lab = searched("")
    text = said(capsys, found, lab)
    assert "no step: the pairs do not show that b4 is worse than b0 in ms_per_token (" in text
    assert "not shown to be worse" in text
    assert bisect_view.exit_code(found, interrupted=False) == 0
    assert json.loads(said(capsys, found, lab, as_json=True))["result"] == "no_step"


def test_a_search_that_stopped(capsys: pytest.CaptureFixture[str]) -> None:
    found, lab = searched("b3", crash=("b4",))
    text = said(capsys, found, lab)
    assert "the search stopped: the bad end does not run: b4 crashed" in text
    assert "the same command goes on with it" in text
    assert bisect_view.exit_code(found, interrupted=False) == 1
    assert bisect_view.exit_code(found, interrupted=True) == 130
    told = json.loads(said(capsys, found, lab, as_json=True))
    assert (told["result"], told["first_bad"]) == ("stopped", None)


def test_a_search_whose_time_was_up_tells_what_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    names = ("b0", "b1", "b2", "b3", "b4")
    lab = SimulatedLab((phone("p0"),), names, "b3")
    wanted = lab.search(BuildLine(tuple(map(checked, names))))

    def after_the_middle() -> None:
        lab.interrupted = any(name == "b3" for name, _ in lab.asked)

    lab.on_run = after_the_middle
    found = bisect_series(lab, wanted, time.monotonic() + 3600)
    text = said(capsys, found, lab)
    assert "the search stopped: it was interrupted" in text
    assert "known so far: b2 is good, b4 is bad" in text
    assert "open" in text
