"""The calibration runner itself, on this host: what it was asked for is what it does and says."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from android_runner.base import Figures, RunOutput
from android_runner.calibration import Calibration
from android_runner.figures import RUNNER_METRICS
from harness.errors import ErrorClass
from harness.model import Measured, Unavailable, WorkloadKind
from harness.selftest.judges import DEATHS
from tests.unit.selftest.runner import build, request_of, run_here, workload

ADAPTER = Calibration()


def measured(*args: str, tokens: int = 20) -> Figures:
    request = request_of(workload(tokens, *args))
    return ADAPTER.parse(request, run_here(ADAPTER.command(request, build()).argv))


def test_tokens_come_when_they_were_asked_for() -> None:
    figures = measured("--load-ms", "50", "--first-ms", "10", "--jitter-list", "4,8")
    assert figures.problem is None
    truth = figures.reported["truth"]
    told = [
        (later - earlier) / 1e6
        for earlier, later in zip(truth["token_monotonic_ns"], truth["token_monotonic_ns"][1:], strict=False)
    ]
    assert len(figures.itl_ms) == 19
    assert figures.itl_ms == pytest.approx(told, abs=1.0)
    load, first = figures.metrics["load_ms"], figures.metrics["ttft_ms"]
    assert (
        isinstance(load, Measured) and load.value >= 50.0 and load.value == pytest.approx(truth["load_ns"] / 1e6, abs=1)
    )
    assert isinstance(first, Measured) and first.value >= 9.0
    # A busy host delays a token, it never brings one before its time; over all of them the rhythm holds.
    assert sum(figures.itl_ms) >= 19 * 6.0 - 12.0
    assert figures.token_times[0][1] == 0 and sum(count for _, count in figures.token_times) == 19


def test_memory_is_what_was_asked_for() -> None:
    truth = measured("--load-ms", "1", "--interval-ms", "1", "--anon-mb", "8", "--map-file", "1").reported["truth"]
    assert truth["anon_bytes"] == 8_000_000
    assert truth["file_bytes"] == 32_000_000
    assert 0 < truth["base_anon_kb"] + truth["base_file_kb"] < 8_000


def test_a_known_load_is_burned() -> None:
    idle = measured("--load-ms", "1", "--interval-ms", "25").reported["truth"]["cpu_ns"]
    busy = measured("--load-ms", "1", "--interval-ms", "25", "--burn", "40").reported["truth"]["cpu_ns"]
    # 40 % of half a second is 200 ms; a busy host gives less, hardly more.
    assert idle + 40e6 < busy < 260e6


def test_a_run_that_lasts_ends_by_its_time() -> None:
    lasting = workload(1, "--interval-ms", "10", kind=WorkloadKind.SUSTAINED, minutes=0.01)
    request = request_of(lasting)
    figures = ADAPTER.parse(request, run_here(ADAPTER.command(request, build()).argv))
    assert figures.problem is None
    assert figures.reported["truth"]["tokens"] == len(figures.itl_ms) + 1 == pytest.approx(61, abs=2)


@pytest.mark.parametrize("name", sorted(set(DEATHS) - {"death_hang"}))
def test_each_death_is_real_and_named(name: str) -> None:
    figures = measured("--load-ms", "1", "--interval-ms", "1", "--die", f"{DEATHS[name].how}@30", tokens=2)
    assert figures.problem is not None
    assert figures.problem.error_class is DEATHS[name].expected
    assert all(isinstance(reading, Unavailable) for reading in figures.metrics.values())


@pytest.mark.parametrize("args", [("--die", "sleep@3"), ("--tokens", "many"), ("--no-such", "1"), ("--burn",)])
def test_a_command_line_it_does_not_understand_is_an_error(args: tuple[str, ...]) -> None:
    figures = measured(*args)
    assert figures.problem is not None
    assert figures.problem.error_class is ErrorClass.OPTION_UNKNOWN


WHOLE = (
    b'{"event":"start","n":0,"boottime_ns":1000000000}\n{"event":"ready","n":0,"boottime_ns":1200000000}\n'
    b'{"event":"token","n":1,"boottime_ns":1250000000}\n{"event":"token","n":2,"boottime_ns":1300000000}\n'
    b'{"event":"end","n":2,"boottime_ns":1300100000}\n{"event":"truth","load_ns":200000000,"tokens":2}\n'
)


def parsed(stdout: bytes) -> Figures:
    return ADAPTER.parse(request_of(workload(2)), RunOutput(0, None, "exit", stdout, b"", None, {}))


def test_figures_come_from_the_events() -> None:
    figures = parsed(WHOLE)
    assert figures.itl_ms == pytest.approx([50.0])
    assert {name: getattr(figures.metrics[name], "value", None) for name in ("load_ms", "ttft_ms")} == {
        "load_ms": pytest.approx(200.0),
        "ttft_ms": pytest.approx(50.0),
    }
    assert set(figures.metrics) == set(RUNNER_METRICS)


@pytest.mark.parametrize(
    ("cut", "word"),
    [
        (WHOLE.replace(b'"event":"end"', b'"event":"eng"'), "end"),
        (WHOLE.replace(b'"n":2,"boottime_ns":13000', b'"n":3,"boottime_ns":13000'), "numbered"),
        (WHOLE.replace(b"1250000000", b"1150000000"), "ascend"),
        (b"".join(WHOLE.splitlines(keepends=True)[:2]), "end"),
        (b"", "start"),
    ],
)
def test_what_is_missing_or_strange_is_no_measurement(cut: bytes, word: str) -> None:
    figures = parsed(cut)
    assert figures.problem is not None and figures.problem.error_class is ErrorClass.OUTPUT_GARBAGE
    assert word in figures.problem.message


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_torn_output_never_raises(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(WHOLE)))
    end = data.draw(st.integers(start, len(WHOLE)))
    figures = parsed(WHOLE[:start] + data.draw(st.binary(max_size=20)) + WHOLE[end:])
    for reading in figures.metrics.values():
        assert isinstance(reading, Unavailable) or reading.value >= 0
