"""The programs of bench/ start from a checkout and judge their figures; they measure nothing here."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCH = Path(__file__).parents[3] / "bench"


@pytest.fixture
def common(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_common", BENCH / "common.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "bench_common", module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "name",
    ["deploy", "case_overhead", "makespan", "observer", "runners", "push_ios", "iphones", "store", "report", "nightly"],
)
def test_program_explains_itself(name: str) -> None:
    done = subprocess.run(
        [sys.executable, str(BENCH / f"{name}.py"), "--help"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Asked (the project's own limit" in done.stdout
    assert "--rounds" in done.stdout


@pytest.mark.parametrize(
    ("values", "limit", "at_least", "passed"),
    [
        ([0.94, 0.96, 0.99], 0.95, True, True),
        ([0.94, 0.90, 0.99], 0.95, True, False),
        ([1.02, 1.03, 1.30], 1.03, False, True),
        ([1.02, 1.04, 1.30], 1.03, False, False),
        ([9.0], None, False, None),
    ],
)
def test_median_is_held_to_the_limit(
    common: ModuleType, values: list[float], limit: float | None, at_least: bool, passed: bool | None
) -> None:
    assert common.finding("speed", values, limit=limit, at_least=at_least).passed is passed


def test_rounds_alternate(common: ModuleType) -> None:
    order: list[str] = []

    def action(name: str, seconds: float) -> float:
        order.append(name)
        return seconds

    taken = common.alternate(2, {"a": lambda: action("a", 1.0), "b": lambda: action("b", 2.0)})
    assert order == ["a", "b", "b", "a"]
    assert common.ratios(taken["b"], taken["a"]) == [2.0, 2.0]
