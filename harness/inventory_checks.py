"""What an inventory must satisfy: types (pydantic, each finding as one sentence) and references between its parts."""

from __future__ import annotations

import difflib
import json
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path as FilePath
from typing import Any

from harness.inventory_yaml import Document, Path, Problem, Value, dotted, quoted
from harness.model import METRICS, Inventory, ids_meant

_SECTIONS = ("devices", "models", "runners")
_SHA256 = re.compile(r"[0-9a-f]{64}")

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


# --- references between parts -----------------------------------------------------------------------------------------


def cross_check(value: Value, document: Document, *, folder: FilePath) -> list[Problem]:
    """What types cannot say. Works on raw data, so that it also reports when types are wrong; parts of a wrong type are
    passed over here. `folder` is the inventory's."""
    if not isinstance(value, dict):
        return []
    found: list[Problem] = []
    for check in (_lab, _identifiers, _tiers, _matches, _sources, _workloads, _suites, _published):
        found += [Problem(document.line(path), path, text) for path, text in check(value, folder)]
    return found


_Findings = Iterator[tuple[Path, str]]

_HOST_PORT = re.compile(r"[A-Za-z0-9._-]+:([0-9]{1,5})")


def _lab(top: Mapping[str, Value], _: FilePath) -> _Findings:
    """Addresses of the iPhones' muxer and tunneld: HOST:PORT, the muxer's also a path."""
    lab = top.get("lab")
    if not isinstance(lab, dict):
        return
    for key, or_path in (("usbmux", True), ("tunneld", False)):
        address = lab.get(key)
        if not isinstance(address, str) or not address or (or_path and address.startswith("/")):
            continue
        found = _HOST_PORT.fullmatch(address)
        if found is None or not 0 < int(found[1]) <= 65535:
            expected = "HOST:PORT or the absolute path of a socket" if or_path else "HOST:PORT"
            yield ("lab", key), f"expected {expected}, found {quoted(address)}"


def _entries(top: Mapping[str, Value], section: str) -> Iterator[tuple[Path, dict[str, Value]]]:
    """(path, entry) of every mapping in a section, be it a list or a mapping by name."""
    content = top.get(section)
    pairs: Iterable[tuple[str | int, Value]] = ()
    if isinstance(content, list):
        pairs = enumerate(content)
    elif isinstance(content, dict):
        pairs = content.items()
    for key, entry in pairs:
        if isinstance(entry, dict):
            yield (section, key), entry


def _names(top: Mapping[str, Value], section: str) -> list[str]:
    """Names that a section defines: ids of a list, keys of a mapping."""
    content = top.get(section)
    if isinstance(content, dict):
        return list(content)
    return [entry["id"] for _, entry in _entries(top, section) if isinstance(entry.get("id"), str)]  # type: ignore[misc]


def _identifiers(top: Mapping[str, Value], _: FilePath) -> _Findings:
    for section in _SECTIONS:
        seen: dict[str, Path] = {}
        for path, entry in _entries(top, section):
            name = entry.get("id")
            if not isinstance(name, str):
                continue
            if name in seen:
                yield (*path, "id"), f"{quoted(name)} is already the id of {dotted(seen[name])}"
            seen.setdefault(name, path)
            yield from _name_problem((*path, "id"), name)
    for section in ("tiers", "workloads", "suites"):
        for name in _names(top, section):
            yield from _name_problem((section, name), name)


def _name_problem(path: Path, name: str) -> _Findings:
    if name and not name.strip():
        yield path, "must not be blank"
    elif any(not c.isprintable() for c in name):
        yield path, f"{quoted(name)} holds control or invisible characters"
    elif name != name.strip():
        yield path, f"{quoted(name)} begins or ends with a space"
    elif not name and path[-1] == "":
        yield path, "a name must not be empty"


def _undefined(kind: str, name: str, known: Sequence[str]) -> str:
    defined = f" Defined: {', '.join(known)}." if known else f" No {kind} is defined."
    return f"{kind} {quoted(name)} is not defined{suggest(name, known) or '.'}{defined}"


def _tiers(top: Mapping[str, Value], _: FilePath) -> _Findings:
    known = _names(top, "tiers")
    for path, entry in _entries(top, "devices"):
        tier = entry.get("tier")
        if isinstance(tier, str) and tier and tier not in known:
            yield (*path, "tier"), _undefined("tier", tier, known)


def _matches(top: Mapping[str, Value], _: FilePath) -> _Findings:
    """A phone entry says which phones it means, and no two entries say the same, nor share a hub port."""
    seen: dict[str, Path] = {}
    ports: dict[str, Path] = {}
    for path, entry in _entries(top, "devices"):
        match, usb = entry.get("match"), entry.get("usb")
        given = {k: v for k, v in match.items() if v is not None} if isinstance(match, dict) else {}
        if entry.get("platform") in {"android", "ios"} and not given and (match is None or isinstance(match, dict)):
            yield path, "match is missing: expected at least one of serial, model, product, device"
        for key, wanted in given.items():
            if wanted == "":
                yield (*path, "match", key), "must not be empty: leave the key out to match any"
        if given:
            name = json.dumps([entry.get("platform"), given], sort_keys=True)
            if name in seen:
                yield (*path, "match"), f"matches the same phones as {dotted(seen[name])}"
            seen.setdefault(name, path)
        if isinstance(usb, dict):
            port = json.dumps(usb, sort_keys=True)
            if port in ports:
                yield (*path, "usb"), f"the same hub port as {dotted(ports[port])}"
            ports.setdefault(port, path)


