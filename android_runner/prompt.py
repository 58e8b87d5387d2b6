"""The prompt of a stream case: token ids, the same for every runtime, device and night."""

from __future__ import annotations

import random

PROMPT_SEED = 20_240_613

_SPECIAL_BELOW = 1000
"""Ids below this are left out: special tokens, single bytes and the commonest pieces stand there in the vocabularies of
all families in use (byte-level BPE and SentencePiece alike)."""

_SPECIAL_TOP = 1 / 8
"""Share at the end of the vocabulary that is left out: some families put their special tokens and padding there."""


def token_ids(count: int, vocabulary_size: int, *, seed: int = PROMPT_SEED) -> list[int]:
    """`count` pseudo-random token ids of ordinary tokens of a vocabulary; the same arguments give the same ids."""
    low = min(_SPECIAL_BELOW, vocabulary_size // 4)
    high = max(low + 1, int(vocabulary_size * (1 - _SPECIAL_TOP)))
    numbers = random.Random(seed)
    return [numbers.randrange(low, high) for _ in range(count)]
