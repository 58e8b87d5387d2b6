"""farm runs, show, export and compare over a made-up database."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from harness.analysis.repeats import RepeatPolicy
from harness.cli.main import main
from harness.cli.over_runs import sparkline
from harness.export import columns
from harness.leases import identity_of_this_process
from harness.model import METRICS, CaseStatus, DeviceKind, Measured, RunStatus, Step
from harness.store import Store
from tests.unit.store import samples

FIRST, SECOND = "20261121-090503-ab12", "20261122-090503-cd34"
HOSTILE = '=HYPERLINK("http://x")\'<script>'

KEYS = [
    "run",
    "case",
    "device",
    "serial",
    "platform",
    "tier",
    "model",
    "family",
    "quant",
    "runtime",
    "runner",
    "workload",
    "repeat",
    "attempt",
    "status",
    "error",
    "started_at",
    "duration_s",
    "metrics",
    "verdicts",
    "agreement",
    "outliers",
    "provenance",
]


@dataclass(frozen=True)
class Farm:
    """The command line over one database: `json` and `text` give standard output, `fails` the code and the error."""

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


@pytest.fixture
def empty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Farm:
    return Farm(tmp_path, capsys)


@pytest.fixture
def farm(empty: Farm) -> Farm:
    """Two runs of one case (three repetitions each); the first also has a failed, a refused and a skipped case."""
    with Store.open(f"sqlite:///{empty.folder / '.farm' / 'farm.db'}") as store:
        _fill(store, FIRST, "aaaa11110000", samples.START, (40.0, 41.0, 39.5))
        _fill(store, SECOND, "bbbb22220000", samples.START + 86_400, (20.0, 20.5, 19.8))
    return empty


def _fill(store: Store, run: str, case: str, start: float, rates: tuple[float, ...]) -> None:
    cases = [samples.planned_case(run, case, repeat) for repeat in (1, 2, 3)]
    extra = [samples.planned_case(run, f"f{case[1:]}", device=HOSTILE, kind=DeviceKind.PHONE)]
    if run == FIRST:
        gone = samples.error_info("no such ABI")
        extra += [
            samples.planned_case(run, "e0", kind=DeviceKind.HOST, status=CaseStatus.REFUSED, reason=gone),
            samples.planned_case(run, "e1", status=CaseStatus.SKIPPED, reason=gone),
        ]
    store.begin_run(samples.run_record(run, started_at=start), [*cases, *extra])
    for planned, rate in zip(cases, rates, strict=True):
        at = start + 10 * planned.repeat
        store.start_case(planned.key, 1, at)
        store.add_step(planned.key, samples.step_record(Step.DEPLOY))
        store.finish_case(planned.key, samples.result(decode_tps=rate, started_at=at))
    if run == FIRST:
        failure = samples.error_info("killed \x1b[31mred")
        store.finish_case(extra[0].key, samples.result(CaseStatus.FAILED, started_at=start + 99, error=failure))
    store.add_event(run, "pixel", start + 5, "recovery", {"text": "reconnect: back"})
    store.set_run_status(run, RunStatus.FINISHED if run == FIRST else RunStatus.INTERRUPTED, start + 100)


# --- runs and show ----------------------------------------------------------------------------------------------------


def test_without_a_database_there_are_no_runs(empty: Farm) -> None:
    assert empty.json("runs") == []
    assert "no runs yet" in empty.text("runs")
    assert not (empty.folder / ".farm").exists()
    for command in (("show", "x"), ("export", "--format", "csv"), ("compare", "a", "b")):
        code, said = empty.fails(*command)
        assert code == 2
        assert "no results yet" in said


def test_runs_are_listed_with_counts_and_marks(farm: Farm) -> None:
    listed = farm.json("runs")
    assert [run["run"] for run in listed] == [FIRST, SECOND]
    assert listed[0]["counts"] == {"failed": 1, "measured": 3, "refused": 1, "skipped": 1}
    assert listed[0]["devices"] == {"virtual": 1, "phone": 1, "host": 1}
    assert [run["status"] for run in listed] == ["finished", "interrupted"]
    table = farm.text("runs")
    assert FIRST in table and "1 virtual phone" in table and "3 measured" in table


def test_a_run_whose_process_is_gone_is_called_interrupted(empty: Farm) -> None:
    me = identity_of_this_process()
    with Store.open(f"sqlite:///{empty.folder / '.farm' / 'farm.db'}") as store:
        store.begin_run(replace(samples.run_record("alive"), host=me.host, pid=me.pid, pid_started=me.pid_started), [])
        store.begin_run(replace(samples.run_record("dead"), host=me.host, pid=me.pid, pid_started=1.0), [])
    assert {run["run"]: run["status"] for run in empty.json("runs")} == {"alive": "running", "dead": "interrupted"}


def test_a_run_is_shown_by_a_unique_beginning(farm: Farm) -> None:
    shown = farm.text("show", "20261121")
    assert "aaaa11110000.2" in shown
    assert "pixel (virtual phone)" in shown and "pixel (not a phone)" in shown
    assert "reconnect: back" in shown
    assert "\x1b" not in shown and "\\x1b[31mred" in shown, "what a phone says cannot steer the terminal"
    assert farm.json("show", FIRST)["cases"][0]["run"] == FIRST


def test_a_case_is_shown_over_its_repetitions(farm: Farm) -> None:
    shown = farm.text("show", "aaaa")
    assert "repetition 3" in shown and "41 tok/s" in shown
    assert "ms_per_token_max pass" in shown
    assert "energy_j" in shown, "what was not measured is named"
    assert len(farm.json("show", "aaaa")["cases"]) == 3


def test_a_measurement_is_shown_with_all_that_is_known(farm: Farm) -> None:
    shown = farm.text("show", "aaaa.2")
    for text in ("deploy", "the phone is charging", "Permission denied", "google/husky:14", "loaded", "0.001024"):
        assert text in shown
    found = farm.json("show", "aaaa.2")
    assert found["repeat"] == 2
    assert found["steps"][0]["step"] == "deploy"
    assert found["inter_token_ms"] == list(samples.result().itl_ms)
    assert [channel["samples"] for channel in found["channels"]] == [3, 0]


def test_the_commands_that_repeat_a_case_are_printed(farm: Farm) -> None:
    assert farm.text("show", "aaaa.2", "--command") == "adb -s emulator-5554 shell true\n"
    assert farm.json("show", "aaaa", "--command") == ["adb -s emulator-5554 shell true"]
    assert farm.fails("show", "e0", "--command")[0] == 2
    assert "--command takes a case" in farm.fails("show", FIRST, "--command")[1]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("2026", "is the beginning of several"),
        ("e", "is the beginning of several: e0, e1"),
        ("aaaa11110001", "did you mean aaaa11110000?"),
        ("20261121-090503-ab13", f"did you mean {FIRST}?"),
        ("aaaa.9", "has no repetition 9"),
        ("%", "there is no run or case '%'"),
        ("", "there is no run or case ''"),
    ],
)
def test_a_wrong_name_is_explained(farm: Farm, name: str, said: str) -> None:
    code, text = farm.fails("show", name)
    assert code == 2
    assert said in text


# --- export -----------------------------------------------------------------------------------------------------------


def rows(text: str) -> list[dict[str, Any]]:
    def no_constant(name: str) -> float:
        raise AssertionError(f"{name} in the export")

    return [json.loads(line, parse_constant=no_constant) for line in text.splitlines()]


def test_every_row_has_the_documented_shape(farm: Farm) -> None:
    found = rows(farm.text("export", "--format", "jsonl"))
    assert len(found) == 9
    for row in found:
        assert list(row) == KEYS
        assert list(row["metrics"]) == list(METRICS)
        for metric in row["metrics"].values():
            assert set(metric) in ({"value", "unit", "source"}, {"unavailable"})
        assert set(row["verdicts"]) == {"ms_per_token_max", "peak_memory_mb_max", "quality_retention_min"}
        assert {"model_sha256", "runner_sha256", "series_key", "device_kind"} <= set(row["provenance"])
    starts = [row["started_at"] for row in found if row["started_at"]]
    assert starts == sorted(starts)


def test_planned_measurements_are_not_exported(farm: Farm) -> None:
    assert {row["status"] for row in rows(farm.text("export", "--format", "jsonl"))} == {
        "measured",
        "failed",
        "refused",
        "skipped",
    }


def test_a_measured_row_and_its_verdicts(farm: Farm) -> None:
    found = rows(farm.text("export", "--format", "jsonl", "--run", "20261121"))
    measured = [row for row in found if row["case"] == "aaaa11110000"]
    assert [row["repeat"] for row in measured] == [1, 2, 3]
    assert measured[0]["metrics"]["decode_tps"] == {"value": 40.0, "unit": "tok/s", "source": "llama-server timings"}
    assert measured[0]["metrics"]["energy_j"] == {"unavailable": "the phone is charging"}
    assert measured[0]["metrics"]["ttft_ms"] == {"unavailable": "not recorded"}
    assert measured[0]["started_at"] == "2026-11-18T11:06:50.000000Z"
    assert {json.dumps(row["verdicts"]) for row in measured} == {
        json.dumps({"ms_per_token_max": "pass", "peak_memory_mb_max": "pass", "quality_retention_min": "not_measured"})
    }
    assert measured[0]["error"] is None
    assert measured[0]["provenance"]["parameters"] == {"threads": 4}


@pytest.fixture
def wandering(empty: Farm) -> Farm:
    """A run of `repeats: auto` with a warm-up, of which one repetition is far away because it was hot."""
    run, rates = "20261121-110000-cccc", (90.0, 40.0, 40.1, 39.9, 40.0, 31.6)
    with Store.open(f"sqlite:///{empty.folder / '.farm' / 'farm.db'}") as store:
        cases = [samples.planned_case(run, "cccc33330000", repeat) for repeat in range(1, 7)]
        record = samples.run_record(run)
        policy = RepeatPolicy(auto=True, warm_up=True).to_json()
        store.begin_run(replace(record, options={**record.options, "repeats": policy}), cases)
        for planned, rate in zip(cases, rates, strict=True):
            store.start_case(planned.key, 1, samples.START + planned.repeat)
            measured = samples.result(decode_tps=rate, started_at=samples.START + planned.repeat)
            start_c = Measured(44.1 if rate < 35 else 36.2, "°C", "zone", 0.1)
            store.finish_case(
                planned.key, replace(measured, metrics={**measured.metrics, "temperature_start_c": start_c})
            )
        store.set_run_status(run, RunStatus.FINISHED, samples.START + 100)
    return empty


def test_whether_repetitions_agree_and_which_lie_far_away(wandering: Farm) -> None:
    found = rows(wandering.text("export", "--format", "jsonl"))
    (agreement,) = {json.dumps(row["agreement"]) for row in found}
    assert json.loads(agreement)["agreement"] == "unfinished"
    assert "decode" in json.loads(agreement)["reason"]
    assert [len(row["outliers"]) for row in found] == [0, 0, 0, 0, 0, 1], "a warm-up is no outlier"
    (far,) = found[-1]["outliers"]
    assert (far["repeat"], far["metric"], far["value"], far["median"]) == (6, "decode_tps", 31.6, 40.0)
    assert far["evidence"] == [{"cause": "hot", "detail": "44.1 °C at the start, the others 36.2 °C"}]
    flat = list(csv.DictReader(io.StringIO(wandering.text("export", "--format", "csv"))))
    assert {row["agreement"] for row in flat} == {"unfinished"}
    assert flat[-1]["agreement_reason"] == json.loads(agreement)["reason"]
    assert [row["outliers"] for row in flat] == [
        *[""] * 5,
        "repetition 6: decode 21 % lower (hot: 44.1 °C at the start, the others 36.2 °C)",
    ]


def test_of_a_given_count_nobody_asks_whether_it_agrees(farm: Farm) -> None:
    for row in rows(farm.text("export", "--format", "jsonl")):
        assert row["agreement"] == {"agreement": "fixed", "reason": ""}
        assert row["outliers"] == []


def test_refused_and_skipped_rows_say_why(farm: Farm) -> None:
    refused = next(row for row in rows(farm.text("export", "--format", "jsonl")) if row["status"] == "refused")
    assert refused["error"] == {"class": "killed", "step": "run", "message": "no such ABI"}
    assert refused["metrics"]["load_ms"] == {"unavailable": "refused: no such ABI"}
    assert (refused["attempt"], refused["started_at"], refused["duration_s"]) == (0, None, None)
    assert refused["provenance"]["device_kind"] == "host"


def test_csv_has_stable_columns_and_no_formulas(farm: Farm) -> None:
    text = farm.text("export", "--format", "csv")
    found = list(csv.DictReader(io.StringIO(text)))
    assert list(found[0]) == list(columns())
    measured = next(row for row in found if row["status"] == "measured")
    assert float(measured["decode_tps"]) == 40.0
    assert (measured["energy_j"], measured["energy_j_unavailable"]) == ("", "the phone is charging")
    assert json.loads(measured["provenance"])["parameters"] == {"threads": 4}
    hostile = next(row for row in found if row["status"] == "failed")
    assert hostile["device"] == f"'{HOSTILE}"
    assert not any(cell.startswith(("=", "+", "@")) for row in found for cell in row.values())


def test_parquet_holds_the_same_as_csv(farm: Farm) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    out = farm.folder / "results.parquet"
    assert farm.json("export", "--format", "parquet", "-o", str(out)) == {"file": str(out), "rows": 9}
    table = parquet.read_table(out)
    assert table.column_names == list(columns())
    assert table["decode_tps"].null_count == 2
    assert table["device"].to_pylist().count(HOSTILE) == 1, "only CSV needs the apostrophe"
    assert table["energy_j"].null_count == 9


def test_parquet_without_pyarrow_says_how_to_get_it(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    out = farm.folder / "results.parquet"
    out.write_text("what was there")
    code, said = farm.fails("export", "--format", "parquet", "-o", str(out))
    assert (code, out.read_text()) == (2, "what was there")
    assert "farm[parquet]" in said
    assert sorted(path.name for path in farm.folder.iterdir()) == [".farm", "results.parquet"]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("export", "--format", "parquet"), "needs -o FILE"),
        (("--json", "export", "--format", "csv"), "name a file with -o"),
        (("export", "--format", "jsonl", "-o", "/nowhere/at/all.jsonl"), "cannot be written"),
        (("export", "--format", "xml"), "'xml' is not one of"),
        (("export", "--format", "csv", "--run", "2027"), "there is no run '2027'"),
    ],
)
def test_what_export_cannot_do_is_explained(farm: Farm, argv: tuple[str, ...], said: str) -> None:
    code, text = farm.fails(*argv)
    assert code == 2
    assert said in text


# --- compare ----------------------------------------------------------------------------------------------------------


def test_two_runs_are_compared_case_by_case(farm: Farm) -> None:
    found = farm.json("compare", "20261121", "20261122")
    assert (found["first"], found["second"]) == (FIRST, SECOND)
    (case,) = found["cases"]
    assert (case["device"], case["device_kind"], case["workload"]) == ("pixel", "virtual", "chat")
    assert case["metrics"]["decode_tps"]["decision"] == "worse"
    assert case["metrics"]["decode_tps"]["ratio"] == pytest.approx(0.5)
    assert case["metrics"]["peak_memory_mb"]["decision"] == "no difference shown"
    assert case["changed"] == []
    table = farm.text("compare", FIRST, SECOND)
    assert "pixel (virtual phone)" in table and "0.500" in table


def test_what_only_one_run_measured_and_what_changed_is_said(farm: Farm) -> None:
    with Store.open(f"sqlite:///{farm.folder / '.farm' / 'farm.db'}") as store:
        cases = [
            replace(samples.planned_case("third", "cccc"), runner_sha256="d" * 64),
            samples.planned_case("third", "dddd", device="another"),
        ]
        store.begin_run(samples.run_record("third"), cases)
        for case in cases:
            store.finish_case(case.key, samples.result())
    found = farm.json("compare", FIRST, "third")
    assert found["cases"][0]["changed"] == ["runner build"]
    assert found["cases"][0]["metrics"]["decode_tps"]["decision"] == "not comparable"
    assert [case["device"] for case in found["only_second"]] == ["another"]
    table = farm.text("compare", FIRST, "third")
    assert "not the same runner build" in table and "only in third: another" in table


# --- history ----------------------------------------------------------------------------------------------------------


def test_a_metric_over_the_runs(farm: Farm) -> None:
    found = farm.json("history", "--metric", "decode_tps", "--model", "smollm2-*")
    assert (found["metric"], found["unit"]) == ("decode_tps", "tok/s")
    pixel = next(series for series in found["series"] if series["device"] == "pixel" and series["kind"] == "virtual")
    assert [(value["run"], value["value"], value["repeats"]) for value in pixel["values"]] == [
        (FIRST, 40.0, 3),
        (SECOND, 20.0, 3),
    ]
    assert (pixel["values"][0]["low"], pixel["values"][0]["high"]) == (39.5, 41.0)
    hostile = next(series for series in found["series"] if series["device"] == HOSTILE)
    failed, planned = hostile["values"]
    assert (failed["value"], planned["value"]) == (None, None) and failed["reason"].startswith("failed: ")
    table = farm.text("history", "--metric", "decode_tps")
    assert "-50.0 %" in table and "█▁" in table and "pixel (virtual)" in table
    assert "█▁" not in farm.text("history", "--metric", "decode_tps", "--runs", "1")


def test_history_says_what_it_cannot_show(farm: Farm) -> None:
    code, said = farm.fails("history", "--metric", "decode_tpz")
    assert code == 2 and "decode_tps" in said
    assert farm.text("history", "--metric", "decode_tps", "--model", "other-*") == ""
    assert farm.json("history", "--metric", "decode_tps", "--model", "other-*")["series"] == []


def test_a_sparkline_keeps_its_gaps() -> None:
    assert sparkline([1.0, None, 2.0, 1.5]) == "▁·█▅"
    assert sparkline([3.0, 3.0]) == "▅▅"
    assert sparkline([None, None]) == "··" and sparkline([]) == ""
