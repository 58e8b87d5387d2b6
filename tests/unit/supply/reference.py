"""The decoder in plain NumPy, in float64 and without a cache: what any other way of computing it is held against."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from harness.supply.pte_shape import DecoderShape, Weights

Array = npt.NDArray[Any]


def logits(shape: DecoderShape, weights: Weights, tokens: list[int]) -> Array:
    """Logits [tokens, vocabulary] after each token."""
    held = {name: array.astype(np.float64) for name, array in weights}
    x = held["embedding"][tokens]
    for layer in range(shape.layers):
        own = {name: held[f"layers.{layer}.{name}"] for name in ("q", "k", "v", "o", "gate", "up", "down")}
        y = normed(x, held[f"layers.{layer}.attention_norm"], shape.epsilon)
        x = x + attended(shape, y @ own["q"].T, y @ own["k"].T, y @ own["v"].T) @ own["o"].T
        y = normed(x, held[f"layers.{layer}.feed_forward_norm"], shape.epsilon)
        gate = y @ own["gate"].T
        x = x + (gate / (1 + np.exp(-gate)) * (y @ own["up"].T)) @ own["down"].T
    return normed(x, held["norm"], shape.epsilon) @ held.get("output", held["embedding"]).T


def normed(x: Array, weight: Array, epsilon: float) -> Array:
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + epsilon) * weight


def attended(shape: DecoderShape, queries: Array, keys: Array, values: Array) -> Array:
    count, width = len(queries), shape.head_dim
    mixed = np.empty_like(queries)
    for head in range(shape.heads):
        group = head // (shape.heads // shape.kv_heads)
        mine, theirs = slice(head * width, (head + 1) * width), slice(group * width, (group + 1) * width)
        scores = rotated(shape, queries[:, mine]) @ rotated(shape, keys[:, theirs]).T / np.sqrt(width)
        scores[np.triu_indices(count, 1)] = -np.inf
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        mixed[:, mine] = shares / shares.sum(axis=1, keepdims=True) @ values[:, theirs]
    return mixed


def rotated(shape: DecoderShape, head: Array) -> Array:
    """Each pair as a complex number, turned by position times frequency."""
    half = shape.head_dim // 2
    pairs = (slice(0, None, 2), slice(1, None, 2)) if shape.interleaved else (slice(0, half), slice(half, None))
    turned = (head[:, pairs[0]] + 1j * head[:, pairs[1]]) * np.exp(
        1j * np.outer(np.arange(len(head)), shape.frequencies)
    )
    result = np.empty_like(head)
    result[:, pairs[0]], result[:, pairs[1]] = turned.real, turned.imag
    return result
