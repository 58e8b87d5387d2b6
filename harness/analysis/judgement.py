"""What is said of a case over all of its repetitions: its targets, whether they agree, and which lie far away. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.analysis.outliers import Outlier, Repetition, outliers
from harness.analysis.repeats import FIXED, Agreement, RepeatPolicy, Stability, counted, stability
from harness.analysis.verdict import VerdictInfo, judge
from harness.model import Targets


@dataclass(frozen=True, slots=True)
class Judgement:
    """Args: verdicts: by target that the tier sets. stability: whether the repetitions agree. outliers: by repetition;
    a warm-up is never one."""

    verdicts: Mapping[str, VerdictInfo] = field(default_factory=dict)
    stability: Stability = field(default_factory=lambda: Stability(Agreement.FIXED))
    outliers: tuple[Outlier, ...] = ()

    def agreement_json(self) -> dict[str, str]:
        """{agreement, reason}; the reason is "" where the count of repetitions was given."""
        return {"agreement": self.stability.agreement.value, "reason": self.stability.reason}

    def outliers_json(self, repeat: int) -> list[dict[str, Any]]:
        """Those of one repetition, JSON-ready, each with its text."""
        return [one.to_json() | {"text": one.text} for one in self.outliers if one.repeat == repeat]


def judge_case(targets: Targets | None, rows: Iterable[Repetition], policy: RepeatPolicy = FIXED) -> Judgement:
    """Judge one case.

    Args:
        targets: of its tier; None where the tier is not known.
        rows: its repetitions in any state.
        policy: of the suite.
    """
    repetitions = tuple(rows)
    return Judgement(
        judge(targets, repetitions, policy) if targets is not None else {},
        stability(policy, repetitions),
        outliers(counted(repetitions, policy.warm_up)),
    )
