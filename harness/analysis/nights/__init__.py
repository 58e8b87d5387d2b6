"""Judging of nights: `judge` says what became of a series, `drift_of` which phones drift on their own reference,
`decide` what interleaved pairs say, `bisect_step` which build to try next. Pure: no clock, no file, no phone."""

from harness.analysis.nights.bisect import BisectAction, BisectStep, bisect_step
from harness.analysis.nights.drift import drift_of
from harness.analysis.nights.judge import judge, percent
from harness.analysis.nights.pairs import PAIRS, decide
from harness.analysis.nights.pool import LEAST_NIGHTS

__all__ = [
    "LEAST_NIGHTS",
    "PAIRS",
    "BisectAction",
    "BisectStep",
    "bisect_step",
    "decide",
    "drift_of",
    "judge",
    "percent",
]
