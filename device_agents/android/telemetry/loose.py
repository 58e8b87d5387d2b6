"""Nested data as tools print it: JSON, Python's repr, ioreg's text and XML property lists, whole or cut anywhere.

Such texts are kept as excerpts, with a heading or a line of a shell around them, so a strict reader would lose them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape

from device_agents.android.telemetry.text import MAX_BYTES

Value = object
"""dict[str, Value], list[Value], str, int, float or bool."""

_DEPTH_MAX = 64
_DOCUMENTS_MAX = 16
_TOKEN = re.compile(
    # A string that is never closed ends with the text, so that it is looked at once only.
    r"""(?P<string>"(?:[^"\\]|\\.)*+(?:"|\Z|\\\Z)|'(?:[^'\\]|\\.)*+(?:'|\Z|\\\Z))"""
    r"|(?P<open>[{\[(])|(?P<close>[}\])])|(?P<colon>=>|[:=])|(?P<data><[^<>]*>)"
    r"|(?P<word>[A-Za-z0-9_.+-]+)",
    re.DOTALL,
)
_XML = re.compile(
    r"<key>(?P<key>[^<]{0,200})</key>|<(?P<type>integer|real|string|date|data)>(?P<text>[^<]*)</(?P=type)>"
    r"|<(?P<bool>true|false)\s*/>|<(?P<open>dict|array)>|</(?P<close>dict|array)>"
)
_INTEGER = re.compile(r"[+-]?[0-9]{1,20}")
_REAL = re.compile(r"[+-]?[0-9]{1,20}(?:\.[0-9]{0,20})?(?:[eE][+-]?[0-9]{1,2})?")
_WORDS = {"true": True, "yes": True, "false": False, "no": False}
_SIGNED_64 = 1 << 63


def documents(data: bytes) -> list[dict[str, Value]]:
    """Every mapping at the outermost level, in order; what a cut left open is closed where it ends."""
    text = data[:MAX_BYTES].decode("utf-8", "replace")
    start = text.find("<dict>")
    brace = text.find("{")
    if start >= 0 and (brace < 0 or start < brace):
        return _collect(_xml_events(text[start:]))
    return _collect(_brace_events(text[brace:])) if brace >= 0 else []


def scalar(text: str) -> Value:
    """A number or truth value where `text` is one, else the text. Unsigned 64 bits hold a sign in the uppermost."""
    if _INTEGER.fullmatch(text):
        value = int(text)
        return value - 2 * _SIGNED_64 if _SIGNED_64 <= value < 2 * _SIGNED_64 else value
    if _REAL.fullmatch(text):
        return float(text)
    return _WORDS.get(text.lower(), text)


_Event = tuple[str, Value]
"""("open", "{" or "["), ("close", ""), ("key", name), ("value", scalar)."""


def _brace_events(text: str) -> Iterator[_Event]:
    held: str | None = None
    held_is_text = False
    for token in _TOKEN.finditer(text):
        kind, found = token.lastgroup, token.group()
        if kind == "colon":
            if held is not None:
                yield "key", held
            held = None
            continue
        if held is not None:
            yield "value", held if held_is_text else scalar(held)
            held = None
        if kind == "open":
            yield "open", "{" if found == "{" else "["
        elif kind == "close":
            yield "close", ""
        elif kind in {"string", "word"}:
            held_is_text = kind == "string"
            held = found[1:].removesuffix(found[0]) if held_is_text else found


def _xml_events(text: str) -> Iterator[_Event]:
    for token in _XML.finditer(text):
        if token["key"] is not None:
            yield "key", unescape(token["key"])
        elif token["open"]:
            yield "open", "{" if token["open"] == "dict" else "["
        elif token["close"]:
            yield "close", ""
        elif token["bool"]:
            yield "value", token["bool"] == "true"
        else:
            words = unescape(token["text"]).strip()
            yield "value", scalar(words) if token["type"] in {"integer", "real"} else words


def _collect(events: Iterator[_Event]) -> list[dict[str, Value]]:
    roots: list[dict[str, Value]] = []
    stack: list[dict[str, Value] | list[Value]] = []
    key: str | None = None
    for kind, value in events:
        if kind == "close":
            if stack:
                stack.pop()
            key = None
        elif kind == "key":
            key = str(value)
        elif kind == "open":
            made: dict[str, Value] | list[Value] = {} if value == "{" else []
            if stack:
                _put(stack[-1], key, made)
            elif isinstance(made, dict) and len(roots) < _DOCUMENTS_MAX:
                roots.append(made)
            key = None
            stack.append(made)
            if len(stack) > _DEPTH_MAX:
                break
        elif stack:
            _put(stack[-1], key, value)
            key = None
    return roots


def _put(into: dict[str, Value] | list[Value], key: str | None, value: Value) -> None:
    if isinstance(into, list):
        into.append(value)
    elif key is not None:
        into.setdefault(key, value)


def mappings(root: dict[str, Value], name: str = "") -> Iterator[tuple[str, dict[str, Value]]]:
    """(name it has in its parent, mapping) of `root` and of all below it, the outer ones first."""
    level: list[tuple[str, Value]] = [(name, root)]
    while level:
        below: list[tuple[str, Value]] = []
        for called, value in level:
            if isinstance(value, dict):
                yield called, value
                below.extend((str(key), inner) for key, inner in value.items())
            elif isinstance(value, list):
                below.extend((called, inner) for inner in value)
        level = [each for each in below if isinstance(each[1], dict | list)]
