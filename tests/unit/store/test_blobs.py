"""Samples survive packing; damage is noticed."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.store.blobs import pack_floats, pack_trace, unpack_floats, unpack_trace

TIMES = st.lists(st.integers(0, 10**13), max_size=60).map(sorted)


@settings(deadline=None)
@given(TIMES, st.data())
def test_a_trace_comes_back_to_the_microsecond_and_to_float32(micros: list[int], data: st.DataObject) -> None:
    values = data.draw(
        st.lists(st.floats(width=32, allow_nan=False), min_size=len(micros), max_size=len(micros)), label="values"
    )
    times, found = unpack_trace(pack_trace([micro / 1e6 for micro in micros], values))
    assert [round(time * 1e6) for time in times] == micros
    assert list(found) == values


def test_a_silence_longer_than_any_delta_is_kept() -> None:
    times = (0.0, 0.5, 9000.0, 1e6)
    assert unpack_trace(pack_trace(times, (1.0, 2.0, 3.0, 4.0))) == (times, (1.0, 2.0, 3.0, 4.0))


def test_a_clock_that_steps_back_is_kept() -> None:
    times = (100.0, 99.5, 20.0)
    assert unpack_trace(pack_trace(times, (1.0, 2.0, 3.0)))[0] == times


def test_nothing_packs_to_nothing() -> None:
    assert pack_trace((), ()) == b""
    assert unpack_trace(b"") == ((), ())


@settings(deadline=None)
@given(st.lists(st.floats(allow_nan=False)))
def test_numbers_come_back_exactly(values: list[float]) -> None:
    assert list(unpack_floats(pack_floats(values))) == values


def test_a_trace_of_a_night_is_small() -> None:
    count = 36_000
    times = [index * 0.1 for index in range(count)]
    values = [30 + (index // 600) * 0.1 for index in range(count)]
    assert len(pack_trace(times, values)) < 2.4 * count


@pytest.mark.parametrize("left", [2, 16, 17, 20])
def test_a_cut_blob_is_refused(left: int) -> None:
    blob = pack_trace((1.0, 2.0, 3.0), (1.0, 2.0, 3.0))
    with pytest.raises(ValueError, match="damaged"):
        unpack_trace(blob[:left])


def test_unknown_versions_and_wrong_counts_are_refused() -> None:
    blob = pack_trace((1.0,), (1.0,))
    with pytest.raises(ValueError, match="unknown version 9"):
        unpack_trace(b"\x09" + blob[1:])
    base, _, size = struct.unpack_from("<qII", blob, 1)
    with pytest.raises(ValueError, match="length of a chunk"):
        unpack_trace(blob[:1] + struct.pack("<qII", base, 7, size) + blob[17:])


@pytest.mark.parametrize(("times", "values"), [((1.0,), ()), ((float("nan"),), (1.0,)), ((float("inf"),), (1.0,))])
def test_what_is_no_trace_is_refused(times: tuple[float, ...], values: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"times for|not finite"):
        pack_trace(times, values)
