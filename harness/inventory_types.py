"""Types of an inventory: pydantic validates them, each finding is told as one sentence."""

from __future__ import annotations

import difflib
import json
import re
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from harness.inventory_yaml import Document, Path, Problem, Value, quoted
from harness.model import Inventory

_EXPECTED = {"repeats": 'a whole number from 1 on, or "auto"', "threads": 'a count above 0, "auto" or "tuned"'}
"""Keys whose type is a union, in words."""

_TYPE_NAMES = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping (key: value)",
    "mapping_type": "a mapping (key: value)",
    "dataclass_type": "a mapping (key: value)",
    "dataclass_exact_type": "a mapping (key: value)",
}


def normalised(value: Value) -> Value:
    """The same data with every sha256 of models and runners in lower case."""
    if isinstance(value, dict):
        return {
            key: child.lower() if key == "sha256" and isinstance(child, str) else normalised(child)
            for key, child in value.items()
        }
    return [normalised(child) for child in value] if isinstance(value, list) else value


def validate(value: Value, document: Document) -> tuple[Inventory | None, list[Problem]]:
    """Check the types; returns the inventory, or None and one problem for every mistake."""
    from pydantic import TypeAdapter, ValidationError

    if not isinstance(value, dict):
        what = "is empty" if value is None else f"holds {_found(value, None)} at the top"
        return None, [Problem(document.line(()), (), f"{what}, expected a mapping that starts with version: 1")]
    try:
        # JSON mode is strict about scalars ("5" is no number, true is no 1), and still takes lists and enum names.
        return TypeAdapter(Inventory).validate_json(json.dumps(value), strict=True), []
    except ValidationError as error:
        found: dict[tuple[Path, str], Problem] = {}
        for entry in error.errors(include_url=False, include_context=True):
            problem = _explain(entry, value, document)
            union = str(problem.path[-1]) in _EXPECTED if problem.path else False
            found.setdefault((problem.path, "" if union else problem.text), problem)
        return None, list(found.values())


def suggest(word: str, known: Iterable[str]) -> str:
    """'; did you mean "x"?' when something known resembles `word`, else ""."""
    by_fold = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), by_fold, n=1, cutoff=0.6)
    return f"; did you mean {quoted(by_fold[close[0]])}?" if close else ""


def _explain(entry: Mapping[str, Any], top: Value, document: Document) -> Problem:
    """One pydantic finding as one sentence."""
    kind, context = str(entry["type"]), entry.get("ctx") or {}
    path = _real_path(tuple(entry["loc"]), top)
    if kind == "missing":
        name = str(entry["loc"][-1])
        return Problem(document.line(path), path, f"the key {quoted(name)} is missing")
    value = _at(top, path)
    if kind in {"unexpected_keyword_argument", "extra_forbidden"}:
        known = [field.name for field in fields(_type_at(path[:-1]))]
        hint = suggest(str(path[-1]), known) or f", expected one of: {', '.join(known)}"
        return Problem(document.line(path), path, f"unknown key{hint}")
    return Problem(document.line(path), path, _sentence(kind, context, value, path, document))


def _sentence(kind: str, context: Mapping[str, Any], value: Value, path: Path, document: Document) -> str:
    found = _found(value, document.raw.get(path))
    key = str(path[-1]) if path else ""
    if key in _EXPECTED:
        return f"expected {_EXPECTED[key]}, found {found}"
    if kind in {"literal_error", "enum"}:
        expected = str(context.get("expected", ""))
        names = re.findall(r"'([^']*)'", expected)
        hint = suggest(value, names) if isinstance(value, str) else ""
        return f"expected {expected.replace(chr(39), chr(34))}, found {found}{hint}"
    if kind in {"greater_than", "greater_than_equal", "less_than_equal", "less_than"}:
        words = {"gt": "above", "ge": "at least", "le": "at most", "lt": "below"}
        bound = ", ".join(f"{words[name]} {limit:g}" for name, limit in context.items() if name in words)
        return f"expected a number {bound}, found {found}"
    if kind in {"string_too_short", "too_short"}:
        return "must not be empty"
    if kind == "string_type" and path in document.raw and value is not None:
        return f"expected text, found {found}: put it in quotes"
    return f"expected {_TYPE_NAMES.get(kind, f'something else ({kind})')}, found {found}"


def _found(value: Value, raw: str | None) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, str):
        return f"the text {quoted(value)}"
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "a mapping"
    return f"{'the truth value' if isinstance(value, bool) else 'the number'} {raw or value}"


def _real_path(location: Path, top: Value) -> Path:
    """The part of a pydantic location that exists in the data: names of union members and missing keys drop out."""
    path: Path = ()
    value = top
    for part in location:
        inside = range(len(value)) if isinstance(value, list) else value if isinstance(value, dict) else ()
        if part not in inside:
            break
        value = value[part]  # type: ignore[index]
        path = (*path, part)
    return path


def _at(top: Value, path: Path) -> Value:
    value: Any = top
    for part in path:
        value = value[part]
    return typing.cast(Value, value)


def _type_at(path: Path) -> Any:
    """The dataclass that describes the mapping at `path`."""
    current: Any = Inventory
    for part in path:
        if is_dataclass(current):
            current = typing.get_type_hints(current)[str(part)]
            if isinstance(current, types.UnionType):
                current = next(member for member in typing.get_args(current) if member is not type(None))
        else:
            current = typing.get_args(current)[-1 if isinstance(part, str) else 0]
    return current
