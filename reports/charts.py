"""Geometry of the plots: scales, ticks, thinning and SVG paths, as pure functions over numbers."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter

Point = tuple[float, float]
_X, _Y = itemgetter(0), itemgetter(1)


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear map of [low, high] onto pixels [start, end] (start > end turns it upside down)."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        if self.high == self.low:
            return (self.start + self.end) / 2
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def clamp(self, value: float) -> float:
        """The pixel of `value`, held inside the axis."""
        return self(min(max(value, self.low), self.high))


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round values inside [low, high], some `about` of them."""
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return [low] if math.isfinite(low) else []
    raw = (high - low) / max(about, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(index * step, 10) for index in range(first, last + 1)]


def padded(low: float, high: float, least: float) -> tuple[float, float]:
    """[low, high] with air around it, at least `least` wide, so that noise of one step is not drawn as a mountain."""
    width = max(high - low, least)
    middle = (low + high) / 2
    return middle - width * 0.55, middle + width * 0.55


def thin(points: Sequence[Point], buckets: int) -> list[Point]:
    """At most about 2 x `buckets` of `points`, which ascend in x: the lowest and the highest of every bucket of it."""
    if len(points) <= 2 * buckets:
        return list(points)
    first, last = points[0][0], points[-1][0]
    width = (last - first) / buckets or 1.0
    kept: list[Point] = []
    index = 0
    for bucket in range(buckets):
        edge = first + (bucket + 1) * width if bucket < buckets - 1 else math.inf
        stop = bisect_left(points, edge, lo=index, key=_X)
        chunk = points[index:stop]
        index = stop
        if chunk:
            extremes = {min(chunk, key=_Y), max(chunk, key=_Y)}
            kept.extend(sorted(extremes))
    if kept[-1] != points[-1]:
        kept.append(points[-1])
    return kept


def coordinate(value: float) -> str:
    """A pixel with one decimal, as short as SVG allows."""
    text = f"{value:.1f}"
    return text.removesuffix(".0")


def line(points: Sequence[Point]) -> str:
    """SVG path data through `points`; a lone point becomes a dot (drawn by a round cap)."""
    if not points:
        return ""
    parts = ["M" + " ".join(f"{coordinate(x)},{coordinate(y)}" for x, y in points[:1])]
    rest = points[1:] or points
    parts.append("L" + " ".join(f"{coordinate(x)},{coordinate(y)}" for x, y in rest))
    return "".join(parts)


def stairs(points: Sequence[Point]) -> str:
    """SVG path data for a value that holds until it changes (frequencies, limits)."""
    if not points:
        return ""
    corners: list[Point] = [points[0]]
    for x, y in points[1:]:
        if y != corners[-1][1]:
            corners.append((x, corners[-1][1]))
            corners.append((x, y))
    if corners[-1][0] != points[-1][0]:
        corners.append(points[-1])
    return line(corners)


def dots(points: Sequence[Point]) -> str:
    """SVG path data of zero-length strokes: with round caps one path draws all points."""
    return "".join(f"M{coordinate(x)},{coordinate(y)}h0" for x, y in points)