def _sources(top: Mapping[str, Value], _: FilePath) -> _Findings:
    """A model or runner comes from exactly one place, and from elsewhere only with its hash."""
    for section in ("models", "runners"):
        for path, entry in _entries(top, section):
            place, url, sha256 = entry.get("path"), entry.get("url"), entry.get("sha256")
            if (place is None) == (url is None):
                found = "found neither" if place is None else "found both"
                yield path, f"expected exactly one of path (a file here) and url (to fetch it from), {found}"
            if place == "":
                yield (*path, "path"), "must not be empty"
            if isinstance(url, str):
                if not re.match(r"https?://[^\s/]", url):
                    yield (*path, "url"), f"expected an https:// or http:// address, found {quoted(url)}"
                if sha256 is None:
                    yield path, "url needs sha256: only a file whose hash is known is put on a phone"
            if isinstance(sha256, str) and not _SHA256.fullmatch(sha256):
                yield (*path, "sha256"), f"expected 64 hexadecimal digits, found {len(sha256)} characters"


def _workloads(top: Mapping[str, Value], folder: FilePath) -> _Findings:
    for path, entry in _entries(top, "workloads"):
        prompt = entry.get("prompt_file")
        if isinstance(prompt, str):
            if entry.get("kind") == "throughput":
                yield (*path, "prompt_file"), "a throughput workload takes no prompt: expected kind: stream"
            elif not _is_file(folder, prompt):
                yield (*path, "prompt_file"), f"no such file beside the inventory: {quoted(prompt)}"
        prompt_tokens, gen, context = (entry.get(name) for name in ("prompt_tokens", "gen_tokens", "context"))
        if isinstance(context, int):
            needed = sum(n for n in (prompt_tokens or 0, gen or 0) if isinstance(n, int))
            if needed > context:
                yield (*path, "context"), f"expected at least {needed} (prompt_tokens + gen_tokens), found {context}"


def _is_file(folder: FilePath, name: str) -> bool:
    try:
        return (folder / name).is_file()
    except (OSError, ValueError):
        return False


def _suites(top: Mapping[str, Value], _: FilePath) -> _Findings:
    for path, entry in _entries(top, "suites"):
        for key, kind, section in (("workloads", "workload", "workloads"), ("models", "model", "models")):
            named, known = entry.get(key), _names(top, section)
            if not isinstance(named, list):
                continue
            for index, name in enumerate(named):
                if not isinstance(name, str):
                    continue
                if name not in known and not (kind == "model" and ids_meant(name, known)):
                    yield (*path, key, index), _undefined(kind, name, known)
                elif name in named[:index]:
                    yield (*path, key, index), f"{quoted(name)} is listed twice"


def _published(top: Mapping[str, Value], _: FilePath) -> _Findings:
    """A published figure is one number or one range, of a metric that farm has, in that metric's unit, once."""
    seen: dict[str, Path] = {}
    for path, entry in _entries(top, "published"):
        for key in ("device", "family", "quant", "source"):
            if isinstance(name := entry.get(key), str):
                yield from _name_problem((*path, key), name)
        metric, unit = entry.get("metric"), entry.get("unit")
        if isinstance(metric, str) and metric:
            spec = METRICS.get(metric)
            if spec is None:
                hint = suggest(metric, METRICS) or f". There are: {', '.join(METRICS)}."
                yield (*path, "metric"), f"no metric {quoted(metric)}{hint}"
            elif isinstance(unit, str) and unit != spec.unit:
                yield (*path, "unit"), f"expected {quoted(spec.unit)}, the unit of {metric}, found {quoted(unit)}"
        yield from _extent(path, entry)
        figure = ("device", "family", "quant", "runtime", "metric", "source")
        name = json.dumps([entry.get(key) for key in figure], sort_keys=True)
        if name in seen:
            yield path, f"the same figure as {dotted(seen[name])}: {', '.join(figure)} are equal"
        seen.setdefault(name, path)


def _extent(path: Path, entry: Mapping[str, Value]) -> _Findings:
    low, high, value = (entry.get(key) for key in ("low", "high", "value"))
    given = [key for key in ("low", "high", "value") if entry.get(key) is not None]
    if given not in (["value"], ["low", "high"]):
        found = " and ".join(given) or "neither"
        yield path, f"expected either value, or low and high, found {found}"
    elif value is None and isinstance(low, int | float) and isinstance(high, int | float) and low > high:
        yield (*path, "low"), f"expected a number at most {high:g} (high), found {low:g}"
