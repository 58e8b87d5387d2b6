"""Which pairs a night runs, and what it searches for."""

from __future__ import annotations

from dataclasses import replace

from harness.model import Change, ChangeState, LevelStep, PairOutcome, PairResult, PairSet, SeriesId
from harness.nightly.wanted import pairs_wanted, searches_wanted

GOOD, BAD = "a" * 64, "b" * 64


def series(metric: str, *, model: str = "m", tier: str = "flagship") -> SeriesId:
    return SeriesId(tier, model, "llama", "chat", metric)


def change(one: SeriesId, delta: float, **more: object) -> Change:
    found = Change(
        one,
        ChangeState.SUSPECT,
        20,
        ("A", "B"),
        LevelStep("2026-11-12", 11, delta, delta - 0.01, delta + 0.01, "2026-11-12", "2026-11-12"),
        "2026-11-12",
        GOOD,
        BAD,
        BAD,
        wants_pairs=True,
        suspected="2026-11-14",
    )
    return replace(found, **more)  # type: ignore[arg-type]


def pairs(phone: str, count: int, night: str = "2026-11-14", bad: str = BAD) -> PairSet:
    return PairSet(phone, night, GOOD, bad, (0.1,) * count)


def test_one_pair_serves_every_metric_and_the_worst_comes_first() -> None:
    found = pairs_wanted(
        [
            change(series("ttft_ms"), 0.05),
            change(series("decode_tps", model="n"), 0.2),
            change(series("decode_tps"), 0.1),
            change(series("decode_tps", model="better"), -0.5),
            change(series("load_ms"), 0.9, wants_pairs=False),
        ],
        {},
        12,
    )
    assert [one.wish.model for one in found] == ["n", "m", "better"]
    assert found[1].series == ("flagship/m/llama/chat/decode_tps", "flagship/m/llama/chat/ttft_ms")
    assert found[1].lacking == {"A": 12, "B": 12} and found[1].wish.phones == ("A", "B")


def test_only_pairs_since_the_suspicion_count_and_the_neediest_metric_decides() -> None:
    decode, ttft = series("decode_tps"), series("ttft_ms")
    done = {
        decode: [pairs("A", 12), pairs("B", 5), pairs("B", 12, night="2026-11-01"), pairs("B", 12, bad="c" * 64)],
        ttft: [pairs("A", 11), pairs("B", 12)],
    }
    (alone,) = pairs_wanted([change(decode, 0.1)], done, 12)
    assert alone.lacking == {"B": 7}
    (both,) = pairs_wanted([change(decode, 0.1), change(ttft, 0.1)], done, 12)
    assert both.lacking == {"B": 7, "A": 1}


def confirmed(one: SeriesId, delta: float, width: float, **more: object) -> Change:
    ab = PairResult(PairOutcome.CONFIRMED, delta, delta - width / 2, delta + width / 2, 0.001, 24, 2, "24 pairs")
    return change(one, delta, state=ChangeState.REGRESSION, wants_pairs=False, regressed=True, ab=ab, **more)


def test_one_search_for_all_that_the_same_builds_differ_in_by_the_clearest() -> None:
    found = searches_wanted(
        [
            confirmed(series("ttft_ms"), 0.2, 0.2),
            confirmed(series("decode_tps"), 0.1, 0.01),
            confirmed(series("decode_tps", tier="budget"), 0.1, 0.05),
            change(series("prefill_tps"), 0.3, regressed=True),
            confirmed(series("load_ms"), 0.1, 0.1, pair_build=GOOD),
        ]
    )
    assert [[one.series.key for one in group] for group in found] == [
        ["flagship/m/llama/chat/decode_tps", "flagship/m/llama/chat/ttft_ms"],
        ["budget/m/llama/chat/decode_tps"],
    ]
