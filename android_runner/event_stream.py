"""A saved HTTP answer with server-sent events: torn, chunked or plain, any bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer: `status` is None when no status line was saved (then everything is body)."""

    status: int | None
    body: bytes


def read_answer(raw: bytes) -> Answer:
    """Take an answer apart; chunked transfer coding is undone as far as the bytes go."""
    found = re.match(rb"HTTP/\d(?:\.\d)? (\d{3})[^\n]*\n", raw)
    if not found:
        return Answer(None, raw)
    head, separator, body = raw.partition(b"\r\n\r\n")
    if not separator:
        return Answer(int(found[1]), b"")
    chunked = re.search(rb"(?im)^transfer-encoding:[^\r\n]*chunked", head) is not None
    return Answer(int(found[1]), _dechunk(body) if chunked else body)


def _dechunk(body: bytes) -> bytes:
    whole = bytearray()
    at = 0
    while True:
        end = body.find(b"\r\n", at)
        size = re.match(rb"[0-9a-fA-F]{1,8}", body[at:end] if end >= 0 else b"")
        if size is None or int(size[0], 16) == 0:
            return bytes(whole)
        length = int(size[0], 16)
        whole += body[end + 2 : end + 2 + length]
        at = end + 2 + length + 2


def events(body: bytes) -> Iterator[dict[str, Any]]:
    """The JSON object of every whole event, in order; anything else is passed over."""
    for line in body.splitlines():
        kind, colon, value = line.partition(b":")
        if not colon or kind.strip() not in (b"data", b"error"):
            continue
        try:
            event = json.loads(value)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict):
            yield {"error": event} if kind.strip() == b"error" and "error" not in event else event
