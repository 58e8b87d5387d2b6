"""A decoder as it is exported: its shape, and its weights under one set of names, wherever they come from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from harness.supply.families import Family
from harness.supply.gguf_maker import RMS_EPSILON, SEED, blocks

Weights: TypeAlias = Iterator[tuple[str, npt.NDArray[Any]]]
"""Name and float array of each weight: "embedding", "layers.0.q", ..., "norm", and "output" where it is not tied."""


@dataclass(frozen=True, slots=True)
class DecoderShape:
    """Sizes and constants of a decoder of the Llama kind (RMSNorm, rotary embedding, grouped queries, SwiGLU).

    Args:
        name: of the model, for texts.
        hidden, layers, heads, kv_heads, head_dim, feed_forward, vocabulary, context: sizes; `context` as trained.
        tied: the output layer shares the embedding's weights.
        interleaved: the rotary embedding turns neighbours (0, 1), (2, 3), ...; else the halves (0, n/2), ....
        frequencies: radians per position of each of the `head_dim / 2` pairs.
        epsilon: of RMSNorm.
        bos, eos: token ids.
    """

    name: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    feed_forward: int
    vocabulary: int
    context: int
    tied: bool
    interleaved: bool
    frequencies: tuple[float, ...]
    epsilon: float
    bos: int
    eos: tuple[int, ...]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape (rows, columns) of every weight."""
        query, key = self.heads * self.head_dim, self.kv_heads * self.head_dim
        layer: dict[str, tuple[int, ...]] = {
            "attention_norm": (self.hidden,),
            "q": (query, self.hidden),
            "k": (key, self.hidden),
            "v": (key, self.hidden),
            "o": (self.hidden, query),
            "feed_forward_norm": (self.hidden,),
            "gate": (self.feed_forward, self.hidden),
            "up": (self.feed_forward, self.hidden),
            "down": (self.hidden, self.feed_forward),
        }
        found: dict[str, tuple[int, ...]] = {"embedding": (self.vocabulary, self.hidden), "norm": (self.hidden,)}
        if not self.tied:
            found["output"] = (self.vocabulary, self.hidden)
        return found | {f"layers.{n}.{name}": shape for n in range(self.layers) for name, shape in layer.items()}

    def weight_count(self) -> int:
        return sum(math.prod(shape) for shape in self.shapes().values())


def rope_frequencies(base: float, head_dim: int) -> tuple[float, ...]:
    """Radians per position of each pair of a head: base^(-2i/head_dim)."""
    return tuple(base ** (-2 * pair / head_dim) for pair in range(head_dim // 2))


def of_family(family: Family) -> DecoderShape:
    """The decoder that llama.cpp computes for a GGUF of this family: "norm" rope for llama, "neox" for phi3."""
    return DecoderShape(
        name=family.name,
        hidden=family.hidden,
        layers=family.layers,
        heads=family.heads,
        kv_heads=family.kv_heads,
        head_dim=family.head_dim,
        feed_forward=family.feed_forward,
        vocabulary=family.vocabulary,
        context=family.context,
        tied=family.tied,
        interleaved=family.architecture != "phi3",
        frequencies=rope_frequencies(family.rope_base, family.head_dim),
        epsilon=RMS_EPSILON,
        bos=0,
        eos=(0,),
    )


_GGUF_NAMES = {
    "token_embd": "embedding",
    "output_norm": "norm",
    "attn_norm": "attention_norm",
    "attn_q": "q",
    "attn_k": "k",
    "attn_v": "v",
    "attn_output": "o",
    "ffn_norm": "feed_forward_norm",
    "ffn_gate": "gate",
    "ffn_up": "up",
    "ffn_down": "down",
}


def family_weights(family: Family, *, seed: int = SEED) -> Weights:
    """The numbers that a GGUF of this family and seed holds."""
    shape = of_family(family)
    for index, (name, size) in enumerate(family.tensors()):
        array = np.concatenate(list(blocks(size, index, seed=seed))).reshape(size)
        stem, prefix = name.removesuffix(".weight"), ""
        if stem.startswith("blk."):
            _, layer, stem = stem.split(".")
            prefix = f"layers.{layer}."
        for part, rows in split_fused(stem, array, shape):
            yield prefix + _GGUF_NAMES.get(part, part), rows


def split_fused(stem: str, array: npt.NDArray[Any], shape: DecoderShape) -> list[tuple[str, npt.NDArray[Any]]]:
    """The parts of a fused matrix (queries, keys and values; gate and up), or the matrix itself."""
    query, key = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    if stem in ("attn_qkv", "qkv_proj"):
        q, k, v = np.split(array, [query, query + key])
        return [("q", q), ("k", k), ("v", v)]
    if stem == "gate_up_proj" or (stem == "ffn_up" and array.shape[0] == 2 * shape.feed_forward):
        gate, up = np.split(array, 2)
        return [("gate", gate), ("up", up)]
    return [(stem, array)]
