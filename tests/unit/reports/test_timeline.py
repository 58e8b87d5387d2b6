"""The timeline: phases where they are known, every panel there, what is absent said."""

from __future__ import annotations

import re
from itertools import pairwise
from random import Random

import pytest

from harness.model import Channel, Measured, Trace
from reports.before import heat_view
from reports.phases import Phase, phases_of
from reports.plots import Timeline
from reports.timeline import RIGHT, build, channel_rows
from tests.unit.reports.sample import ONSET_S, sustained, traces

STAMPS = {"started": 100.0, "ready": 101.5, "requested": 101.6, "answered": 110.0}
TTFT = {"ttft_ms": Measured(400.0, "ms", "timings")}
PHASES = (Phase("load", 5000.0, 5000.8), Phase("prefill", 5001.0, 5001.5), Phase("decode", 5001.5, 5030.0))


def test_phases_come_from_the_stamps_of_the_device() -> None:
    load, prefill, decode = phases_of({"stamps": STAMPS}, TTFT)
    assert load == Phase("load", 100.0, 101.5)
    assert (prefill.start, round(prefill.end, 6)) == (101.6, 102.0)
    assert (round(decode.start, 6), decode.end) == (102.0, 110.0)


def test_unknown_phases_are_not_drawn() -> None:
    assert phases_of({}, TTFT) == ()
    assert phases_of({"stamps": {"started": 1.0, "ended": 9.0}}, {}) == ()
    assert [phase.name for phase in phases_of({"stamps": STAMPS}, {})] == ["load"]
    assert [phase.name for phase in phases_of({"stamps": STAMPS}, {"ttft_ms": Measured(9e9, "ms", "x")})] == ["load"]


def test_all_quantities_share_one_axis() -> None:
    picture = build(
        anchor="t", title="T", mark="virtual phone", traces=traces(50, Random(1)), itl_ms=[100.0] * 200, phases=PHASES
    )
    assert picture is not None
    temperature, frequency, memory, tokens = picture.panels
    assert [line.label for line in temperature.lines] == ["battery", "cpu-big"]
    assert [(line.label, line.kind, line.style) for line in frequency.lines] == [
        ("policy4", "line", "s1"),
        ("", "limit", "s1"),
    ]
    assert frequency.title == "CPU frequency, cap dashed"
    assert [line.label for line in memory.lines] == ["peak (VmHWM)", "resident"]
    assert (tokens.lines[0].kind, tokens.unit) == ("points", "ms")
    assert [band.label for band in picture.bands] == ["load", "prefill", "decode"]
    assert all(picture.left <= band.x and band.x + band.width <= picture.right + 0.1 for band in picture.bands)
    assert "CPU frequency, policy4 cap: 2400 \u2013 2850 MHz." in picture.description
    assert picture.phases == "Phases, shaded in this order: load 0.800 s, prefill 0.500 s, decode 28.5 s."
    assert picture.description.endswith(picture.phases)


def test_a_panel_without_samples_says_so() -> None:
    only = (Trace(Channel("battery.temperature", "°C", "s"), (1.0, 2.0), (30.0, 31.0)),)
    picture = build(anchor="t", title="T", mark="", traces=only, itl_ms=[5.0], phases=())
    assert picture is not None
    assert [panel.absent for panel in picture.panels] == [
        "",
        "no CPU frequency was sampled",
        "no memory of the runner was sampled",
        "the start of decode is not known",
    ]


def test_nothing_to_draw_is_no_picture() -> None:
    assert build(anchor="t", title="T", mark="", traces=(), itl_ms=(), phases=()) is None
    assert build(anchor="t", title="T", mark="", traces=(), itl_ms=(), phases=PHASES) is None


def test_labels_of_lines_do_not_cover_each_other() -> None:
    flat = tuple(
        Trace(Channel(f"zone.z{number}.temperature", "°C", "s"), (1.0, 2.0), (30.0, 30.0)) for number in range(4)
    )
    picture = build(anchor="t", title="T", mark="", traces=flat, itl_ms=(), phases=())
    assert picture is not None
    heights = sorted(line.label_y for line in picture.panels[0].lines)
    assert all(below - above >= 12.9 for above, below in pairwise(heights))


def test_channels_are_listed_with_extremes_or_the_reason() -> None:
    rows = {row.name: row for row in channel_rows(traces(50, Random(1)))}
    assert rows["zone.skin.temperature"].absent == "permission denied"
    assert rows["zone.skin.temperature"].median == ""
    assert rows["battery.temperature"].low == "29.8"
    assert rows["battery.temperature"].resolution == "0.1 °C"


