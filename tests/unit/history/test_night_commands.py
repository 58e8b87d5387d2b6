"""farm ack, farm baseline and what farm history says of nights, over a made-up lab."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.cli.main import main
from harness.leases import identity_of_this_process
from harness.store import Store
from tests.unit.artifacts import files
from tests.unit.nightly.nights import LAB, NIGHTS, STEP, changed_nights, night_of, pairs_run, store_runs

RATE, LOAD, MEMORY = (f"flagship/m/llama/chat/{metric}" for metric in ("decode_tps", "load_ms", "peak_memory_mb"))

INVENTORY = f"""
version: 1
lab: {{name: "{LAB}"}}
workloads: {{chat: {{kind: stream}}}}
suites: {{standard: {{workloads: [chat]}}}}
runners:
  - {{id: llama, runtime: llama.cpp, platform: android, abi: x86_64, path: runners/llama}}
nightly:
  metrics: [decode_tps, load_ms, peak_memory_mb]
  builds: [{{folder: builds, runner: llama}}]
"""


@dataclass(frozen=True)
class Farm:
    """The command line beside an inventory: `json` and `text` give standard output, `fails` the code and the error."""

    folder: Path
    capsys: pytest.CaptureFixture[str]

    def text(self, *argv: str) -> str:
        main(["--inventory", str(self.folder / "inventory.yaml"), *argv])
        return self.capsys.readouterr().out

    def json(self, *argv: str) -> Any:
        return json.loads(self.text("--json", *argv))

    def fails(self, *argv: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            self.text(*argv)
        captured = self.capsys.readouterr()
        assert captured.out == ""
        assert isinstance(ended.value.code, int)
        return ended.value.code, captured.err

    def store(self) -> Store:
        return Store.open(f"sqlite:///{self.folder / '.farm' / 'farm.db'}")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lab")
    store_runs(folder / "farm.db", changed_nights())
    return folder / "farm.db"


@pytest.fixture
def empty(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Farm:
    monkeypatch.setenv("FARM_CACHE", str(tmp_path / "cache"))
    (tmp_path / "inventory.yaml").write_text(INVENTORY, encoding="utf-8")
    (tmp_path / "builds").mkdir()
    return Farm(tmp_path, capsys)


@pytest.fixture
def farm(empty: Farm, filled: Path) -> Farm:
    (empty.folder / ".farm").mkdir()
    shutil.copy(filled, empty.folder / ".farm" / "farm.db")
    return empty


# --- ack --------------------------------------------------------------------------------------------------------------


def test_a_change_is_acknowledged_by_name(farm: Farm) -> None:
    said = farm.json("ack", RATE, "--reason", " larger cache on purpose ", "--author", "ann")
    assert (said["series"], said["night"], said["author"]) == (RATE, night_of(NIGHTS - 1), "ann")
    assert said["reason"] == "larger cache on purpose"
    assert (said["change"]["state"], said["change"]["since"]) == ("suspect", night_of(STEP))
    with farm.store() as store:
        (kept,) = store.nights.acks(LAB)
    assert (kept.series.key, kept.night, kept.author, kept.reason) == (RATE, said["night"], "ann", said["reason"])
    assert kept.at == said["at"] > 0
    code, text = farm.fails("ack", RATE, "--reason", "again")
    assert code == 2
    assert "has no open change: acknowledged" in text and "known to ann" in text


@pytest.mark.parametrize("name", ["decode_tps", "flagship*decode", "m/llama/chat/de?ode_tps", RATE])
def test_a_part_or_pattern_is_enough_where_it_means_one_series_with_a_change(farm: Farm, name: str) -> None:
    looked_at, me = night_of(STEP + 4), identity_of_this_process().owner
    text = farm.text("ack", name, "--reason", "known", "--night", looked_at)
    assert text.startswith(f"{RATE} is known to {me} as of {looked_at}: known\n")
    assert "it was suspect: worse by" in text
    with farm.store() as store:
        assert [said.night for said in store.nights.acks(LAB)] == [looked_at]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("flagship", f"means several series with a change:\n  {RATE}\n  {LOAD}"),
        ("*", f"means several series with a change:\n  {RATE}\n  {LOAD}"),
        (MEMORY, "has no open change: steady: the level holds"),
        ("memory", "has no open change: steady"),
        ("decode_tpz", "there is no series 'decode_tpz'; did you mean\n  decode_tps"),
        (RATE.replace("chat", "chad"), f"did you mean\n  {RATE}"),
        ("\x1b[31m", "there is no series '\\x1b[31m'"),
        ("flagship/[m]/*", "there is no series"),
    ],
)
def test_what_means_no_single_change_is_refused(farm: Farm, name: str, said: str) -> None:
    code, text = farm.fails("ack", name, "--reason", "known")
    assert code == 2
    assert said in text
    assert "\x1b" not in text
    with farm.store() as store:
        assert store.nights.acks(LAB) == ()


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--reason", "  "), "--reason is empty"),
        ((), "Missing option '--reason'"),
        (("--reason", "x", "--night", "yesterday"), "does not match the format"),
        (("--reason", "x", "--night", "2020-01-01"), "has no night up to 2020-01-01"),
        (("--reason", "x", "--night", night_of(STEP - 1)), "has no open change: steady"),
    ],
)
def test_an_ack_that_cannot_be_kept_says_why(farm: Farm, argv: tuple[str, ...], said: str) -> None:
    code, text = farm.fails("ack", RATE, *argv)
    assert code == 2
    assert said in text


def test_without_nights_there_is_nothing_to_acknowledge(empty: Farm) -> None:
    assert "no results yet" in empty.fails("ack", RATE, "--reason", "x")[1]
    empty.store().close()
    code, text = empty.fails("ack", RATE, "--reason", "x")
    assert code == 2 and f"lab {LAB!r} has no night yet" in text


# --- baseline ---------------------------------------------------------------------------------------------------------


def build(folder: Path, content: bytes = b"\0--prompt\0") -> Path:
    """A build that appeared some time ago."""
    folder.mkdir(parents=True)
    (folder / "llama-bench").write_bytes(files.elf(content=content))
    for path in (folder / "llama-bench", folder):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    return folder


def test_a_build_is_pinned_by_name_and_shown(empty: Farm) -> None:
    assert "no build is pinned yet" in empty.text("baseline", "show")
    assert empty.json("baseline", "show") == []
    assert not (empty.folder / ".farm").exists()
    build(empty.folder / "builds" / "b9001")
    said = empty.json("baseline", "set", "llama", "b9001", "--reason", "last release", "--author", "ann")
    assert (said["runner"], said["name"], said["author"], said["reason"]) == ("llama", "b9001", "ann", "last release")
    assert (empty.folder / said["path"] / "llama-bench").is_file()
    assert empty.json("baseline", "show") == [said]
    table = empty.text("baseline", "show")
    for word in ("llama", "b9001", said["sha256"][:12], "ann", "last release", said["path"]):
        assert word in table


def test_a_build_is_pinned_by_path_and_takes_the_place_of_another(empty: Farm) -> None:
    build(empty.folder / "builds" / "b9001")
    other = build(empty.folder / "else where" / "b9002 \x1b[31m", b"\0--other\0")
    assert "was" not in empty.text("baseline", "set", "llama", "b9001", "--reason", "first")
    text = empty.text("baseline", "set", "llama", str(other), "--reason", "newer")
    assert text.startswith("llama is compared with b9002 \\x1b[31m (sha256 ")
    assert "it was b9001 until now; the series of llama begin anew" in text
    (shown,) = empty.json("baseline", "show")
    assert (shown["name"], shown["author"]) == (other.name, identity_of_this_process().owner)


@pytest.mark.parametrize(
    ("runner", "name", "code", "said"),
    [
        ("lama", "b9001", 2, "no runner 'lama'"),
        ("llama", "b9002", 2, "'b9001'"),
        ("llama", "x" * 5000, 2, "BUILD"),
        ("llama", "none", 1, "holds none of the programs"),
    ],
)
def test_what_is_no_build_is_not_pinned(
    empty: Farm, monkeypatch: pytest.MonkeyPatch, runner: str, name: str, code: int, said: str
) -> None:
    build(empty.folder / "builds" / "b9001")
    (empty.folder / "none").mkdir()
    monkeypatch.chdir(empty.folder)
    assert (ended := empty.fails("baseline", "set", runner, name, "--reason", "x"))[0] == code
    assert said in ended[1]
    assert empty.json("baseline", "show") == []


def test_a_pin_needs_a_reason(empty: Farm) -> None:
    build(empty.folder / "builds" / "b9001")
    assert (
        empty.fails("baseline", "set", "llama", "b9001", "--reason", " ")[1]
        == "farm: --reason is empty: say why this build\n"
    )


# --- history ----------------------------------------------------------------------------------------------------------


def test_history_says_what_the_nights_say(farm: Farm) -> None:
    found = farm.json("history", "--metric", "decode_tps", "--runner", "llama")["series"]
    assert len(found) == 4
    for series in found:
        assert (series["judged"]["state"], series["judged"]["since"]) == ("suspect", night_of(STEP))
        assert series["judged"]["delta"] == pytest.approx(0.095, abs=0.02)
    table = farm.text("history", "--metric", "decode_tps")
    assert "over the nights" in table and f"% since {night_of(STEP)}" in table and "suspect: worse by" in table
    steady = farm.json("history", "--metric", "peak_memory_mb", "--device", "pixel")["series"]
    assert [series["judged"] for series in steady] == [None, {"state": "steady", "since": "", "delta": None}]
    assert [series["runner"] for series in steady] == ["llama@baseline", "llama"]


def test_history_is_not_pushed_out_by_the_pairs_of_a_search(farm: Farm) -> None:
    before = farm.json("history", "--metric", "decode_tps", "--runs", "5")
    store_runs(farm.folder / ".farm" / "farm.db", [pairs_run(NIGHTS - 1, 1, 2, 1.1)])
    assert farm.json("history", "--metric", "decode_tps", "--runs", "5") == before


def test_history_needs_no_inventory_to_judge(farm: Farm) -> None:
    (farm.folder / "inventory.yaml").unlink()
    found = farm.json("history", "--metric", "decode_tps", "--runner", "llama")["series"]
    assert {series["judged"]["state"] for series in found} == {"suspect"}
