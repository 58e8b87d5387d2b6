"""`farm parse`: saved outputs of real phones as one line of JSON each; needs no phone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from device_agents.android.telemetry.sources import SOURCES
from harness.cli.parse import NAMES, parse


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(parse, [str(word) for word in words])


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_the_names_are_those_of_the_parsers() -> None:
    assert set(NAMES) == set(SOURCES)


def test_each_file_is_one_line_with_readings_and_what_was_ignored(captures: Path) -> None:
    files = [captures / "xiaomi_13t_pro/thermalservice_idle_status0.txt"]
    files.append(captures / "executorch_s22/thermalservice_galaxy_s22.txt")
    result = run("dumpsys-thermalservice", *files)
    assert result.exit_code == 0
    first, second = lines(result)
    assert first["source"] == second["source"] == "dumpsys-thermalservice"
    assert [first["file"], second["file"]] == [str(file) for file in files]
    assert first["readings"]["skin_temperature_c"] == {"value": 34.351, "unit": "°C"}
    assert list(first["readings"]["hal_battery_temperature_c"]) == ["unavailable"]
    cached = [entry["entry"] for entry in first["ignored"] if "cached" in entry["why"]]
    assert "Temperature{mValue=48.517, mType=3, mName=SKIN, mStatus=0}" in cached


def test_a_missing_file_is_said_and_the_others_are_parsed(captures: Path, tmp_path: Path) -> None:
    missing, present = tmp_path / "no such file", captures / "misc_df/df_data_user0.txt"
    result = run("df", missing, present, tmp_path)
    assert result.exit_code == 2
    assert [line["file"] for line in lines(result)] == [str(present)]
    assert f"{missing} cannot be read: No such file or directory" in result.stderr
    assert f"{tmp_path} cannot be read: Is a directory" in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize("source", NAMES)
def test_any_bytes_give_a_line_with_a_reason_for_every_reading(source: str, tmp_path: Path) -> None:
    file = tmp_path / "garbage"
    file.write_bytes(bytes(range(256)) * 300)
    (line,) = lines(run(source, file))
    assert line["readings"]
    assert all(reading.get("unavailable") for reading in line["readings"].values())


def test_every_capture_is_one_line_under_every_source(captures: Path) -> None:
    files = sorted(path for path in captures.rglob("*") if path.is_file())
    for source in NAMES:
        result = run(source, *files)
        assert result.exit_code == 0, result.stderr
        found = lines(result)
        assert len(found) == len(files)
        for line in found:
            for reading in line["readings"].values():
                assert set(reading) in ({"value", "unit"}, {"unavailable"})
            assert all(entry["entry"] and entry["why"] for entry in line["ignored"])
