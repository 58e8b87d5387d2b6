"""The event lines of the runner contract (docs/runner-contract.md): any bytes in, what they say out.

Lines that are no event are passed over. Nothing is lost by that unseen: turns and tokens are numbered, and the last
event counts them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CONTRACT = "1.1"
"""Version that farm speaks; a runner of the same major version is understood."""

_MOST = 1 << 62
"""Beyond any time in nanoseconds or count of bytes."""

_TEXT_MAX = 500


@dataclass(slots=True)
class Turn:
    """A request ("request"), a prompt alone ("prefill") or tokens alone ("decode"); times are device uptimes in ns."""

    what: str
    prompt_tokens: int = 0
    prefill_begin: int | None = None
    prefill_end: int | None = None
    tokens: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Record:
    """What the events say, as far as they go.

    Args:
        start, load_begin, load_end, end, error: these events, None where they did not come.
        memory: the last event of that name.
        turns: in order.
        own_times: (turns begun until then, event) of each.
        foreign: lines that are no event.
        wrong: the first thing that does not fit together, "" where all does.
        last: name of the last event.
    """

    start: Mapping[str, Any] | None = None
    load_begin: Mapping[str, Any] | None = None
    load_end: Mapping[str, Any] | None = None
    end: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    memory: Mapping[str, Any] | None = None
    turns: list[Turn] = field(default_factory=list)
    own_times: list[tuple[int, Mapping[str, Any]]] = field(default_factory=list)
    foreign: int = 0
    wrong: str = ""
    last: str = ""

    @property
    def contract(self) -> str:
        """Version of the contract that the events follow; "" where they do not tell."""
        return text(self.start, "contract")

    @property
    def understood(self) -> bool:
        """Whether that version is one of ours."""
        return self.contract.partition(".")[0] == CONTRACT.partition(".")[0]

    @property
    def generated(self) -> int:
        """Tokens of all turns."""
        return sum(len(turn.tokens) for turn in self.turns)

    def progress(self) -> str:
        """How far it came, in words."""
        turn = self.turns[-1] if self.turns else None
        if self.start is None:
            return "it wrote no event"
        if self.end is not None:
            return "its events are whole"
        if turn is not None and turn.prefill_end is not None:
            return f"its events stop after token {len(turn.tokens)} of turn {len(self.turns)}"
        if turn is not None:
            return f"its events stop in the prompt of turn {len(self.turns)}"
        if self.load_end is not None:
            return "its events stop after the load"
        return f"its events stop {'in' if self.load_begin is not None else 'before'} the load"


def read(events: bytes) -> Record:
    """What the lines say; any bytes. Of a version that is not ours only the event `start` is looked at."""
    record = Record()
    latest = 0
    for line in events.split(b"\n"):
        event = _event(line)
        if event is None:
            record.foreign += bool(line.strip())
            continue
        wrong = _taken(record, event) if event["t"] >= latest else "the times of the events do not ascend"
        latest = event["t"]
        record.wrong = record.wrong or wrong
        record.last = text(event, "event")
        if record.start is not None and not record.understood:
            break
    return record


def count(event: Mapping[str, Any] | None, name: str) -> int | None:
    """A whole number from 0 on, None where the event has none under that name (JSON true is none)."""
    value = event.get(name) if event is not None else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST else None


def text(event: Mapping[str, Any] | None, name: str) -> str:
    """A text, cut and printable in any encoding; "" where the event has none under that name."""
    value = event.get(name) if event is not None else None
    return value[:_TEXT_MAX].encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def texts(event: Mapping[str, Any] | None, name: str) -> list[str]:
    """The texts of a list."""
    values = event.get(name) if event is not None else None
    if not isinstance(values, list):
        return []
    return [text({name: value}, name) for value in values[:100] if isinstance(value, str)]


def _event(line: bytes) -> dict[str, Any] | None:
    if not line.startswith(b"{"):
        return None
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or not isinstance(event.get("event"), str) or count(event, "t") is None:
        return None
    return event


def _taken(record: Record, event: Mapping[str, Any]) -> str:
    """Put an event into the record; returns what is wrong with it, or ""."""
    name = event["event"]
    if name == "error":
        record.error = record.error or event
    elif name == "start":
        if record.start is not None:
            return "it started more than once"
        record.start = event
    elif name in _OF_A_RUN:
        if record.start is None or record.end is not None:
            return f"the event {name} stands outside start and end"
        return _taken_in_run(record, name, event)
    return ""


_OF_A_RUN = frozenset(
    {"load_begin", "load_end", "turn", "prefill_begin", "prefill_end", "token", "own_times", "memory", "end"}
)
"""Others may come with later versions."""


def _taken_in_run(record: Record, name: str, event: Mapping[str, Any]) -> str:
    if name == "memory":
        record.memory = event
    elif name == "own_times":
        record.own_times.append((len(record.turns), event))
    elif name == "load_begin":
        again, record.load_begin = record.load_begin is not None, event
        return "it loaded more than once" if again else ""
    elif name == "load_end":
        again, record.load_end = record.load_end is not None, event
        return "the events of its load do not fit together" if again or record.load_begin is None else ""
    elif record.load_end is None:
        return f"the event {name} comes before the end of the load"
    elif name == "turn":
        if count(event, "index") != len(record.turns):
            return f"turn {len(record.turns) + 1} is missing or has another number"
        record.turns.append(Turn(text(event, "what")))
    elif name == "end":
        record.end = event
        if (count(event, "turns"), count(event, "tokens")) != (len(record.turns), record.generated):
            return "the last event counts other turns or tokens than there are"
    else:
        return _taken_in_turn(record.turns[-1], name, event) if record.turns else f"the event {name} is of no turn"
    return ""


def _taken_in_turn(turn: Turn, name: str, event: Mapping[str, Any]) -> str:
    tokens = count(event, "tokens")
    if name == "prefill_begin":
        if turn.prefill_begin is not None or not tokens:
            return "a turn has more than one prompt, or an empty one"
        turn.prefill_begin, turn.prompt_tokens = event["t"], tokens
    elif name == "prefill_end":
        if turn.prefill_begin is None or turn.prefill_end is not None or tokens != turn.prompt_tokens:
            return "the events of a prompt do not fit together"
        turn.prefill_end = event["t"]
    else:
        if turn.prefill_end is None or count(event, "index") != len(turn.tokens):
            return f"token {len(turn.tokens) + 1} of a turn is missing or has another number"
        turn.tokens.append(event["t"])
    return ""
