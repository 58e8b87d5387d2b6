"""The samples a page carries: all of them and exact, or fewer and said."""

from __future__ import annotations

import base64
import gzip
import json
import math
import struct
from typing import Any

import numpy as np
import pytest

from harness.model import Channel, Trace
from reports.cases import gather
from reports.plots import Packed
from reports.samples import TICK_S, page_samples
from tests.unit.reports.sample import ONSET_S, START, Samples, planned, repetition, run_input, sustained


def unpacked(packed: Packed) -> tuple[dict[str, Any], dict[str, tuple[list[float], list[float]]]]:
    """(header, name → (seconds, values)), read by the letter of the module's description."""
    raw = gzip.decompress(base64.b64decode(packed.text))
    (length,) = struct.unpack_from("<I", raw)
    header = json.loads(raw[4 : 4 + length])
    offset = 4 + length

    def array(count: int, step: float) -> list[float]:
        nonlocal offset
        part = np.frombuffer(raw, np.uint8, 4 * count, offset).reshape(4, count).T.copy()
        offset += 4 * count
        if step:
            return [float(number) for number in np.cumsum(part.view("<i4").ravel()) * step]
        return [float(number) for number in part.view("<f4").ravel()]

    axes = [array(count, header["tick"]) for count in header["axes"]]
    found = {}
    for one in sorted((one for panel in header["panels"] for one in panel["series"]), key=lambda one: one["index"]):
        found[one["name"]] = (axes[one["axis"]], array(len(axes[one["axis"]]), one["step"]))
    assert offset == len(raw)
    return header, found


def one_plot(*traces: Trace, budget: int = 10**9) -> Packed:
    run, samples = run_input(repeats=1)
    one = repetition(planned(), START, {})
    samples.held = {one.planned.key: traces}
    cases = gather(type(run)(run.record, run.devices, (one,)), "flagship")
    (found,) = page_samples(cases, frozenset({one.planned.key}), samples, budget)
    return found


def test_every_sample_comes_back() -> None:
    run, samples = run_input(repeats=1)
    cases = gather(run, "flagship")
    keys = frozenset(one.planned.key for case in cases for one in case.measured)
    plots = page_samples(cases, keys, samples, 10**9)
    assert len(plots) == len(keys)
    chat = next(one for case in cases for one in case.measured if case.planned.workload_id == "chat")
    packed = next(plot for plot in plots if chat.planned.key in plot.id)
    header, found = unpacked(packed)
    held = {trace.channel.name: trace for trace in samples.traces(chat.planned.key) if len(trace.values)}
    assert found.keys() == held.keys() | ({"inter-token"} if samples.itl(chat.planned.key) else set())
    for name, trace in held.items():
        seconds, values = found[name]
        assert seconds == pytest.approx([at - 5000.0 for at in trace.uptime_s], abs=TICK_S)
        assert values == pytest.approx(list(trace.values), abs=(trace.channel.resolution or 0) / 2 + 1e-3)
    assert header["shown"] == header["of"] == sum(len(values) for _, values in found.values())


def test_steps_of_a_known_size_are_exact_and_others_keep_their_digits() -> None:
    at = [100.0, 100.5, 101.25]
    header, found = unpacked(
        one_plot(
            Trace(Channel("battery.temperature", "°C", "s", 0.1), at, [29.8, 29.9, 31.0]),
            Trace(Channel("odd", "°C", "s", 0.1), at, [29.83, 29.9, 31.0]),
            Trace(Channel("none", "", "s"), at, [0.0, 3.0, 1.0]),
            Trace(Channel("broken", "MB", "s"), at, [math.nan, math.inf, 5.0]),
            Trace(Channel("empty", "MB", "s", absent="permission denied"), (), ()),
        )
    )
    assert found["battery.temperature"][1] == pytest.approx([29.8, 29.9, 31.0], abs=1e-9)
    assert found["odd"][1] == pytest.approx([29.83, 29.9, 31.0], abs=1e-5)
    assert found["broken"] == ([1.25], [5.0])
    assert "empty" not in found
    steps = {one["name"]: one["step"] for panel in header["panels"] for one in panel["series"]}
    assert steps == {"battery.temperature": 0.1, "odd": 0, "none": 0, "broken": 0}
    assert len(header["axes"]) == 2, "channels read together share their times"
    assert [panel["title"] for panel in header["panels"]] == ["Temperature", "Memory", "State"]


def test_what_would_flatten_or_flood_a_panel_is_switched_off_at_first() -> None:
    at = [1.0, 2.0]
    names = [
        "memory.available",
        "runner.vm_rss",
        *(f"zone.z{number}.temperature" for number in range(6)),
        "skin.temperature",
    ]
    units = ["MB", "MB", *["°C"] * 7]
    header, _ = unpacked(
        one_plot(*(Trace(Channel(*each, "s"), at, [1.0, 2.0]) for each in zip(names, units, strict=True)))
    )
    shown = {one["name"]: one["on"] for panel in header["panels"] for one in panel["series"]}
    assert (shown["runner.vm_rss"], shown["memory.available"], shown["skin.temperature"]) == (True, False, True)
    assert sum(shown.values()) == 5


def test_what_does_not_fit_keeps_its_extremes_and_says_how_many_it_shows() -> None:
    values = [math.sin(number) for number in range(18_000)]
    values[7_000] = 99.0
    trace = Trace(Channel("x", "°C", "s"), [number / 10 for number in range(18_000)], values)
    whole, cut = one_plot(trace), one_plot(trace, budget=20_000)
    assert len(cut.text) <= 20_000 < len(whole.text)
    header, found = unpacked(cut)
    assert header["of"] == 18_000
    assert header["shown"] == len(found["x"][1]) < 18_000
    assert max(found["x"][1]) == 99.0


def test_only_the_largest_plots_are_cut() -> None:
    run, samples = run_input(repeats=1)
    cases = gather(run, "flagship")
    key = next(one for case in cases for one in case.measured).planned.key
    noise = np.random.default_rng(1).random(20_000).tolist()
    samples.held[key] = (Trace(Channel("x", "W", "s"), [number / 10 for number in range(20_000)], noise),)
    keys = frozenset(one.planned.key for case in cases for one in case.measured)
    whole = {plot.id: plot.text for plot in page_samples(cases, keys, samples, 10**9)}
    total = sum(len(text) for text in whole.values())
    cut = {plot.id: plot.text for plot in page_samples(cases, keys, samples, total - 30_000)}
    assert [name for name in whole if cut[name] != whole[name]] == [f"samples-case={key}"]
    assert sum(len(text) for text in cut.values()) <= total - 30_000


def test_a_run_that_lasted_counts_from_its_first_token() -> None:
    run, samples = sustained()
    cases = gather(run, "flagship")
    (plot,) = page_samples(cases, frozenset(one.planned.key for one in cases[0].measured), samples)
    header, found = unpacked(plot)
    assert header["events"] == [["throttled after 212 s", pytest.approx(ONSET_S, abs=0.01)]]
    assert found["decode"][0][0] == pytest.approx(2.5, abs=0.01)
    assert "inter-token" not in found
    assert [name for name, _, _ in header["phases"]] == [
        "load",
        "warm-up",
        "burst",
        "rest of first third",
        "last third",
    ]


def test_no_samples_no_plot() -> None:
    run, _ = run_input(repeats=1)
    cases = gather(run, "flagship")
    keys = frozenset(one.planned.key for case in cases for one in case.measured)
    assert page_samples(cases, keys, Samples()) == ()
