"""The figures of a run of the runner contract, the same for every runtime and platform."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from android_runner.base import DEFAULT_MINUTES, Figures, Problem, length_s
from android_runner.figures import RUNNER_METRICS, failed
from android_runner.runner_errors import problem_of
from android_runner.runner_events import CONTRACT, Record, Turn, count, read, text, texts
from harness.errors import ErrorClass
from harness.model import MEGABYTE, Measured, Reading, Unavailable, Workload, WorkloadKind

_SOURCE = "runner events"
_NS_PER_MS = 1e6
_RESOLUTION_MS = 1e-6
_COLD_SHARE = 0.01
"""Of the model that may still be in memory before a load that counts as cold."""

_BY_SIGNAL = (ErrorClass.CRASHED, ErrorClass.ILLEGAL_INSTRUCTION)
_TEXTS = ("runtime", "version", "build", "contract", "load_mode", "kind")
_COUNTS = ("pid", "threads", "seed")
_MEMORY = ("vm_hwm_bytes", "vm_rss_bytes", "rss_anon_bytes", "rss_file_bytes", "vm_swap_bytes")


def figures_of(events: bytes, workload: Workload, ended: Problem | None) -> Figures:
    """Figures from event lines.

    Args:
        events: any bytes; what a killed runner left is told in `reported` as far as it goes.
        workload: what was asked for.
        ended: why the process did not end as it should, by what the platform saw; None for a clean end.
    """
    record = read(events)
    reported = _reported(record)
    problem = _problem(record, workload, ended)
    if problem is not None:
        return replace(failed(problem), reported=reported)
    metrics: dict[str, Reading] = {name: Unavailable("it is derived from the tokens' times") for name in RUNNER_METRICS}
    metrics |= _loads(record, workload)
    metrics |= _throughput(record) if workload.kind is WorkloadKind.THROUGHPUT else _requests(record)
    mark = count(record.memory, "vm_hwm_bytes")
    if mark:
        metrics["peak_memory_mb"] = Measured(
            mark / MEGABYTE, "MB", f"{_SOURCE}: its own VmHWM at the end", 1024 / MEGABYTE
        )
    metrics["framework_overhead_us"] = _overhead_reading(record)
    itl_ms = tuple(
        (later - earlier) / _NS_PER_MS for turn in record.turns for earlier, later in itertools.pairwise(turn.tokens)
    )
    token_times = tuple((at / 1e9, int(place > 0)) for turn in record.turns for place, at in enumerate(turn.tokens))
    return Figures(metrics, itl_ms, reported, token_times=token_times, stamps=_stamps(record))


def _stamps(record: Record) -> dict[str, float]:
    """Device uptimes in seconds, as an outside observer would stamp them: ready for requests; and of a single one, when
    it was made and answered."""
    found = {"ready": count(record.load_end, "t")}
    if len(record.turns) == 1 and record.turns[0].tokens:
        found |= {"requested": record.turns[0].prefill_begin, "answered": record.turns[0].tokens[-1]}
    return {name: at / 1e9 for name, at in found.items() if at is not None}


def _problem(record: Record, workload: Workload, ended: Problem | None) -> Problem | None:
    """Why the events are no measurement of what was asked for, or None."""
    if record.start is not None and not record.understood:
        return Problem(
            ErrorClass.RUNNER_INVALID,
            f"the runner follows contract {record.contract or 'of no version'}, farm speaks {CONTRACT}",
            "build the runner that belongs to this farm: farm runners build",
        )
    # A crash is classified by its signal: one for an instruction that the processor lacks is no fault of the model.
    crashed = text(record.error, "class") == "crashed" and ended is not None and ended.error_class in _BY_SIGNAL
    if record.error is not None and not crashed:
        return problem_of(text(record.error, "class"), text(record.error, "message"))
    if ended is not None:
        return replace(ended, message=f"{ended.message}; {record.progress()}") if record.last else ended
    wrong = record.wrong
    if not wrong and record.end is None:
        wrong = record.progress()
    wrong = wrong or _not_as_asked(record, workload)
    if not wrong:
        return None
    return Problem(
        ErrorClass.OUTPUT_GARBAGE, f"the runner's events are no measurement: {wrong}", "try again; see the log's end"
    )


def _not_as_asked(record: Record, workload: Workload) -> str:
    """In what the work that was done differs from the one asked for, or ""."""
    if text(record.start, "kind") != workload.kind.value:
        return f"they are of kind {text(record.start, 'kind') or 'none'}"
    kinds = {"prefill", "decode"} if workload.kind is WorkloadKind.THROUGHPUT else {"request"}
    if {turn.what for turn in record.turns} != kinds:
        return f"the turns {' and '.join(sorted(kinds))} are missing, or there are others"
    for turn in record.turns:
        asked = workload.prompt_tokens if turn.what != "decode" else 1
        if turn.prefill_end is None or (workload.prompt_file is None and turn.prompt_tokens != asked):
            return f"a prompt has {turn.prompt_tokens} tokens, {asked} were asked for"
    generating = [turn for turn in record.turns if turn.what != "prefill"]
    lasts = workload.kind in DEFAULT_MINUTES
    for turn in generating:
        cut_by_time = lasts and turn is generating[-1] and 1 <= len(turn.tokens) <= workload.gen_tokens
        if len(turn.tokens) != workload.gen_tokens and not cut_by_time:
            return f"{len(turn.tokens)} tokens were generated, {workload.gen_tokens} were asked for"
    return _too_short(record, length_s(workload)) if lasts else ""


def _too_short(record: Record, asked_s: float) -> str:
    first, end = record.turns[0].prefill_begin, count(record.end, "t")
    lasted_s = 0.0 if first is None or end is None else (end - first) / 1e9
    # The runner looks at its clock a moment before the first prompt begins.
    return "" if lasted_s >= asked_s - 0.01 else f"they last {lasted_s:.1f} s, {asked_s:.0f} s were asked for"


# --- metrics ----------------------------------------------------------------------------------------------------------


def _ms(name: str, nanoseconds: float, source: str) -> dict[str, Reading]:
    if nanoseconds <= 0:
        return {name: Unavailable(f"no time passed by the runner's clock ({source})")}
    return {name: Measured(nanoseconds / _NS_PER_MS, "ms", f"{_SOURCE}: {source}", _RESOLUTION_MS)}


def _rate(name: str, pairs: Sequence[tuple[int, int]], source: str) -> dict[str, Reading]:
    """Sum of tokens over sum of nanoseconds."""
    tokens, passed = sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)
    if tokens <= 0 or passed <= 0:
        return {name: Unavailable(f"needs two moments that lie apart ({source})")}
    rate = tokens / (passed / 1e9)
    return {name: Measured(rate, "tok/s", f"{_SOURCE}: {source}", rate / passed)}


def _loads(record: Record, workload: Workload) -> dict[str, Reading]:
    """Of an eviction the load alone counts: what stands before it is the eviction itself."""
    started, begin, ready = (count(event, "t") for event in (record.start, record.load_begin, record.load_end))
    if started is None or begin is None or ready is None:
        return {}
    if workload.page_cache == "keep":
        kept = Unavailable("the page cache was kept")
        looked = count(record.load_begin, "counting_ns") or 0
        source = "load_end - start, less the counting of the model's pages"
        return {"load_cold_ms": kept} | _ms("load_ms", ready - started - looked, source)
    why = not_cold(record)
    if why:
        return {"load_cold_ms": Unavailable(why), "load_ms": Unavailable(f"this was to be a cold load, but {why}")}
    seen = Unavailable("this was a cold load: see load_cold_ms")
    return {"load_ms": seen} | _ms("load_cold_ms", ready - begin, "load_end - load_begin, model evicted before")


def not_cold(record: Record) -> str:
    """Why the load is not proven to have come from storage, or ""."""
    size, cached = count(record.load_begin, "model_bytes"), count(record.load_begin, "cached_bytes")
    if record.load_begin is None or record.load_begin.get("evicted") is not True:
        return "the runner did not take the model out of the page cache"
    if not size or cached is None:
        return "the system does not tell how much of the model was in memory"
    if cached >= _COLD_SHARE * size:
        return f"{100 * cached / size:.1f} % of the model was still in memory before the load"
    return ""


def _prefill(turn: Turn) -> tuple[int, int]:
    return turn.prompt_tokens, (turn.prefill_end or 0) - (turn.prefill_begin or 0)


def _decode(turn: Turn) -> tuple[int, int]:
    return len(turn.tokens) - 1, turn.tokens[-1] - turn.tokens[0]


def _requests(record: Record) -> dict[str, Reading]:
    """Median time to first token, and rates over all requests: tokens / time of prompts, and of decoding."""
    turns = record.turns
    of = f" (sums of {len(turns)} requests)" if len(turns) > 1 else ""
    firsts = [turn.tokens[0] - (turn.prefill_begin or 0) for turn in turns]
    middle = f" (median of {len(turns)} requests)" if len(turns) > 1 else ""
    return (
        _ms("ttft_ms", median(firsts), f"first token - prefill_begin{middle}")
        | _rate("prefill_tps", [_prefill(turn) for turn in turns], f"prompt tokens / prefill{of}")
        | _rate("decode_tps", [_decode(turn) for turn in turns], f"(n-1) / (last - first token){of}")
    )


def _throughput(record: Record) -> dict[str, Reading]:
    """Rates of prompts alone and of tokens alone, each the median of the repetitions."""
    found: dict[str, Reading] = {
        "ttft_ms": Unavailable("a throughput workload takes prompt and tokens apart; a stream has it")
    }
    for name, what, pair, source in (
        ("prefill_tps", "prefill", _prefill, "prompt tokens / prefill"),
        ("decode_tps", "decode", _decode, "(n-1) / (last - first token)"),
    ):
        turns = [turn for turn in record.turns if turn.what == what]
        rates = [_rate(name, [pair(turn)], source)[name] for turn in turns]
        measured = sorted((rate for rate in rates if isinstance(rate, Measured)), key=lambda rate: rate.value)
        if len(measured) < len(rates):
            found[name] = next(rate for rate in rates if isinstance(rate, Unavailable))
            continue
        middle = median(rate.value for rate in measured)
        suffix = f" (median of {len(rates)})" if len(rates) > 1 else ""
        coarsest = max(rate.resolution or 0.0 for rate in measured)
        found[name] = Measured(middle, "tok/s", f"{_SOURCE}: {source}{suffix}", coarsest)
    return found


# --- what the runner says of itself -----------------------------------------------------------------------------------


def _reported(record: Record) -> dict[str, Any]:
    """What the events say beside the figures, JSON-ready; what they do not say is left out."""
    found: dict[str, Any] = {name: text(record.start, name) for name in _TEXTS}
    found |= {name: count(record.start, name) for name in _COUNTS}
    found |= {name: text(record.load_end, name) for name in ("model", "cpu_features")}
    found |= {name: count(record.load_end, name) for name in ("vocabulary", "context", "kv_bytes")}
    found["backends"] = texts(record.start, "backends")
    begin, ready = count(record.load_begin, "t"), count(record.load_end, "t")
    if begin is not None and ready is not None:
        found["model_load_ms"] = round((ready - begin) / _NS_PER_MS, 6)
    found |= {
        "model_bytes": count(record.load_begin, "model_bytes"),
        "cached_found_bytes": count(record.load_begin, "cached_found_bytes"),
        "cached_before_bytes": count(record.load_begin, "cached_bytes"),
        "cached_after_bytes": count(record.load_end, "cached_bytes"),
        "foreign_lines": record.foreign or None,
    }
    memory = {name: value for name in _MEMORY if (value := count(record.memory, name)) is not None}
    found = {name: value for name, value in found.items() if value not in (None, "", [])}
    if record.load_begin is not None:
        found["evicted"] = record.load_begin.get("evicted") is True
    if memory:
        found["memory"] = memory
    if record.start is not None:
        found["turns"] = len(record.turns)
        found["prompt_tokens"] = sum(turn.prompt_tokens for turn in record.turns)
        found["generated_tokens"] = record.generated
    if record.own_times:
        found["framework_overhead"] = overhead(record)
    return found


def _overhead_reading(record: Record) -> Reading:
    if not record.own_times:
        return Unavailable("the runner did not tell the runtime's own times")
    found = overhead(record)
    if "unavailable" in found:
        return Unavailable(str(found["unavailable"]))
    if found["us"] <= 0:
        return Unavailable(f"{found['own_clock']} counts more than passed between prompt and last token")
    return Measured(float(found["us"]), "µs", f"{_SOURCE}: per token, less {found['own_clock']}", 0.001)


def overhead(record: Record) -> Mapping[str, Any]:
    """Time per generated token beyond what the runtime counts for itself, in µs, JSON-ready.

    From the beginning of each prompt to its last token: `runner_us` is spent outside of choosing a token and of calls
    into the runtime, `choosing_us` in choosing it, `calls_us` in those calls beyond the runtime's own account; `us` is
    the sum. {"unavailable": REASON} where the events do not tell.
    """
    wall = taking = choosing = own = tokens = begun = 0
    source = ""
    for until, event in record.own_times:
        turns, begun = record.turns[begun:until], until
        # A prompt alone generates nothing, and what is counted for the first one holds the runner's warm-up.
        if not turns or not all(turn.tokens for turn in turns):
            continue
        parts = [count(event, name) for name in ("taking_ns", "choosing_ns", "prefill_ns", "decode_ns")]
        if any(part is None for part in parts):
            return {"unavailable": "an event own_times is not whole"}
        took, chose, prefill, decode = (part or 0 for part in parts)
        taking, choosing, own = taking + took, choosing + chose, own + prefill + decode
        wall += sum(turn.tokens[-1] - (turn.prefill_begin or 0) for turn in turns)
        tokens += sum(len(turn.tokens) for turn in turns)
        source = text(event, "source")
    if not tokens or not own:
        return {"unavailable": "the runtime does not count its own time"}
    spent = {"us": wall - own, "runner_us": wall - taking - choosing, "choosing_us": choosing, "calls_us": taking - own}
    if wall < taking + choosing:
        return {"unavailable": "the parts are longer than the whole"}
    return {name: round(value / tokens / 1000, 3) for name, value in spent.items()} | {
        "per": "token",
        "tokens": tokens,
        "own_clock": source,
    }
