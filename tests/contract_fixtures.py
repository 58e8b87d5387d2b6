"""The cases of the runner contract that every program which speaks it is held against (tests/data/contract)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "data" / "contract"


def rows(name: str) -> list[Mapping[str, Any]]:
    """The cases of one file; `since` is their version of the contract, 1.0 where it is absent.

    requests: a request, or `raw` text; `error` and `says` where it is refused; `schema` where the schema differs.
    runs: script of the model, request, names of the events, ids of the tokens.
    events: an event, `refused` where the schema must not take it.
    """
    found: list[Mapping[str, Any]] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return found


def name_of(row: Mapping[str, Any]) -> str:
    return str(row["name"])
