"""Geometry: what is drawn is what was measured."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reports.charts import Scale, dots, line, padded, stairs, thin, ticks

FINITE = st.floats(-1e6, 1e6)


def test_scale_maps_ends_and_clamps() -> None:
    scale = Scale(0, 10, 100, 0)
    assert (scale(0), scale(10), scale(5)) == (100, 0, 50)
    assert scale.clamp(25) == 0
    assert Scale(3, 3, 0, 10)(3) == 5


@given(st.floats(-1e4, 1e4), st.floats(0.001, 1e4), st.integers(2, 10))
def test_ticks_lie_inside_and_are_not_many(low: float, width: float, about: int) -> None:
    found = ticks(low, low + width, about)
    assert all(low - width * 1e-6 <= tick <= low + width * (1 + 1e-6) for tick in found)
    assert len(found) <= about + 2


@given(st.lists(FINITE, min_size=1, max_size=400), st.integers(1, 40))
def test_thinning_keeps_order_and_extremes(values: list[float], buckets: int) -> None:
    points = [(float(index), value) for index, value in enumerate(values)]
    kept = thin(points, buckets)
    assert kept == sorted(kept)
    assert set(kept) <= set(points)
    assert len(kept) <= 2 * buckets + 1
    assert min(value for _, value in kept) == min(values)
    assert max(value for _, value in kept) == max(values)


def test_padding_keeps_noise_small() -> None:
    low, high = padded(36.0, 36.1, 4.0)
    assert high - low > 4


def test_paths() -> None:
    assert line([]) == ""
    assert line([(0, 1.25), (10, 2)]) == "M0,1.2L10,2"
    assert stairs([(0, 5), (1, 5), (2, 9), (3, 9)]) == "M0,5L2,5 2,9 3,9"
    assert dots([(1, 2), (3, 4)]) == "M1,2h0M3,4h0"