def lasting(**heat: object) -> Timeline:
    """The picture of a sustained run with this changed in what is stored of its heat."""
    run, samples = sustained()
    (one,) = run.repetitions
    provenance = {**one.provenance, "heat": {**one.provenance["heat"], **heat}}
    picture = build(
        anchor="t",
        title="T",
        mark="",
        traces=samples.traces(one.planned.key),
        itl_ms=samples.itl(one.planned.key),
        phases=phases_of(provenance, one.metrics),
        heat=heat_view(provenance),
        gate="gate: recorded",
    )
    assert picture is not None
    return picture


def test_a_run_that_lasts_shows_rate_temperature_cap_and_power() -> None:
    picture = lasting()
    assert [panel.title for panel in picture.panels] == [
        "Decode rate",
        "Temperature",
        "CPU frequency, cap dashed",
        "Memory",
        "Battery power",
    ]
    assert not any(panel.absent for panel in picture.panels)
    assert [band.label for band in picture.bands] == ["load", "warm-up", "burst", "rest of first third", "last third"]
    assert picture.phases == (
        "Phases, shaded in this order: load 1 s, warm-up 2 s, burst 30 s, rest of first third 170 s, last third 200 s."
    )
    low, high = re.findall(r"Battery power, battery: ([0-9.]+) \u2013 ([0-9.]+) W", picture.description)[0]
    assert 3.0 < float(low) < 0.9 * 3.9 and 5.4 < float(high) < 1.6 * 3.9


def test_the_throttle_mark_stands_at_the_onset_on_the_axis() -> None:
    picture = lasting()
    gate, throttled = picture.events
    assert (gate.label, gate.style, gate.x) == ("gate: recorded", "gate", picture.left)
    assert throttled.label == "throttled after 212 s"
    at = {tick.text: tick.at for tick in picture.ticks}
    per_second = (at["400"] - at["200"]) / 200
    assert throttled.x == pytest.approx(at["200"] + (ONSET_S - 200) * per_second, abs=0.2)
    assert picture.description.endswith(
        "Throttled after 212 s: the rate fell by 34.1 %; the cap of policy4 fell from 2850 to 1850 MHz after 212.0 s."
    )


def test_labels_of_events_stay_apart_and_inside() -> None:
    early, late = lasting(onset_s=3.0).events[1], lasting(onset_s=590.0).events[1]
    assert early.anchor == "start" and early.label_x > early.x + 50, "beside the gate's label"
    assert late.anchor == "end" and late.label_x < late.x <= RIGHT


def test_without_a_moment_nothing_is_marked() -> None:
    assert [event.style for event in lasting(onset_s=None).events] == ["gate"]


def test_heat_without_a_curve_says_why_there_is_none() -> None:
    picture = lasting(curve=[], start_uptime_s=None, verdict="unknown", onset_s=None)
    assert picture.panels[0].absent == "the tokens have no times"


def test_an_iphone_shows_its_thermal_state_and_its_footprint() -> None:
    told = [
        Trace(Channel("thermal.status", "", "ProcessInfo.thermalState"), (1.0, 2.0, 4.0), (0.0, 1.0, 3.0)),
        Trace(Channel("battery.temperature", "°C", "IORegistry"), (1.0,), (25.0,)),
        Trace(Channel("cpu.temperature", "°C", "", None, "iOS shows this temperature to no one"), (), ()),
        Trace(Channel("runner.phys_footprint", "MB", "sysmontap"), (1.0, 3.0), (100.0, 140.0)),
    ]
    picture = build(anchor="t", title="T", mark="", traces=told, itl_ms=[], phases=())
    assert picture is not None
    panels = {panel.title: panel for panel in picture.panels}
    (state,) = panels["Thermal status, 0 none to 6 shutdown"].lines
    xs = re.findall(r"([\d.]+),", state.path)
    assert state.label == "state" and len(set(xs)) < len(xs), "it holds until it changes"
    assert [line.label for line in panels["Memory"].lines] == ["footprint"]
    assert "Thermal status, 0 none to 6 shutdown, state: 0" in picture.description
    sensed = [*told, Trace(Channel("cpu.temperature", "°C", "zone"), (1.0, 2.0), (40.0, 41.0))]
    other = build(anchor="t", title="T", mark="", traces=sensed, itl_ms=[], phases=())
    assert other is not None and "Thermal status, 0 none to 6 shutdown" not in {each.title for each in other.panels}
