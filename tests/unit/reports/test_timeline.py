"""The timeline: phases where they are known, every panel there, what is absent said."""

from __future__ import annotations

from itertools import pairwise
from random import Random

from harness.model import Channel, Measured, Trace
from reports.timeline import Phase, build, channel_rows, phases_of
from tests.unit.reports.sample import traces

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
