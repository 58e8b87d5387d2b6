"""farm reserve and release, with this machine as the device."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.cli.main import main

INVENTORY = "version: 1\ntiers: {t: {title: T}}\ndevices: [{id: host, platform: local, tier: t}]\n"

Farm = Callable[..., tuple[int, str]]


@pytest.fixture
def farm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Farm:
    """Run a command as a person, with a database of their own; returns the exit code and what was said."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    inventory = tmp_path / "inventory.yaml"
    inventory.write_text(INVENTORY)

    def run(*argv: str, person: str = "alice@bench", db: str = "shared") -> tuple[int, str]:
        monkeypatch.setenv("FARM_OWNER", person)
        code = 0
        try:
            main(["--inventory", str(inventory), "--db", f"sqlite:///{tmp_path / db}.db", *argv])
        except SystemExit as ended:
            assert isinstance(ended.code, int)
            code = ended.code
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return run


def test_a_reserved_device_is_kept_from_others_until_it_is_released(farm: Farm) -> None:
    assert farm("reserve", "host")[0] == 0
    code, said = farm("reserve", "host", person="bob@bench")
    assert code == 1
    assert "host: reserved by alice@bench until" in said
    code, said = farm("release", "host", person="bob@bench")
    assert (code, "only they can release it" in said) == (2, True)
    assert farm("release", "host") == (0, "host is free again\n")
    assert farm("reserve", "host", person="bob@bench")[0] == 0


def test_a_reservation_holds_across_databases(farm: Farm) -> None:
    assert farm("reserve", "host")[0] == 0
    code, said = farm("reserve", "host", person="bob@bench", db="another")
    assert code == 1
    assert "reserved by alice@bench" in said


def test_a_reservation_can_be_made_longer(farm: Farm) -> None:
    farm("reserve", "host", "--for", "10m")
    _, said = farm("--json", "reserve", "host", "--for", "3h")
    found = json.loads(said)
    assert found["device"] == "host"
    assert found["expires_at"] == pytest.approx(time.time() + 3 * 3600, abs=60)
    assert json.loads(farm("--json", "release", "host")[1]) == {"device": "host", "released": True}
    assert farm("release", "host") == (0, "host was not reserved\n")


@pytest.mark.parametrize("span", ["2x", "0h", "-1h", "31d", "", "h", "1e9h"])
def test_a_wrong_length_of_time_is_a_usage_error(farm: Farm, span: str) -> None:
    code, said = farm("reserve", "host", "--for", span)
    assert code == 2
    assert "is no length of time" in said or "is not between" in said


def test_an_unknown_device_is_a_usage_error(farm: Farm) -> None:
    code, said = farm("reserve", "hots")
    assert code == 2
    assert "did you mean 'host'" in said
