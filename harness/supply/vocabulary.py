"""A small byte-level BPE vocabulary, padded to a family's size.

A random model says nothing, so the vocabulary only has to be valid: every byte, the merges of some common words, and
padding tokens of plain ASCII, so that a generated token is a whole piece of text and never half a character.
"""

from __future__ import annotations

from dataclasses import dataclass

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
"""Control tokens; their ids are 0, 1, 2."""

_NORMAL, _CONTROL = 1, 3
"""llama.cpp's token types (`llama_token_type`)."""

_WORDS = """
the of and to in is that for was on are with as be at by this have from or had not but what all were when we there
can an your which their said if do will each about how up out them then she many some so these would other into
"""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Tokens with their types (same length) and the merges, in order of rank."""

    tokens: tuple[str, ...]
    types: tuple[int, ...]
    merges: tuple[str, ...]


def _byte_symbols() -> list[str]:
    """The printable stand-in of each byte 0–255, as byte-level BPE defines it: printable Latin-1 characters stand for
    themselves, the other bytes for U+0100 onwards, in order."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


def build(size: int, more_special: tuple[str, ...] = ()) -> Vocabulary:
    """The vocabulary of `size` tokens; `more_special` are control tokens beside SPECIAL.

    Raises:
        ValueError: `size` cannot hold the bytes and the merges.
    """
    symbols = _byte_symbols()
    known = dict.fromkeys(symbols)
    merges: list[str] = []
    space = symbols[ord(" ")]
    for word in _WORDS.split():
        text = space
        for letter in word:
            if text + letter not in known:
                known[text + letter] = None
                merges.append(f"{text} {letter}")
            text += letter
    special = (*SPECIAL, *more_special)
    tokens = [*special, *known]
    if size < len(tokens):
        raise ValueError(f"a vocabulary of {size} tokens cannot hold {len(tokens)}")
    tokens += [f"{space}w{number}" for number in range(size - len(tokens))]
    types = [_CONTROL] * len(special) + [_NORMAL] * (size - len(special))
    return Vocabulary(tuple(tokens), tuple(types), tuple(merges))
