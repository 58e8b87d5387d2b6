"""Two-sided cumulative sum of the scores of nights.

Each night adds its score less K to the sum of its side; a sum never falls below 0 and speaks at H. A score is cut at ±3
(harness.analysis.nights.pool), so a night adds 2.25 at most: two nights of heat in a row are not enough, three nights
of a large step are.

Sources. Page, "Continuous inspection schemes", Biometrika 41 (1954); Hawkins and Olwell, "Cumulative sum charts and
charting for quality improvement", Springer (1998), on cutting the scores; K and H by simulation (bench/nightly.py):
with eight phones H = 7 finds a step of 3 % within seven nights in 90 of 100 series, H = 4 in 97, and a series without a
change is still suspect only every second year; the pairs take care of the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.analysis.nights.epochs import Floats, Ints
from harness.analysis.nights.pool import NightScore

K = 0.75
"""What each night is allowed, in standard deviations: half of a step of 1.5."""
H = 4.0
"""Sum at which a series is suspect."""


AGREED = 1.75
"""Sum that has to be left without any one phone: what only one phone shows is a matter of that phone."""
LASTING = 2.5
"""Sum that has to be left without the one night that added most: one hot night and a few of noise are no change."""
OWN = 15.0
"""Sum of a phone's own scores at which it is said to have changed, when the others have not."""
FEWEST = 3
"""Nights in which others than one phone have to be there before their silence means anything; H takes as many."""


@dataclass(frozen=True, slots=True)
class Side:
    """The sums towards one side.

    Args:
        total: of all phones. most: what the night that added most added since the total was last 0. without: the total
            with each phone left out. own: of each phone's own scores. begun: column at which that left 0. others:
            nights since then in which others were there.
    """

    total: float
    most: float
    without: Floats
    own: Floats
    begun: Ints
    others: Ints

    def add(self, score: NightScore, side: int, at: int) -> Side:
        """After the night in column `at`. A phone that is not there, or whose night has no others, stays as it was."""
        gain = side * score.score - K
        total = max(0.0, self.total + gain)
        own = np.where(np.isnan(score.own), self.own, np.maximum(0.0, self.own + side * score.own - K))
        return Side(
            total,
            max(self.most, gain) if total else 0.0,
            np.where(np.isnan(score.without), self.without, np.maximum(0.0, self.without + side * score.without - K)),
            own,
            np.where((own > 0) & (self.own == 0), at, self.begun),
            np.where(own > 0, self.others + ~np.isnan(score.without), 0),
        )

    @property
    def speaks(self) -> bool:
        return self.total >= H and self.total - self.most >= LASTING


@dataclass(frozen=True, slots=True)
class Cusum:
    """Args: up, down: towards worse and towards better. heard: since both were last 0, nights in which others than
    each phone were there."""

    up: Side
    down: Side
    heard: Ints

    @classmethod
    def zero(cls, phones: int) -> Cusum:
        """The beginning."""
        none, nothing = np.zeros(phones, dtype=np.int64), np.zeros(phones)
        side = Side(0.0, 0.0, nothing, nothing, none, none)
        return cls(side, side, none)

    def add(self, score: NightScore, at: int) -> Cusum:
        """After the night in column `at`."""
        up, down = self.up.add(score, 1, at), self.down.add(score, -1, at)
        heard = np.where(np.isnan(score.without), self.heard, self.heard + 1)
        return Cusum(up, down, heard if up.total or down.total else np.zeros_like(heard))

    @property
    def calm(self) -> bool:
        """Nothing is going on."""
        return self.up.total == 0 and self.down.total == 0

    @property
    def side(self) -> int:
        """+1 or -1 when all phones together say that the level is worse or better, else 0."""
        for number, side in ((1, self.up), (-1, self.down)):
            agreed = np.where(self.heard >= FEWEST, side.without, np.inf)
            if side.speaks and (agreed >= AGREED).all():
                return number
        return 0

    def lone(self) -> tuple[int, int] | None:
        """Row of a phone that alone has changed, and the column since when; None when there is none."""
        for side in (self.up, self.down):
            rows = np.flatnonzero((side.own >= OWN) & (side.without < AGREED) & (side.others >= FEWEST))
            if rows.size:
                row = int(rows[np.argmax(side.own[rows])])
                return row, int(side.begun[row])
        return None
