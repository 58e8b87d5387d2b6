"""From what a user types to a run, a case or one measurement: full ids, unique beginnings, "did you mean"."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.cli.main import Context
    from harness.store import Store

_LISTED = 8
_ALIKE = 4
"""Characters that a mistyped case id has right, for it to be found again."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was named: a run (`case` and `key` are ""), a case of it (`key` is ""), or one measurement."""

    run: str
    case: str = ""
    key: str = ""


def open_existing(context: Context) -> Store:
    """Open the database for reading history.

    Raises:
        UsageError: there is none yet.
        StoreError: it cannot be used.
    """
    from harness.store import Store

    if not Store.exists(context.db_url):
        raise UsageError(f"no results yet: there is no database at {context.db_url} (`farm run` makes it)")
    return Store.open(context.db_url)


def find_run(store: Store, name: str) -> str:
    """Id of the run called `name`: its id or a unique beginning of it. Raises UsageError otherwise."""
    ids = [run.id for run in store.runs()]
    if name in ids:
        return name
    return _only(name, [run for run in ids if name and run.startswith(name)], ids, "run")


def find(store: Store, name: str) -> Found:
    """The run, case ("CASE") or measurement ("CASE.REPEAT") called `name`; UsageError unless it is one."""
    ids = [run.id for run in store.runs()]
    if name in ids:
        return Found(name)
    case, dot, repeat = name.rpartition(".")
    prefix = case if dot and repeat.isdecimal() else name
    matching = store.matching_keys(prefix) if prefix else ()
    cases = {case_id: run for run, case_id, _ in matching}
    if prefix in cases:
        cases = {prefix: cases[prefix]}
    runs = [run for run in ids if name and run.startswith(name)]
    alike = [case_id for _, case_id, _ in store.matching_keys(prefix[:_ALIKE])] if prefix and not cases else []
    chosen = _only(name, [*runs, *cases], [*ids, *alike], "run or case")
    if chosen in runs:
        return Found(chosen)
    if prefix == name:
        return Found(cases[chosen], chosen)
    key = f"{chosen}.{int(repeat)}"
    if key not in {found for _, _, found in matching}:
        raise UsageError(f"case {chosen} has no repetition {repeat}")
    return Found(cases[chosen], chosen, key)


def _only(name: str, matching: Sequence[str], known: Sequence[str], what: str) -> str:
    if len(matching) == 1:
        return matching[0]
    if matching:
        listed = ", ".join(matching[:_LISTED]) + (", …" if len(matching) > _LISTED else "")
        raise UsageError(f"{name!r} is the beginning of several: {listed}")
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise UsageError(f"there is no {what} {name!r}{hint} (`farm runs` lists the runs)")
