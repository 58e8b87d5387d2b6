"""The request's JSON reader against Python's, and against anything."""

from __future__ import annotations

import json
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

DEEPEST = 32

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
PIECES = st.sampled_from(
    [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        '"',
        "\\",
        "\\u",
        "00e9",
        "d800",
        "null",
        "true",
        "1",
        "-",
        ".",
        "e",
        " ",
        "é",
        "\x01",
    ]
)


def verdicts(program: Path, texts: Sequence[bytes]) -> list[str]:
    """What the reader says of each text."""
    sent = b"".join(struct.pack("<I", len(text)) + text for text in texts)
    done = subprocess.run([program], input=sent, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0 and done.stderr == b"", done.stderr.decode("utf-8", "replace")
    return done.stdout.decode("utf-8").splitlines()


class TwiceError(ValueError):
    pass


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise TwiceError
    return found


def is_json(text: bytes) -> bool:
    """What RFC 8259 says, by Python's reader with its liberties taken away."""

    def refuse(word: str) -> float:
        raise ValueError(word)

    def finite(word: str) -> float:
        value = float(word)
        return value if abs(value) != float("inf") else refuse(word)

    try:
        value = json.loads(
            text.decode("utf-8"), object_pairs_hook=_once, parse_constant=refuse, parse_float=finite, parse_int=finite
        )
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        return False
    return True


SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@SLOW
@given(values=st.lists(VALUES, min_size=1, max_size=30))
def test_every_value_is_read(sanitized: Path, values: list[Any]) -> None:
    texts = [json.dumps(value, ensure_ascii=index % 2 == 0).encode() for index, value in enumerate(values)]
    found = verdicts(sanitized / "json-check", texts)
    assert [(text, said) for text, said in zip(texts, found, strict=True) if is_json(text) != (said == "ok")] == []


@SLOW
@given(
    texts=st.lists(st.lists(PIECES, max_size=12).map("".join).map(str.encode) | st.binary(), min_size=1, max_size=60)
)
def test_what_is_no_json_is_refused(sanitized: Path, texts: list[bytes]) -> None:
    found = verdicts(sanitized / "json-check", texts)
    assert [(text, said) for text, said in zip(texts, found, strict=True) if is_json(text) != (said == "ok")] == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "no value at byte 0"),
        (b"1 2", "something follows the value at byte 2"),
        (b'{"a":1,"a":2}', "a name stands twice"),
        (b"[" * (DEEPEST + 2) + b"]" * (DEEPEST + 2), "nested too deeply"),
        (b'"\xc0\x80"', "text that is not UTF-8"),
        (b'"\xed\xa0\x80"', "text that is not UTF-8"),
        (b'"\\ud800"', "half of a surrogate pair"),
        (b"1e999", "a number that is too large"),
        (b"01", "something follows"),
        (b"nul", "no value"),
    ],
)
def test_what_is_wrong_is_said(sanitized: Path, text: bytes, said: str) -> None:
    (found,) = verdicts(sanitized / "json-check", [text])
    assert found.startswith(said)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_change_of_a_request_breaks_the_reader(sanitized: Path, seed: int) -> None:
    done = subprocess.run(
        [sanitized / "fuzz-json", "20000", str(seed)], capture_output=True, text=True, check=False, timeout=300
    )
    assert (done.returncode, done.stderr) == (0, "")
