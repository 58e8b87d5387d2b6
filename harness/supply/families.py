"""Shapes of published models, from which test models of the same size and speed are made.

The hyperparameters are those of each model's `config.json` on the Hugging Face hub (repository in `source`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Family:
    """The shape of a decoder-only model.

    Args:
        name: the published name.
        source: repository of the configuration.
        architecture: GGUF name ("llama": separate projections; "phi3": fused QKV and fused gate/up).
        hidden, layers, heads, kv_heads, head_dim, feed_forward: sizes.
        vocabulary: tokens, padding included.
        context: trained context in tokens.
        rope_base: base frequency of the rotary embedding.
        tied: the output layer shares the embedding's weights.
        pre_tokenizer: llama.cpp's name of the text splitter.
        special_tokens: tokens that llama.cpp asks for by name in a model of this family.
    """

    name: str
    source: str
    architecture: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    feed_forward: int
    vocabulary: int
    context: int
    rope_base: float
    tied: bool
    pre_tokenizer: str
    special_tokens: tuple[str, ...] = ()

    def tensors(self) -> list[tuple[str, tuple[int, ...]]]:
        """Name and shape (rows, columns) of every weight, in file order."""
        query, key = self.heads * self.head_dim, self.kv_heads * self.head_dim
        weights: list[tuple[str, tuple[int, ...]]] = [("token_embd.weight", (self.vocabulary, self.hidden))]
        for layer in range(self.layers):
            block: list[tuple[str, tuple[int, ...]]] = [("attn_norm", (self.hidden,))]
            if self.architecture == "phi3":
                block += [("attn_qkv", (query + 2 * key, self.hidden))]
            else:
                block += [
                    ("attn_q", (query, self.hidden)),
                    ("attn_k", (key, self.hidden)),
                    ("attn_v", (key, self.hidden)),
                ]
            block += [("attn_output", (self.hidden, query)), ("ffn_norm", (self.hidden,))]
            if self.architecture == "phi3":
                block += [("ffn_up", (2 * self.feed_forward, self.hidden))]
            else:
                block += [("ffn_gate", (self.feed_forward, self.hidden)), ("ffn_up", (self.feed_forward, self.hidden))]
            block += [("ffn_down", (self.hidden, self.feed_forward))]
            weights += [(f"blk.{layer}.{name}.weight", shape) for name, shape in block]
        weights.append(("output_norm.weight", (self.hidden,)))
        if not self.tied:
            weights.append(("output.weight", (self.vocabulary, self.hidden)))
        return weights


FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        Family(
            name="SmolLM2-135M",
            source="HuggingFaceTB/SmolLM2-135M",
            architecture="llama",
            hidden=576,
            layers=30,
            heads=9,
            kv_heads=3,
            head_dim=64,
            feed_forward=1536,
            vocabulary=49_152,
            context=8192,
            rope_base=100_000.0,
            tied=True,
            pre_tokenizer="smollm",
        ),
        Family(
            name="SmolLM2-360M",
            source="HuggingFaceTB/SmolLM2-360M",
            architecture="llama",
            hidden=960,
            layers=32,
            heads=15,
            kv_heads=5,
            head_dim=64,
            feed_forward=2560,
            vocabulary=49_152,
            context=8192,
            rope_base=100_000.0,
            tied=True,
            pre_tokenizer="smollm",
        ),
        Family(
            name="SmolLM-1.7B",
            source="HuggingFaceTB/SmolLM-1.7B",
            architecture="llama",
            hidden=2048,
            layers=24,
            heads=32,
            kv_heads=32,
            head_dim=64,
            feed_forward=8192,
            vocabulary=49_152,
            context=2048,
            rope_base=10_000.0,
            tied=True,
            pre_tokenizer="smollm",
        ),
        Family(
            name="Phi-3-mini",
            source="microsoft/Phi-3-mini-4k-instruct",
            architecture="phi3",
            hidden=3072,
            layers=32,
            heads=32,
            kv_heads=32,
            head_dim=96,
            feed_forward=8192,
            vocabulary=32_064,
            context=4096,
            rope_base=10_000.0,
            tied=False,
            pre_tokenizer="default",
            special_tokens=("<unk>", "<s>", "</s>"),
        ),
        Family(
            name="Llama-3.2-3B",
            source="meta-llama/Llama-3.2-3B",
            architecture="llama",
            hidden=3072,
            layers=28,
            heads=24,
            kv_heads=8,
            head_dim=128,
            feed_forward=8192,
            vocabulary=128_256,
            context=131_072,
            rope_base=500_000.0,
            tied=True,
            pre_tokenizer="llama-bpe",
        ),
    )
}

HIDDEN: Mapping[str, Family] = {
    family.name: family
    for family in (
        Family(
            name="farm-tiny",
            source="farm",
            architecture="llama",
            hidden=128,
            layers=2,
            heads=4,
            kv_heads=2,
            head_dim=32,
            feed_forward=256,
            vocabulary=512,
            context=256,
            rope_base=10_000.0,
            tied=False,
            pre_tokenizer="smollm",
        ),
    )
}
"""Shapes nobody published, for checking that runtimes agree: made when asked for by name, offered nowhere."""

QUANTS: tuple[str, ...] = ("F16", "Q8_0", "Q5_K_M", "Q4_K_M", "Q4_0")
"""GGUF forms that are made where none is named, as llama-quantize names them."""

ASKED_QUANTS: tuple[str, ...] = ("F32",)
"""GGUF forms that are made only where they are named: too large for a phone, and exact beside an fp32 PTE."""
